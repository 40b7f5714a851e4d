"""The topics of the saga, as defined in deploy/topics.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eventbus.text.handed_in import decoded

KINDS = ("events", "dead_letters", "resolutions", "progress", "declarations")


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
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadTopicsFile(f"{path}: {error}") from error
    if not isinstance(content, dict) or not set(content) <= {*KINDS, "config", "partitions"}:
        raise BadTopicsFile(f"{path}: only the keys {', '.join(KINDS)}, config and partitions are allowed")
    topics = [
        Topic(name, kind, _config(path, content, kind), _partitions(path, content, kind))
        for kind in KINDS
        for name in _names(path, content, kind)
    ]
    names = [topic.name for topic in topics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadTopicsFile(f"{path}: these topics are listed twice: {', '.join(twice)}")
    return topics


def counts(topics: Iterable[Topic], partitions: int) -> dict[str, int]:
    """Return the wanted number of partitions of each topic: `partitions` if the file does not set it."""
    return {topic.name: topic.partitions or partitions for topic in topics}


def _names(path: Path, content: dict[str, Any], kind: str) -> list[str]:
    names = content.get(kind) or []
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise BadTopicsFile(f"{path}: {kind} must be a list of topic names")
    return names


def _config(path: Path, content: dict[str, Any], kind: str) -> dict[str, str]:
    configs = content.get("config") or {}
    config = configs.get(kind) or {} if isinstance(configs, dict) else configs
    if not isinstance(config, dict):
        raise BadTopicsFile(f"{path}: config must hold a mapping of topic properties for each of {', '.join(KINDS)}")
    return {str(name): str(value) for name, value in config.items()}


def _partitions(path: Path, content: dict[str, Any], kind: str) -> int | None:
    numbers = content.get("partitions") or {}
    number = numbers.get(kind) if isinstance(numbers, dict) else 0
    if number is not None and (type(number) is not int or number < 1):
        raise BadTopicsFile(
            f"{path}: partitions must hold a number, 1 or more, for each of {', '.join(KINDS)} that it names"
        )
    return number
