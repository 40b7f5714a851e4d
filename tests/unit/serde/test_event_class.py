"""What the class of an event may be is decided at import; what its values may be, whenever one is read or written."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from functools import partial
from io import BytesIO
from typing import Annotated, Literal

import fastavro
import pytest
from click.testing import CliRunner
from msgspec import UNSET, Meta, defstruct

from eventbus import Codec, Event, Rule, event
from eventbus.avro_schema import SchemaMismatch
from eventbus.event.limits import UNBOUNDED
from eventbus.serde.codec import PoisonRecord
from eventbus.serde.framing import FRAME
from eventbus.serde.plans import COMPILED, COMPILED_NODES, INTERPRETED, BadCodec, Planner
from eventbus.serde.registry import FileRegistry
from eventbus.worker.worker import EXIT_CODES
from saga.__main__ import main as saga

KINDS = [COMPILED, INTERPRETED] if COMPILED_NODES else [INTERPRETED]
CODE = {"type": "enum", "name": "Code", "symbols": ["A", "B"], "default": "A"}


def bind(folder, kinds, bases=(Event,), key="name"):
    """Return an event bound to a schema of fields (name, Avro type, hint), its first one `name`."""
    kinds = [("name", "string", str), *kinds]
    fields = [{"name": field, "type": of} for field, of, _ in kinds]
    avsc = folder / "made.avsc"
    avsc.write_text(json.dumps({"type": "record", "name": "Made", "fields": fields}))
    (folder / "ids.json").write_text('{"1": "made.avsc"}')
    made = defstruct("Made", [(field, hint) for field, _, hint in kinds], bases=bases, frozen=True)
    return event(avsc, key=key)(made)


@pytest.mark.parametrize(
    "name",
    ["key", "topic", "schema", "schema_text", "ids", "key_field", "limits", "summary", "check", "to_avro", "from_avro"],
)
def test_a_field_cannot_be_named_like_an_attribute_of_every_event(tmp_path, name):
    """It would take its place: a field `key` had `event.key` call itself until the process died."""
    with pytest.raises(SchemaMismatch, match=f"the field {name!r} has the name of an attribute of every event"):
        bind(tmp_path, [(name, "string", str)])
    with pytest.raises(SchemaMismatch, match=name):
        bind(tmp_path, [(name, "string", str)], key=name)


WRONG = {
    "a length of a number": ("int", Annotated[int, Meta(max_length=3)]),
    "a bound of a text": ("string", Annotated[str, Meta(ge=3)]),
    "a bound that is no whole number": ("int", Annotated[int, Meta(ge=0.5)]),
    "a bound of 71 bits": ("long", Annotated[int, Meta(le=2**70)]),
    "a length of a Literal": (CODE, Annotated[Literal["A", "B"], Meta(max_length=3)]),
    "in an array": ({"type": "array", "items": "int"}, tuple[Annotated[int, Meta(min_length=3)], ...]),
    "a Rule of a number": ("int", Annotated[int, Rule(str.isascii)]),
    "a Rule of bytes": ("bytes", Annotated[bytes, Rule(bytes.isascii)]),
    "a Rule of an array": ({"type": "array", "items": "string"}, Annotated[tuple[str, ...], Rule(len)]),
    "a Rule of a number in an array": ({"type": "array", "items": "int"}, tuple[Annotated[int, Rule(bool)], ...]),
    "a Rule of a number or null": (["null", "int"], Annotated[int, Rule(bool)] | None),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_condition_that_nothing_can_check_is_refused_at_import(tmp_path, what):
    """Otherwise the first record would end the worker, or nothing would ever check it."""
    with pytest.raises(SchemaMismatch, match=r"made.avsc: "):
        bind(tmp_path, [("other", *WRONG[what])])


def codecs(cls):
    """Return a codec that never asks fastavro first, for each kind of plan, and one without plans."""
    judge = Codec(FileRegistry(cls.ids), [cls], Planner(INTERPRETED))
    judge._plans.clear()
    judge._writers.clear()
    return [judge, *(Codec(FileRegistry(cls.ids), [cls], Planner(kind)) for kind in KINDS)]


def encoded(event):
    """Return the value as fastavro writes it, whatever the event allows."""
    body = BytesIO(FRAME.pack(0, 1))
    body.seek(FRAME.size)
    fastavro.schemaless_writer(body, event.schema, event.to_avro())
    return body.getvalue()


def refusals(sample):
    """Return what each codec says of an event that it must neither read nor write."""
    said = []
    for codec in codecs(type(sample)):
        with pytest.raises(PoisonRecord) as read:
            codec.decode("made", sample.key.encode(), encoded(sample))
        assert read.value.reason == "invalid_value"
        said.append(str(read.value))
        with pytest.raises(ValueError, match=r".") as written:
            codec.encode(sample)
        said.append(str(written.value))
    with pytest.raises(ValueError, match=r".") as checked:
        sample.check()
    return {*said, str(checked.value)}


@pytest.mark.parametrize("hint", [Annotated[str, Meta(max_length=0)], Annotated[str, Rule(str.islower)]])
def test_what_an_enum_must_be_beyond_its_symbols_is_checked_by_plans_too(tmp_path, hint):
    """A plan checks the symbols alone, so such a field is left to fastavro."""
    assert len(refusals(bind(tmp_path, [("code", CODE, hint)])("k", "A"))) == 1


def once(_text):
    """Allow a text the second time that it is asked."""
    ASKED.append(1)
    return len(ASKED) % 2 == 0


ASKED: list[int] = []


def test_a_rule_that_said_no_is_not_asked_until_it_says_yes(tmp_path):
    """It may be asked again for the message."""
    made = bind(tmp_path, [("other", "string", Annotated[str, Rule(once)])])
    ASKED.clear()
    with pytest.raises(ValueError, match="other 'x' is not allowed by its Rule"):
        made.from_avro({"name": "k", "other": "x"})


def raises(_text):
    """Have a mistake."""
    raise KeyError("mistake")


class Mistaken(Event, frozen=True):
    def __post_init__(self) -> None:
        if self.key == "k":
            raise KeyError("mistake")


@pytest.mark.parametrize("bases", [(Event,), (Mistaken,)], ids=["a Rule", "the event"])
def test_a_check_that_raises_makes_the_record_poison(tmp_path, bases):
    """The worker would end at the same record again and again."""
    hint = str if bases == (Mistaken,) else Annotated[str, Rule(raises)]
    made = bind(tmp_path, [("other", "string", hint)], bases)
    value = FRAME.pack(0, 1) + b"\x02k\x02x"
    for codec in codecs(made):
        with pytest.raises(PoisonRecord, match="KeyError: 'mistake'") as poison:
            codec.decode("made", b"k", value)
        assert poison.value.reason == "invalid_value"


def test_a_rule_may_return_anything_that_is_true_or_false(tmp_path):
    """A match, for example; compiled, too."""
    made = bind(tmp_path, [("other", "string", Annotated[str, Rule(re.compile("[a-z]+$").match)])])
    for codec in codecs(made):
        assert codec.decode("made", b"k", codec.encode(made("k", "x"))) == made("k", "x")
    for kind in KINDS:
        assert Planner(kind).plan(made, b"frame").write(made("k", "x")) == b"frame\x02k\x02x"
    assert len(refusals(made("k", "X"))) == 1


class Loud(str):
    __slots__ = ()

    def encode(self, *_arguments):
        """Return other bytes than those of the text."""
        return b"LOUD"


class Amount(int):
    pass


class Pair(tuple):
    __slots__ = ()


class Level(StrEnum):
    LOW = "A"


TUPLE = ("array", {"type": "array", "items": "string"}, tuple[str, ...])
ODD = [
    (("text", "string", str), Loud("x"), "text 'x' must be a plain value"),
    (("code", CODE, str), Loud("A"), "code 'A' must be a plain value"),
    (("number", "int", int), Amount(5), "number 5 must be a plain value"),
    (("text", "string", str), UNSET, "text must have a value: it is UNSET"),
    (("array", TUPLE[1], TUPLE[2]), (UNSET,), "array .* must be a plain value"),
    (("code", CODE, str), "x" * 500, f"code '{'x' * 80}' must be one of A, B"),
    (("code", CODE, Literal["A", "B"]), "x" * 500, f"code '{'x' * 80}' must be one of A, B"),
    (("number", "int", int), 10**5000, r"number \(a number of 16610 bits\) must be -2147483648 to 2147483647"),
    (
        ("text", "string", Annotated[str, Rule(str.isascii)]),
        "é" * 99,
        f"text '{'é' * 80}' must be a text that its Rule",
    ),
    (("text", "string", Annotated[str, Meta(min_length=2)]), "x", "text 'x' must be at least 2 characters"),
]


@pytest.mark.parametrize(("field", "value", "wrong"), ODD, ids=range(len(ODD)))
def test_every_check_refuses_a_value_with_one_clear_error(tmp_path, field, value, wrong):
    """ValueError: it names the field, and shows at most 80 characters of the value. Every codec says the same."""
    sample = bind(tmp_path, [field])("k", value)
    for check in (sample.check, *(partial(codec.encode, sample) for codec in codecs(type(sample)))):
        with pytest.raises(ValueError, match=wrong) as error:
            check()
        assert len(str(error.value)) < 300
        assert str(UNBOUNDED) not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"), [(("code", CODE, str), Level.LOW), (TUPLE, Pair(["x"])), (("text", "string", str), Level.LOW)]
)
def test_a_value_that_is_nearly_plain_is_written_alike_by_every_codec(tmp_path, field, value):
    """Plans leave it to fastavro: whatever its class changes, compiled code might not notice."""
    sample = bind(tmp_path, [field])("k", value)
    assert {codec.encode(sample) for codec in codecs(type(sample))} == {encoded(sample)}
    for kind in KINDS:
        assert Planner(kind).plan(type(sample), b"frame").write(sample) is None


def test_an_unset_field_is_refused_though_it_has_a_default(tmp_path):
    """It would be published with the default, which nobody chose."""
    avsc = tmp_path / "made.avsc"
    fields = [{"name": "name", "type": "string"}, {"name": "text", "type": "string", "default": "d"}]
    avsc.write_text(json.dumps({"type": "record", "name": "Made", "fields": fields}))
    made = event(avsc, key="name")(defstruct("Made", [("name", str), ("text", str, "d")], bases=(Event,), frozen=True))
    with pytest.raises(ValueError, match="text must have a value: it is UNSET"):
        made("k", UNSET).check()


def test_the_switch_of_the_codec_is_refused_if_it_is_misspelt(tmp_path, monkeypatch):
    """It would have no effect, unnoticed; whatever makes a codec says so in one line."""
    made = bind(tmp_path, [])
    monkeypatch.setenv("EVENTBUS_CODEC", "interpret")
    with pytest.raises(BadCodec, match="EVENTBUS_CODEC is 'interpret': set it to interpreted or compiled"):
        Codec(FileRegistry(made.ids), [made])
    assert EXIT_CODES[BadCodec] == 2
    run = CliRunner().invoke(saga, ["demo", "--orders", "1"])
    assert run.exit_code == 1
    assert "error: EVENTBUS_CODEC is 'interpret'" in run.stderr
