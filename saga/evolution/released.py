"""The released schemas: frozen files, each compatible with every other version of its topic, both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

from fastavro.schema import SchemaParseException

from eventbus.avro_schema import SchemaMismatch, parse
from saga.evolution import enums
from saga.evolution.compatibility import FIELD_WITHOUT_DEFAULT, Incompatibility, breaks, resolved
from saga.evolution.samples import unread

FILE_NAME = re.compile(r"(?P<topic>.+)\.v(?P<number>[1-9][0-9]*)\.avsc")


class Problem(NamedTuple):
    """A problem with one topic's schemas: the rule that is broken, and how."""

    topic: str
    rule: str
    detail: str


@dataclass(frozen=True, slots=True, order=True)
class ReleasedSchema:
    """One released schema of a topic."""

    topic: str
    number: int
    path: Path

    @property
    def text(self) -> str:
        """The file's text."""
        return self.path.read_text(encoding="utf-8")

    @property
    def schema(self) -> Any:
        """The file's content, parsed."""
        return json.loads(self.text)

    def __str__(self) -> str:
        return f"v{self.number}"


def released(folder: Path) -> dict[str, list[ReleasedSchema]]:
    """Return the versions of each topic, oldest first, from `folder`/released."""
    versions: dict[str, list[ReleasedSchema]] = {}
    for path in (folder / "released").glob("*.avsc"):
        if match := FILE_NAME.fullmatch(path.name):
            version = ReleasedSchema(match["topic"], int(match["number"]), path)
            versions.setdefault(version.topic, []).append(version)
    return {topic: sorted(versions[topic]) for topic in sorted(versions)}


def check(folder: Path, keys: Mapping[str, str]) -> list[Problem]:
    """Return all problems of the schemas in this folder; [] if there are none.

    `keys`: the field of each topic that its records are keyed by.
    """
    current = {path.name.removesuffix(".avsc"): path for path in sorted(folder.glob("*.avsc"))}
    versions = released(folder)
    unusable = list(_unusable([*current.values(), *(folder / "released").iterdir()]))
    if unusable:
        return unusable
    return [
        *_check_names(current, versions),
        *_check_ids(folder),
        *(problem for topic, of_topic in versions.items() for problem in _check_key(of_topic, keys.get(topic))),
        *(problem for of_topic in versions.values() for problem in check_pairs(of_topic)),
    ]


def check_pairs(versions: Iterable[ReleasedSchema]) -> Iterator[Problem]:
    """Compare every version with every other one, both ways (FULL_TRANSITIVE): by the rules, then with samples."""
    for writer, reader in permutations(versions, 2):
        broken, newer = breaks(writer.schema, reader.schema), reader.number > writer.number
        for rule, at, detail in enums.changes(writer.schema, reader.schema) if newer else ():
            yield Problem(writer.topic, rule, f"from {writer} to {reader}: {at}: {detail}")
        for rule, at, detail in broken:
            named = f"{'added' if newer else 'removed'} {rule}" if rule == FIELD_WITHOUT_DEFAULT else rule
            yield Problem(writer.topic, named, f"{reader} cannot read what {writer} wrote: {at}: {detail}")
        if not broken and (failure := unread(writer.schema, reader.schema)):
            yield Problem(writer.topic, "unreadable", f"{reader} cannot read what {writer} wrote: {failure}")


def _unusable(paths: Iterable[Path]) -> Iterator[Problem]:
    for path in paths:
        released_name = path.parent.name != "released" or FILE_NAME.fullmatch(path.name)
        if not released_name:
            yield Problem(path.name, "file name", "a released schema must be named <topic>.v<number>.avsc")
            continue
        try:
            found = _bad_defaults(json.loads(path.read_text(encoding="utf-8")))
        except (SchemaMismatch, SchemaParseException, ValueError, KeyError, TypeError) as error:
            yield Problem(path.name, "not a usable schema", f"{type(error).__name__}: {error}")
        else:
            yield from (Problem(path.name, rule, f"{at}: {detail}") for rule, at, detail in found)


def _bad_defaults(schema: Any) -> list[Incompatibility]:
    """Parse a schema and return the defaults of enums that are not symbols; the parser's own error does not name them.

    Raises the parser's errors about anything else.
    """
    refused = None
    try:
        parse(schema)
    except SchemaParseException as error:
        refused = error
    found = list(enums.unknown_defaults(schema))
    if refused and not found:
        raise refused
    return found


def _check_names(current: dict[str, Path], versions: dict[str, list[ReleasedSchema]]) -> Iterator[Problem]:
    for topic in sorted({*current, *versions}):
        numbers = [version.number for version in versions.get(topic, [])]
        if topic not in current:
            yield Problem(topic, "no schema", f"{topic}.avsc is missing, but {len(numbers)} versions were released")
        elif not numbers:
            yield Problem(topic, "not released", f"copy {topic}.avsc to released/{topic}.v1.avsc, add it to ids.json")
        elif numbers != list(range(1, len(numbers) + 1)):
            yield Problem(topic, "version missing", f"the versions are {numbers}: they must start at 1, without gaps")
        elif json.loads(current[topic].read_text(encoding="utf-8")) not in [v.schema for v in versions[topic]]:
            newest = numbers[-1]
            yield Problem(
                topic,
                "not as released",
                f"{topic}.avsc equals none of the released {topic}.v1 to v{newest}: release it as v{newest + 1}",
            )


def _check_key(versions: Iterable[ReleasedSchema], key: str | None) -> Iterator[Problem]:
    """The key field is required in every version: without it, events of one order would go to different partitions."""
    for version in versions if key else ():
        fields = resolved(version.schema)["fields"]
        field = next((field for field in fields if field["name"] == key), None)
        if field is None:
            yield Problem(version.topic, "key field removed", f"{version} has no {key}, which records are keyed by")
        elif field["type"] != {"type": "string"} or "default" in field:
            yield Problem(version.topic, "key field changed", f"{version}: {key} must be a string without a default")


def _check_ids(folder: Path) -> Iterator[Problem]:
    """Every released file has exactly one id, and every id a file."""
    try:
        ids = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
        numbers = [int(number) for number in ids]
    except (OSError, ValueError, TypeError) as error:
        yield Problem("ids.json", "ids", f"not a mapping of numbers to files: {error}")
        return
    files = {f"released/{path.name}" for path in (folder / "released").glob("*.avsc")}
    named = list(ids.values())
    for name in sorted(files - set(named)):
        yield Problem("ids.json", "ids", f"{name} has no id; the next free one is {max(numbers, default=0) + 1}")
    for name in sorted({name for name in named if named.count(name) > 1}):
        yield Problem("ids.json", "ids", f"{name} has more than one id")
    for name in sorted(set(named) - files):
        yield Problem("ids.json", "ids", f"{name} has an id, but there is no such file")
