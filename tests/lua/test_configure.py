"""configure.lua: publishing a model, and the settings of a twin."""

from __future__ import annotations

import json

import pytest

from tests.lua.support import RawTwin

MODEL = {"model": "Plant", "model_hash": "h1", "checks": "server", "validation": "standard"}
OTHER = {"model": "Pump", "model_hash": "h2", "checks": "python", "validation": "strict"}
RULES = {"": {"type": "object"}, "/a": {"type": "integer"}}
OTHER_RULES = {"": {"type": "object", "additionalProperties": False, "required": ["b"]}, "/b": {"minLength": 2}}


def published(raw: RawTwin) -> tuple[dict[str, str], dict[str, object], str | None]:
    """The model's facts in meta, the rules, the schema."""
    facts = {name: text.decode() for name in MODEL if (text := raw.client.hget(raw.keys.meta, name)) is not None}
    rules = {place.decode(): json.loads(rule) for place, rule in raw.client.hgetall(raw.keys.rules).items()}
    schema = raw.client.get(raw.keys.schema)
    return facts, rules, schema and schema.decode()


def test_adopt_publishes_where_there_is_no_model(raw: RawTwin) -> None:
    """Facts, rules and schema; the next adopt leaves them, and takes its settings only."""
    assert raw.configure("adopt", model=MODEL, rules=RULES, schema='{"x":[1.50]}') == 1
    first = published(raw)
    assert first == (MODEL, RULES, '{"x":[1.50]}')
    assert raw.configure("adopt", '{"history_length":7}', model=OTHER, rules=OTHER_RULES) == 0
    assert published(raw) == first
    assert raw.meta_of("history_length") == "7"


@pytest.mark.parametrize("mode", ["publish", "force"])
def test_publish_replaces_the_model(raw: RawTwin, mode: str) -> None:
    """No rule of the old one is left."""
    raw.configure("adopt", model=MODEL, rules=RULES)
    assert raw.configure(mode, model=OTHER, rules=OTHER_RULES, schema="{}") == 1
    assert published(raw) == (OTHER, OTHER_RULES, "{}")


def test_a_model_without_rules(raw: RawTwin) -> None:
    """Replaces those that were there by the one that every model has: a state is an object."""
    raw.configure("adopt", model=MODEL, rules=RULES)
    raw.configure("publish", model=OTHER, rules={})
    assert raw.client.hgetall(raw.keys.rules) == {b"": b'{"type":"object"}'}


def test_publish_is_refused_where_the_state_does_not_fit(raw: RawTwin) -> None:
    """With all violations, at the model's own level; nothing of the model is published."""
    raw.configure("adopt", model=MODEL, rules=RULES)
    raw.set('{"a":1,"b":"x"}')
    with raw.refused("INVALID") as refusal:
        raw.configure("publish", '{"history_length":3}', model=OTHER, rules=OTHER_RULES)
    assert refusal.violations == [("/a", "additionalProperties"), ("/b", "minLength")]
    standard = OTHER | {"validation": "standard"}
    with raw.refused("INVALID") as refusal:
        raw.configure("publish", model=standard, rules=OTHER_RULES)
    assert refusal.violations == [("/b", "minLength")]
    assert raw.configure("publish", model=OTHER | {"validation": "none"}, rules=OTHER_RULES) == 1


def test_force_publishes_whatever_the_state_holds(raw: RawTwin) -> None:
    """The rules bind from the next commit on: what it touches has to fit."""
    raw.set('{"a":"bad","b":1}')
    assert raw.configure("force", model=MODEL, rules=RULES) == 1
    raw.merge('{"b":2}')
    with raw.refused("INVALID"):
        raw.merge('{"a":"worse"}')


def test_adopt_takes_the_state_as_it_is(raw: RawTwin) -> None:
    """A first model takes nobody's place: what it binds is what is committed from then on."""
    raw.set('{"a":"x","b":1}')
    assert raw.configure("adopt", model=MODEL, rules=RULES) == 1
    raw.merge('{"b":2}')
    with raw.refused("INVALID") as refusal:
        raw.merge('{"a":"y"}')
    assert refusal.violations == [("/a", "type")]


def test_the_published_rules_bind_every_commit(raw: RawTwin) -> None:
    """At the published level."""
    raw.configure("adopt", model=MODEL | {"validation": "strict"}, rules=OTHER_RULES)
    with raw.refused("INVALID") as refusal:
        raw.set('{"x":1}')
    assert refusal.violations == [("/x", "additionalProperties"), ("/b", "required")]
    raw.set('{"b":"xx"}')


