"""The topics of the saga, as defined in deploy/topics.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from msgspec import Meta, Struct, ValidationError, convert

from eventbus.text.handed_in import decoded

Kind = Literal["events", "dead_letters", "resolutions", "progress", "declarations"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CONTENT = f"it must have lists of topic names under {', '.join(KINDS)}"
Names = list[Annotated[str, Meta(min_length=1)]]


class _TopicsFile(Struct, forbid_unknown_fields=True):
    events: Names | None = None
    dead_letters: Names | None = None
    resolutions: Names | None = None
    progress: Names | None = None
    declarations: Names | None = None
    config: dict[Kind, dict[str, str | int | float | bool]] | None = None
    partitions: dict[Kind, Annotated[int, Meta(ge=1)]] | None = None


class BadTopicsFile(ValueError):
    """The file is not a list of topics; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as defined in the file; `kind` is one of KINDS."""

    name: str
    kind: str
    config: Mapping[str, str]
    partitions: int | None = None
    """Its own number of partitions, if the file sets it."""


def topics_file() -> Path:
    """Return the installed file: in the package in a wheel, in deploy/ in a checkout."""
    here = Path(__file__).parents[1]
    packaged = here / "topics.yaml"
    return packaged if packaged.exists() else here.parent / "deploy" / "topics.yaml"


def read_topics(path: Path | None = None) -> list[Topic]:
    """Return the topics of a file, events first; by default of the installed one. Raises BadTopicsFile."""
    path = path or topics_file()
    try:
        content = yaml.safe_load(decoded(path.read_bytes()))
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadTopicsFile(f"{path}{line}: it is not YAML: {error.problem}; {CONTENT}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadTopicsFile(f"{path}: {error}") from error
    try:
        file = convert(content, _TopicsFile)
    except ValidationError as error:
        raise BadTopicsFile(f"{path}: {error}; {CONTENT}") from error
    topics = [
        Topic(name, kind, _config(file, kind), (file.partitions or {}).get(kind))
        for kind in KINDS
        for name in getattr(file, kind) or ()
    ]
    names = [topic.name for topic in topics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadTopicsFile(f"{path}: these topics are listed twice: {', '.join(twice)}")
    return topics


def counts(topics: Iterable[Topic], partitions: int) -> dict[str, int]:
    """Return the wanted number of partitions of each topic: `partitions` if the file does not set it."""
    return {topic.name: topic.partitions or partitions for topic in topics}


def _config(file: _TopicsFile, kind: Kind) -> dict[str, str]:
    return {name: str(value) for name, value in (file.config or {}).get(kind, {}).items()}
