"""Every rule of schema evolution is caught when it is broken, named, and agrees with what Avro really does."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest

from saga.evolution.compatibility import breaks
from saga.evolution.released import ReleasedSchema, check, check_pairs, released
from saga.evolution.samples import unread
from schemas import EVENTS, IDS

BASE = {
    "type": "record",
    "name": "Thing",
    "namespace": "saga.events",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "amount", "type": "int"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
        {
            "name": "items",
            "type": {
                "type": "array",
                "items": {"type": "record", "name": "Item", "fields": [{"name": "sku", "type": "string"}]},
            },
        },
        {"name": "first", "type": ["null", "Item"], "default": None},
        {"name": "tags", "type": {"type": "map", "values": "long"}},
    ],
}


def changed(*path, to):
    """Return BASE with the value at this path replaced."""
    schema = copy.deepcopy(BASE)
    place = schema
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return schema


def with_field(field):
    return changed("fields", to=[*BASE["fields"], field])


def without_field(name):
    return changed("fields", to=[field for field in BASE["fields"] if field["name"] != name])


def coloured(symbols, default=None, of_field=None):
    """Return BASE with these colours; with what is read for unknown ones, and where there is no field."""
    enum = {"type": "enum", "name": "Colour", "symbols": symbols} | ({"default": default} if default else {})
    field = {"name": "colour", "type": enum} | ({"default": of_field} if of_field else {})
    return changed("fields", 3, to=field)


KEYS = {"thing": "id"} | {event.topic: event.key_field for event in EVENTS}
ITEM = ("fields", 5, "type", "items")

BROKEN = {
    "added field without default": with_field({"name": "extra", "type": "string"}),
    "removed field without default": without_field("id"),
    "removed field without default (renamed)": changed("fields", 1, "name", to="sum"),
    "added field without default (renamed, with an alias)": changed(
        "fields", 1, to={"name": "sum", "type": "int", "aliases": ["amount"]}
    ),
    "key field removed": without_field("id"),
    "key field changed (it may be left out)": changed("fields", 0, to={"name": "id", "type": "string", "default": ""}),
    "key field changed (another type)": changed("fields", 0, "type", to="long"),
    "type changed": changed("fields", 0, "type", to="long"),
    "type changed (narrowed)": changed("fields", 7, "type", "values", to="int"),
    "type changed (promotion works one way only)": changed("fields", 1, "type", to="long"),
    "type changed (null is no longer allowed)": changed(
        "fields", 2, to={"name": "note", "type": "string", "default": ""}
    ),
    "type changed (inside a map)": changed("fields", 7, "type", "values", to="string"),
    "name changed": changed("name", to="Other"),
    "name changed (of the namespace)": changed("namespace", to="other.events"),
    "name changed (inside an array)": json.loads(json.dumps(BASE).replace('"Item"', '"Article"')),
    "added field without default (inside an array)": changed(
        *ITEM, "fields", to=[{"name": "sku", "type": "string"}, {"name": "quantity", "type": "int"}]
    ),
    "enum symbol unknown": changed("fields", 3, "type", "symbols", to=["RED", "BLUE", "GREEN"]),
    "enum symbol unknown (removed)": changed("fields", 3, "type", "symbols", to=["RED"]),
    "size changed": changed("fields", 4, "type", "size", to=5),
    "logical type changed": changed("fields", 1, "type", to={"type": "int", "logicalType": "date"}),
}
FINE = {
    "the same": BASE,
    "a field with a default is added": with_field({"name": "extra", "type": "string", "default": "none"}),
    "a field with a default is removed": without_field("note"),
    "fields are in another order": changed("fields", to=BASE["fields"][1:6] + BASE["fields"][:1] + BASE["fields"][6:]),
    "documentation is added": changed("doc", to="What it is."),
    "a nested name is written out in full": changed(*ITEM, "name", to="saga.events.Item"),
    "an enum gets a default": coloured(["RED", "BLUE"], "RED"),
    "symbols are in another order": coloured(["BLUE", "RED"]),
    "an optional type is wrapped": changed("fields", 0, "type", to={"type": "string"}),
}


def folder_with(tmp_path: Path, *versions: dict) -> Path:
    """Return a folder of schemas with these released versions of one topic, the newest being the current one."""
    (tmp_path / "released").mkdir()
    names = [f"released/thing.v{number}.avsc" for number in range(1, len(versions) + 1)]
    for name, schema in zip(names, versions, strict=True):
        (tmp_path / name).write_text(json.dumps(schema))
    (tmp_path / "thing.avsc").write_text(json.dumps(versions[-1]))
    (tmp_path / "ids.json").write_text(json.dumps({str(i): name for i, name in enumerate(names, start=1)}))
    return tmp_path


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_named(tmp_path, rule):
    """Whether the version is the newer or the older one."""
    problems = check(folder_with(tmp_path, BASE, BROKEN[rule]), KEYS)
    assert rule.partition(" (")[0] in {problem.rule for problem in problems}
    assert {problem.topic for problem in problems} == {"thing"}


@pytest.mark.parametrize("change", FINE)
def test_a_compatible_change_is_no_problem(tmp_path, change):
    """Neither by the rules nor when samples are written with one version and read with the other."""
    assert check(folder_with(tmp_path, BASE, FINE[change]), KEYS) == []


def test_versions_are_compared_with_all_others_not_only_with_their_neighbours(tmp_path):
    """FULL_TRANSITIVE: v1 and v3 do not go together, though each goes with v2."""
    with_default = with_field({"name": "extra", "type": "string", "default": ""})
    required = with_field({"name": "extra", "type": "string"})
    problems = check(folder_with(tmp_path, BASE, with_default, required), KEYS)
    assert {(p.rule, p.detail[:30]) for p in problems} == {
        ("added field without default", "v3 cannot read what v1 wrote: ")
    }


@pytest.mark.parametrize("rule", [rule for rule in BROKEN if not rule.startswith(("name", "logical", "key"))])
def test_the_rules_are_no_stricter_than_avro_where_they_need_not_be(rule):
    """What a rule calls broken, fastavro cannot read either, in one direction at least. Names aside."""
    assert unread(BASE, BROKEN[rule]) or unread(BROKEN[rule], BASE)


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        ("int", "long"),
        ("int", "double"),
        ("long", "float"),
        ("float", "double"),
        ("string", "bytes"),
        ("bytes", "string"),
    ],
)
def test_avros_promotions_can_be_read_and_do_not_count_as_breaks(writer, reader):
    """Avro 1.12, Schema Resolution."""
    assert breaks(changed("fields", 1, "type", to=writer), changed("fields", 1, "type", to=reader)) == []


RED_AND_BLUE = coloured(["RED", "BLUE"], "RED")
MORE = ["RED", "BLUE", "GREEN"]
ENUMS = {
    "a symbol is added": (coloured(MORE, "RED"), set()),
    "a symbol is added in front": (coloured(MORE[::-1], "RED"), set()),
    "the field gets a default": (coloured(MORE, "RED", of_field="BLUE"), set()),
    "a symbol is removed": (coloured(["RED"], "RED"), {"enum symbol removed"}),
    "a symbol has another name": (coloured(["RED", "NAVY"], "RED"), {"enum symbol removed"}),
    "another default": (coloured(["RED", "BLUE"], "BLUE"), {"enum default changed"}),
    "no default any more": (coloured(["RED", "BLUE"]), {"enum default changed"}),
    "a symbol is added, and no default any more": (coloured(MORE), {"enum default changed"}),
    "a default that is no symbol": (coloured(MORE, "PINK"), {"enum default unknown"}),
    "a default of the field that is no symbol": (coloured(MORE, "RED", of_field="PINK"), {"enum default unknown"}),
    "a symbol that is there twice": (coloured(["RED", "BLUE", "RED"], "RED"), {"not a usable schema"}),
}


@pytest.mark.parametrize("change", ENUMS)
def test_an_enum_with_a_default_is_extended_and_nothing_else(tmp_path, change):
    """What an older version does not know it reads as the default (Avro 1.9 and later); all else is refused by name."""
    schema, rules = ENUMS[change]
    problems = check(folder_with(tmp_path, RED_AND_BLUE, schema), KEYS)
    assert {problem.rule for problem in problems} == rules
    assert all("colour: " in problem.detail for problem in problems if problem.rule.startswith("enum"))
    assert rules or unread(schema, RED_AND_BLUE) is None


def test_an_enum_is_found_wherever_it_stands(tmp_path):
    """In arrays, maps, unions and records inside."""
    shade = {"type": "enum", "name": "Shade", "symbols": ["PALE", "DARK"], "default": "PALE"}
    places = {
        "colour": ["null", shade],
        "hash": {"type": "array", "items": shade},
        "first": {"type": "record", "name": "Deep", "fields": [{"name": "inner", "type": shade}]},
        "tags": {"type": "map", "values": shade},
    }
    for field, at in (("colour", "colour"), ("hash", "hash[]"), ("first", "first.inner"), ("tags", "tags[]")):
        number = [f["name"] for f in BASE["fields"]].index(field)
        older = changed("fields", number, to={"name": field, "type": places[field]})
        newer = json.loads(json.dumps(older).replace('"DARK"', '"DEEP"'))
        problems = check_pairs([version(tmp_path, 1, older), version(tmp_path, 2, newer)])
        assert [p.detail for p in problems if p.rule == "enum symbol removed"] == [
            f"from v1 to v2: {at}: DARK, which old records contain and which would be read as another value"
        ]


def version(folder, number, schema):
    path = folder / f"thing.v{number}.avsc"
    path.write_text(json.dumps(schema))
    return ReleasedSchema("thing", number, path)


def test_a_value_that_is_read_back_otherwise_than_it_was_written_is_found():
    """The rules cannot know that 0.1 does not survive single precision; trying it does."""
    schema = {"type": "record", "name": "A", "fields": [{"name": "x", "type": "float", "default": 0.1}]}
    assert breaks(schema, schema) == []
    assert "x was written as 0.1 and is read as 0.100000001" in (unread(schema, schema) or "")


@pytest.fixture
def ours(tmp_path):
    """A copy of the schemas that ship, to plant defects in."""
    return Path(shutil.copytree(IDS.parent, tmp_path / "schemas"))


def test_a_release_may_know_the_next_version_before_it_writes_it(ours):
    """Readers first: without a registry a worker can only read the versions that it ships with."""
    shutil.copy(ours / "released/order.created.v1.avsc", ours / "order.created.avsc")
    assert check(ours, KEYS) == []


def test_the_schemas_that_ship_are_clean(ours):
    assert check(ours, KEYS) == []
    assert len(released(ours)) == 9


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DEFECTS = {
    "not as released": lambda d: edit(d / "order.created.avsc", "who ordered", "who has ordered"),
    "not released": lambda d: [p.unlink() for p in (d / "released").glob("order.created.*")],
    "no schema": lambda d: (d / "order.created.avsc").unlink(),
    "version missing": lambda d: (d / "released/order.created.v1.avsc").rename(d / "released/order.created.v9.avsc"),
    "file name": lambda d: (d / "released/order.created.avsc").write_text("{}"),
    "not a usable schema": lambda d: (d / "released/order.created.v1.avsc").write_text("{"),
    "ids": lambda d: edit(d / "ids.json", '"1": "released/order.created.v1.avsc",', ""),
}


@pytest.mark.parametrize("rule", DEFECTS)
def test_a_planted_defect_is_found(ours, rule):
    """By the name of its rule, and the name of what has it."""
    DEFECTS[rule](ours)
    assert any(problem.rule == rule and "order.created" in str(problem) for problem in check(ours, KEYS))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"2": "released/payment.charged.v1.avsc"', '"2": "released/order.created.v1.avsc"', "more than one id"),
        ("payment.charged.v1", "payment.charged.v9", "no such file"),
        ('"2":', '"two":', "not a mapping of numbers"),
    ],
)
def test_every_released_file_has_one_id_and_every_id_a_file(ours, old, new, why):
    """Or a worker could not read what another one wrote."""
    edit(ours / "ids.json", old, new)
    assert any(problem.rule == "ids" and why in problem.detail for problem in check(ours, KEYS))
