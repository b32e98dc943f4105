"""The demo: several processes work on one twin at once, and everything they were told is verified at the end."""

from __future__ import annotations


def main(
    workers: int = 6,
    seconds: float = 10.0,
    twin: str = "demo",
    url: str | None = None,
    *,
    prefix: str | None = None,
) -> int:
    """Runs the demo, and says on stdout what happens.

    Args:
        workers: how many processes, at least 1.
        seconds: how long they work, above 0.
        twin: the twin's id; one that the demo made before is made anew, another is refused.
        url: the server; None for ``CIRCMAN_REDIS_URL``, else the embedded one.
        prefix: what the twin's keys begin with; None for ``CIRCMAN_PREFIX``, else "circman".

    Returns:
        The exit code: 0 where all that is claimed was verified; 1 where it was not, or nothing could be done;
        130 where Ctrl-C cut it short.
    """
    import redis  # noqa: PLC0415 - the CLI's help does without

    from circman_redis.demo import factory, run, view  # noqa: PLC0415
    from circman_redis.errors import CircmanError  # noqa: PLC0415

    try:
        factory.check_arguments(workers, seconds)
        return run.run(workers, seconds, twin, url, prefix)
    except (CircmanError, redis.RedisError) as error:
        view.complain(f"Error: {error}")
        return 1
    except KeyboardInterrupt:
        view.complain("interrupted")
        return run.INTERRUPTED
