"""What docker-compose.yml says, and its services as processes on this machine: no Docker needed.

Each service gets an address of its own out of 127.0.0.0/8, a data folder, the ports that it has in its container, and
a mount namespace in which /etc/hosts has the services' names. It runs the command, and the health check, that Compose
would.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import yaml

from tests.servers import lanes, wait_until

ROOT = Path(__file__).parent.parent
PROFILES = ("single", "sentinel", "cluster")
SERVERS = ("redis", "sentinel", "node")
VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}")
PR_SET_PDEATHSIG = 1

_random = random.SystemRandom()


def env_file(profile: str) -> dict[str, str]:
    """The variables of a profile's file."""
    lines = (ROOT / "deploy" / f"{profile}.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """With the variables put in, as Compose does it: ``$$``, ``${NAME}``, ``${NAME:-else}``, ``${NAME:?message}``."""
    if isinstance(value, dict):
        return {name: interpolated(one, variables) for name, one in value.items()}
    if isinstance(value, list):
        return [interpolated(one, variables) for one in value]
    if not isinstance(value, str):
        return value

    def put_in(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if name is None:
            return "$"
        if not variables.get(name) and kind == "?":
            raise KeyError(f"{name}: {rest}")
        return variables.get(name) or (rest if kind == "-" else "")

    return VARIABLE.sub(put_in, value)


def model(variables: Mapping[str, str]) -> dict[str, Any]:
    """The whole file, with the variables put in."""
    found: dict[str, Any] = interpolated(yaml.safe_load((ROOT / "docker-compose.yml").read_text()), variables)
    return found


def services(profile: str, variables: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """The services that a profile's file starts."""
    found = model({**env_file(profile), **(variables or {})})["services"]
    return {name: one for name, one in found.items() if profile in one.get("profiles", [profile])}


def is_server(name: str) -> bool:
    return name.startswith(SERVERS)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def can_mount() -> bool:
    """Whether a process may have an /etc/hosts of its own here."""
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return tried.returncode == 0


@dataclass
class Stack:
    """The services of a profile, started one by one.

    Args:
        profile: which one.
        folder: where everything is kept.
        binary: the server.
    """

    profile: str
    folder: Path
    binary: Path = field(default_factory=lambda: lanes()["valkey"])
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.subnet = f"127.{_random.randrange(1, 250)}.{_random.randrange(1, 250)}"
        self.services = services(self.profile, {"CIRCMAN_SUBNET": self.subnet})
        self.secrets = self.folder / "secrets"
        subprocess.run([ROOT / "deploy" / "make-secrets.sh", self.secrets], check=True)
        self._make_programs()
        names = [name for name in self.services if is_server(name)]
        hosts = [f"{self.address(name)} {name}" for name in names]
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *hosts]) + "\n")

    def _make_programs(self) -> None:
        """What the images have on their PATH."""
        programs = self.folder / "bin"
        programs.mkdir()
        (programs / "valkey-server").symlink_to(self.binary)
        (programs / "valkey-cli").symlink_to("/usr/bin/redis-cli")
        for name, text in {
            "docker-entrypoint.sh": 'exec "$@"',
            "python": f"exec '{sys.executable}' \"$@\"",
            "circman-redis": f"exec '{sys.executable}' -m circman_redis.cli \"$@\"",
        }.items():
            (programs / name).write_text(f"#!/bin/sh\n{text}\n")
            (programs / name).chmod(0o755)

    def address(self, name: str) -> str:
        """A server's."""
        networks = self.services[name].get("networks")
        if networks:
            return str(networks["default"]["ipv4_address"])
        return f"{self.subnet}.{101 + sorted(filter(is_server, self.services)).index(name)}"

    def data(self, name: str) -> Path:
        found = self.folder / name
        found.mkdir(exist_ok=True)
        return found

    def environment(self, name: str) -> dict[str, str]:
        """That of a service, with the paths of this machine in the place of the container's."""
        own = self.services[name].get("environment", {})
        given = {key: text.replace("/run/secrets", str(self.secrets)) for key, text in own.items()}
        here = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
        }
        if is_server(name):
            here |= {"DATA": str(self.data(name)), "SECRETS": str(self.secrets), "LISTEN": self.address(name)}
        return {**here, **given}

    def popen(self, name: str, command: list[str], log: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
        """A command of a service, in its surroundings."""
        command = [part.replace("/deploy/", f"{ROOT}/deploy/") for part in command]
        enter = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return subprocess.Popen(
            ["unshare", "-m", "sh", "-c", enter, str(self.folder / "hosts"), *command],
            env=self.environment(name),
            cwd=self.data(name),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call into the C library
        )

    def start(self, name: str, key: str | None = None) -> subprocess.Popen[str]:
        """Starts a service; what it says goes to a file, as nobody reads it meanwhile.

        Args:
            name: the service.
            key: what to call this one of several.
        """
        service = self.services[name]
        before = service.get("entrypoint", [] if is_server(name) else ["circman-redis"])
        command = [*before, *service.get("command", [])]
        with self.log(key or name).open("a" if is_server(name) else "w") as log:
            self.running[key or name] = process = self.popen(name, command, log)
        return process

    def log(self, key: str) -> Path:
        """What a service that was started says."""
        return self.folder / f"{key}.log"

    def run(self, name: str, command: list[str]) -> tuple[int, str]:
        """What a command of a service says, and its exit code."""
        process = self.popen(name, command)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said

    def health(self, name: str) -> tuple[int, str]:
        """What the health check of a service says."""
        check = self.services[name]["healthcheck"]["test"]
        assert check[0] == "CMD"
        return self.run(name, check[1:])

    def wait_for_health(self, *names: str) -> None:
        for name in names:
            wait_until(lambda name=name: self.health(name)[0] == 0)  # type: ignore[misc]

    def up(self) -> None:
        """All servers, in the order that Compose would start them in; the cluster is joined."""
        names = [name for name in self.services if is_server(name)]
        for name in names:
            needed = self.services[name].get("depends_on", {})
            self.wait_for_health(*needed)
            self.start(name)
        if "cluster-join" in self.services:
            self.finish("cluster-join")
        self.wait_for_health(*names)

    def finish(self, name: str) -> str:
        """Runs a service that ends; what it said."""
        process = self.start(name)
        process.wait(120)
        del self.running[name]
        said = self.log(name).read_text()
        assert process.returncode == 0, said
        return said

    def password(self, role: str) -> str:
        return (self.secrets / f"{role}_password").read_text()

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.running):
            self.kill(name)
