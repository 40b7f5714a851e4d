"""Settings from files: every user of the machine can read a command line, and the secrets in it.

One form for all settings: the value `file:PATH` means the content of that file, without the end of the line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

FILE = "file:"
CONFIG = "kafka.properties"
_PROPERTY = re.compile(r"\s*(?P<name>[a-z][a-z0-9._]*)\s*=\s*(?P<value>.*?)\s*")


class BadFile(ValueError):
    """A settings file that cannot be read, or is invalid. The message quotes no content: it may be a secret."""


def resolved(value: str) -> str:
    """Return the value, or the content of the file that it refers to. Raises BadFile."""
    if not value.startswith(FILE):
        return value
    path = Path(value.removeprefix(FILE))
    content = _text(path).rstrip("\r\n")
    if not content.strip():
        raise BadFile(f"the file {path} is empty")
    return content


def read_properties(path: Path) -> dict[str, str]:
    """Return the settings in a file, one `name=value` per line, with librdkafka's names; `#` begins a comment line.

    Spaces around name and value are ignored. Raises BadFile.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _PROPERTY.fullmatch(line)
        if match is None:
            raise BadFile(f"{path}, line {number}: expected NAME=VALUE, as in security.protocol=SASL_SSL")
        if match["name"] in found:
            raise BadFile(f"{path}, line {number}: {match['name']} is set twice")
        try:
            found[match["name"]] = resolved(match["value"])
        except BadFile as error:
            raise BadFile(f"{path}, line {number}: {match['name']}: {error}") from error
    return found


def write_properties(folder: Path, properties: Mapping[str, str]) -> list[str]:
    """Write these settings to a file for child processes, and return the options that name it.

    Only this user can read `folder`. A value that does not fit on a line (a key in PEM) gets a file of its own.
    """
    lines = []
    for name, value in properties.items():
        fits = value == value.strip() and "\n" not in value
        if not fits:
            (folder / name).write_text(value, encoding="utf-8")
        lines.append(f"{name}={value}" if fits else f"{name}={FILE}{folder / name}")
    written = folder / f"{CONFIG}.new"
    written.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    written.replace(folder / CONFIG)  # a running process may be reading it
    return ["--kafka-config-file", str(folder / CONFIG)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadFile(f"the file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise BadFile(f"the file {path} is not text in UTF-8") from None