def test_many_rules(raw: RawTwin) -> None:
    """More than Lua's stack could hold at once, published and used."""
    rules = {"": {"type": "object"}} | {f"/m{n}": {"type": "integer"} for n in range(10_000)}
    raw.configure("adopt", model=MODEL, rules=rules)
    assert raw.client.hlen(raw.keys.rules) == 10_001
    raw.set(json.dumps({f"m{n}": n for n in range(10_000)}))
    with raw.refused("INVALID") as refusal:
        raw.merge(json.dumps({f"m{n}": "x" if n % 1000 == 0 else n for n in range(10_000)}))
    assert refusal.violations == [(f"/m{n}", "type") for n in range(0, 10_000, 1000)]


def test_places_with_odd_names(raw: RawTwin) -> None:
    """Quotes, brackets, slashes and other letters in a rule's place are kept."""
    rules = {"": {"type": "object"}} | {
        place: {"type": "integer"} for place in ('/a"b', "/{}", "/x~1y", "/~0", "/é", "/\\", "/a\nb", "/")
    }
    raw.configure("adopt", model=MODEL | {"model": 'M"é\\'}, rules=rules)
    assert published(raw)[1] == rules
    assert raw.meta_of("model") == 'M"é\\'
    state = {'a"b': "x", "{}": "x", "x/y": "x", "~": "x", "é": "x", "\\": "x", "a\nb": "x", "": "x"}
    with raw.refused("INVALID") as refusal:
        raw.set(json.dumps(state))
    assert refusal.violations == [(place, "type") for place in list(rules)[1:]]


def test_settings_without_a_model(raw: RawTwin) -> None:
    """Change what they name, and nothing else."""
    raw.configure("adopt", model=MODEL, rules=RULES)
    before = published(raw)
    assert raw.configure(settings='{"history_length":5,"max_bytes":100,"auto_timestamp":1}') == 0
    assert [raw.meta_of(name) for name in ("history_length", "max_bytes", "auto_timestamp")] == ["5", "100", "1"]
    assert raw.configure(settings='{ "max_bytes" : 200 }') == 0
    assert [raw.meta_of(name) for name in ("history_length", "max_bytes")] == ["5", "200"]
    assert published(raw) == before
    assert raw.configure() == 0


def test_settings_bind(stamped: RawTwin) -> None:
    """Each does what it says."""
    stamped.configure(settings='{"auto_timestamp":0,"max_bytes":20,"history_length":1}')
    stamped.set('{"a":1}')
    assert stamped.state == '{"a":1}'
    stamped.commit("{}", "{}", "{}")
    assert len(stamped.history) == 1
    with stamped.refused("TOO_LARGE"):
        stamped.set('{"a":"xxxxxxxxxxxxxxxxxxxxxxxxx"}')
    stamped.configure(settings='{"auto_timestamp":1,"max_bytes":200}')
    reply = stamped.merge("{}")
    assert json.loads(stamped.state) == {"a": 1, "timestamp": reply.committed_at}


def test_a_shorter_history_trims_at_once(raw: RawTwin) -> None:
    """The newest stay; a longer one brings nothing back."""
    raw.commit(*[f'{{"n":{n}}}' for n in range(1, 11)])
    raw.configure(settings='{"history_length":3}')
    assert [entry["version"] for entry in raw.history] == [9, 8, 7]
    assert raw.lookup("version", 6) is None
    raw.configure(settings='{"history_length":100}')
    raw.merge("{}")
    assert [entry["version"] for entry in raw.history] == [10, 9, 8, 7]


def test_a_much_shorter_history_forgets_its_times(raw: RawTwin) -> None:
    """What is kept for look-ups by time follows, within 64 versions."""
    raw.commit(*[f'{{"timestamp":"2026-01-01T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z"}}' for n in range(600)])
    raw.configure(settings='{"history_length":2}')
    raw.commit(*['{"timestamp":"2026-01-02T00:00:00Z"}'] * 64)
    assert raw.client.zcard(raw.keys.times) <= 3
    found = raw.lookup("time", "2026-01-02T00:00:00Z")
    assert found is not None
    assert found["version"] == 664


BAD_SETTINGS = [
    '{"history_length":0}',
    '{"history_length":-1}',
    '{"history_length":1.5}',
    '{"history_length":1e3}',
    '{"history_length":null}',
    '{"history_length":true}',
    '{"history_length":{}}',
    '{"history_length":[5]}',
    '{"history_length":"5"}',
    '{"history_length":9999999999999999}',
    '{"history_length":18446744073709551615}',
    '{"max_bytes":0}',
    '{"max_bytes":-5}',
    '{"max_bytes":"x"}',
    '{"max_bytes":9999999999999999}',
    '{"auto_timestamp":2}',
    '{"auto_timestamp":true}',
    '{"auto_timestamp":"1"}',
    '{"version":5}',
    '{"epoch":"x"}',
    '{"validation":"none"}',
    '{"model_hash":"x"}',
    '{"":1}',
    '{"history_length":5,"max_bytes":0}',
    '{"history_length":5,"history_length":6}',
    "[]",
    "5",
    "",
    "{",
]


