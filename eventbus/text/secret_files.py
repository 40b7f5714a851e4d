"""Settings from files: what stands on a command line can be read by every user of the machine, and so can secrets.

One way for all of them: the value `file:PATH` stands for what is in that file, without the end of the line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

FILE = "file:"
CONFIG = "kafka.properties"
_PROPERTY = re.compile(r"\s*(?P<name>[a-z][a-z0-9._]*)\s*=\s*(?P<value>.*?)\s*")


class BadFile(ValueError):
    """A file of settings that cannot be read, or is none. The message says no content: it may be a secret."""


def resolved(value: str) -> str:
    """Return the value, or what is in the file that it refers to. Raises BadFile."""
    if not value.startswith(FILE):
        return value
    path = Path(value.removeprefix(FILE))
    content = _text(path).rstrip("\r\n")
    if not content.strip():
        raise BadFile(f"the file {path} is empty")
    return content


def read_properties(path: Path) -> dict[str, str]:
    """Return what a file says, one `name=value` a line, as librdkafka names them; `#` begins a comment line.

    Spaces around name and value are left out. Raises BadFile.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _PROPERTY.fullmatch(line)
        if match is None:
            raise BadFile(f"{path}, line {number}: it is not NAME=VALUE, as in security.protocol=SASL_SSL")
        if match["name"] in found:
            raise BadFile(f"{path}, line {number}: {match['name']} stands there a second time")
        try:
            found[match["name"]] = resolved(match["value"])
        except BadFile as error:
            raise BadFile(f"{path}, line {number}: {match['name']}: {error}") from error
    return found


def write_properties(folder: Path, properties: Mapping[str, str]) -> list[str]:
    """Write the file that says this, for processes that we start, and return the options that name it.

    `folder` is for this user alone. What does not fit into a line (a key in PEM) gets a file of its own.
    """
    lines = []
    for name, value in properties.items():
        fits = value == value.strip() and "\n" not in value
        if not fits:
            (folder / name).write_text(value, encoding="utf-8")
        lines.append(f"{name}={value}" if fits else f"{name}={FILE}{folder / name}")
    written = folder / f"{CONFIG}.new"
    written.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    written.replace(folder / CONFIG)  # a process that was started before may be reading it
    return ["--kafka-config-file", str(folder / CONFIG)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadFile(f"the file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise BadFile(f"the file {path} is not text in UTF-8") from None
