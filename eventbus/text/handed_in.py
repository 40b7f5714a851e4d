"""The lines of a file from a user, as editors and spreadsheets write it.

UTF-8 with or without a byte order mark; lines that end in LF, CRLF or CR. Line numbers are those that an editor shows.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MARK = "\ufeff"
"""The byte order mark. It also occurs inside a file, if files were concatenated."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SEPARATORS = ",;\t"
QUOTED = re.compile(r'"(?:[^"]|"")*"')


class NotUtf8(ValueError):
    """The file is in another encoding as a whole."""


class FileLine(NamedTuple):
    """One line, not yet decoded: a line that cannot be decoded does not affect the others."""

    number: int
    content: bytes

    def text(self) -> str:
        """Return the line without blanks around it; ValueError where it is not UTF-8."""
        try:
            return self.content.decode("utf-8").removeprefix(MARK).strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8: {self.content[error.start]:#04x} at byte {error.start + 1}") from None


def lines(file: Iterable[bytes]) -> Iterator[FileLine]:
    """Return the lines of a binary file. Raises NotUtf8 at the first one of UTF-16, which spreadsheets write too."""
    parts = (part for raw in file for part in raw.rstrip(b"\r\n").split(b"\r"))
    for number, part in enumerate(parts, 1):
        if number == 1:
            check_encoding(part)
        yield FileLine(number, part)


def decoded(content: bytes) -> str:
    """Return the text of a whole file. Raises NotUtf8, UnicodeDecodeError."""
    check_encoding(content)
    return content.decode("utf-8").removeprefix(MARK)


def check_encoding(content: bytes) -> None:
    """Raise NotUtf8 if a file with this beginning is UTF-16, with or without a byte order mark."""
    if content.startswith(UTF_16) or b"\0" in content:
        raise NotUtf8(
            "line 1: the file is UTF-16, not UTF-8: save it as `CSV UTF-8` or as plain UTF-8, or convert it with"
            " `iconv -f UTF-16 -t UTF-8`"
        )


def separator(text: str) -> str:
    """Return what separates the fields of a line of CSV: the last of `,`, `;` and tab that is not inside quotes.

    A spreadsheet writes semicolons where the comma is the decimal point.
    """
    unquoted = QUOTED.sub("", text)
    return max(SEPARATORS, key=unquoted.rfind)


def fields(text: str, separated_by: str) -> list[str]:
    """Return the fields of one line of CSV, without blanks around them. Raises csv.Error."""
    [found] = csv.reader([text], strict=True, delimiter=separated_by, skipinitialspace=True)
    return [field.strip() for field in found]