@pytest.mark.parametrize("settings", BAD_SETTINGS)
def test_wrong_settings_are_refused(raw: RawTwin, settings: str) -> None:
    """Unknown names, and values that are none; one bad one refuses all, and the model beside them."""
    raw.commit("{}", "{}", "{}")
    with raw.refused("BAD_JSON"):
        raw.configure(settings=settings)
    with raw.refused("BAD_JSON"):
        raw.configure("force", settings, model=MODEL, rules=RULES)


BAD_MODELS = [
    {"model": "M", "version": "5"},
    {"model": "M", "history_length": "5"},
    {"model": "M", "model_hash": "h", "checks": "server", "validation": "lax"},
    {"model": "M", "model_hash": "h", "checks": "both", "validation": "none"},
    {"model": "M", "model_hash": "", "checks": "server", "validation": "none"},
    {"model_hash": "h", "checks": "server", "validation": "none"},
    {"model": "M", "checks": "server", "validation": "none"},
    {"model": "M", "model_hash": "h", "validation": "none"},
    {"model": "M", "model_hash": "h", "checks": "server"},
    {},
]


@pytest.mark.parametrize("model", BAD_MODELS, ids=str)
def test_a_model_is_its_four_facts(raw: RawTwin, model: dict[str, str]) -> None:
    """No more, no fewer, with values that there are: it can reach no other field of meta."""
    raw.set("{}")
    with raw.refused("BAD_JSON"):
        raw.configure("force", model=model, rules=RULES)


@pytest.mark.parametrize(
    ("rules", "schema"), [("", "{}"), ("{", "{}"), ("[]", "{}"), ('{"":5}', "{}"), ('{"":{},"":{}}', "{}"), ("{}", "")]
)
def test_rules_and_schema_go_with_a_model(raw: RawTwin, rules: str, schema: str) -> None:
    """Rules that are JSON objects, and a schema."""
    raw.set("{}")
    with raw.refused("BAD_JSON"):
        raw.call("configure", "force", "{}", json.dumps(MODEL), rules, schema)


@pytest.mark.parametrize("mode", ["", "Adopt", "replace", '"', "é"])
def test_another_mode_is_refused(raw: RawTwin, mode: str) -> None:
    """There are three; the error names what was given."""
    with raw.refused("BAD_JSON") as refusal:
        raw.configure(mode)
    assert mode in refusal.details["reason"]


def test_a_model_hash_binds_those_who_name_one(raw: RawTwin) -> None:
    """The published one passes, none passes, another is refused; so is any where none is published."""
    with raw.refused("MODEL") as refusal:
        raw.set("{}", model="h1")
    assert refusal.details == {"yours": "h1", "published": "", "model": "", "checks": ""}
    raw.configure("adopt", model=MODEL)
    raw.set("{}", model="h1")
    raw.set("{}")
    for op in ("set", "import", "merge", "adjust"):
        with raw.refused("MODEL") as refusal:
            raw.commit("{}", op=op, model='h2"{')
        assert refusal.details == {"yours": 'h2"{', "published": "h1", "model": "Plant", "checks": "server"}


def test_a_model_that_python_has_to_check(raw: RawTwin) -> None:
    """Binds everybody: whoever does not have it is refused, and a merge has to build on the version it checked."""
    raw.configure("adopt", model=MODEL | {"checks": "python"})
    for op in ("set", "import", "merge"):
        with raw.refused("MODEL") as refusal:
            raw.commit('{"n":1}', op=op)
        assert refusal.details == {"yours": "", "published": "h1", "model": "Plant", "checks": "python"}
    raw.set('{"n":1}', model="h1")
    raw.commit('{"n":1}', op="import", model="h1")
    for op, body in (("merge", '{"n":2}'), ("adjust", '{"/n":1}')):
        with raw.refused("MODEL"):
            raw.commit(body, op=op, model="h1")
        with raw.refused("MODEL"):
            raw.commit(body, op=op, expected=raw.version)
        raw.commit(body, op=op, model="h1", expected=raw.version)


def test_configure_keeps_the_state_and_its_version(raw: RawTwin) -> None:
    """No commit is made, and nothing is published on the channel."""
    raw.set('{"a":1}')
    version, state = raw.version, raw.state
    with raw.listening() as events:
        raw.configure("adopt", '{"history_length":9}', model=MODEL, rules=RULES)
    assert (raw.version, raw.state) == (version, state)
    assert events == []
