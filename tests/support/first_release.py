"""The code as it was when every schema had one version: a copy of this one that has forgotten the second versions.

Workers of both run side by side: `python -m order_service` with the copy's folder as PYTHONPATH is the old one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

HERE = Path(__file__).parents[2]
PACKAGES = ("eventbus", "schemas", "order_service", "payment_service", "inventory_service", "choreography")
SECOND = {"order.created": "request_id", "order.cancelled": "cause"}
"""The events that have a second version, and the field that came with it."""
EDITS = {
    "schemas/events.py": (
        ('    request_id: str = ""\n', ""),
        ('        if self.request_id:\n            _check_id("request_id", self.request_id)\n', ""),
        ('    cause: str = ""\n', ""),
        ('        if self.cause:\n            _check_id("cause", self.cause)\n', ""),
    ),
    "order_service/service.py": (
        (', request_id=order.request_id or ""', ""),
        (", cause=failed.topic", ""),
    ),
}


def first_release(folder: Path, *, knows_the_next: bool) -> Path:
    """Make the copy in this new folder, and return it.

    `knows_the_next`: it ships the second versions, and can read them, but does not write them yet.
    """
    for package in PACKAGES:
        shutil.copytree(HERE / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, edits in EDITS.items():
        text = (folder / file).read_text(encoding="utf-8")
        for new, old in edits:
            assert text.count(new) == 1, f"{file} has changed: {new!r} is no longer there once"
            text = text.replace(new, old)
        (folder / file).write_text(text, encoding="utf-8")
    schemas = folder / "schemas"
    for topic in SECOND:
        shutil.copy(schemas / f"released/{topic}.v1.avsc", schemas / f"{topic}.avsc")
    if not knows_the_next:
        _forget_the_second(schemas)
    return folder


def _forget_the_second(schemas: Path) -> None:
    forgotten = {f"released/{topic}.v2.avsc" for topic in SECOND}
    for name in forgotten:
        (schemas / name).unlink()
    ids = json.loads((schemas / "ids.json").read_text(encoding="utf-8"))
    known = {number: name for number, name in ids.items() if name not in forgotten}
    (schemas / "ids.json").write_text(json.dumps(known), encoding="utf-8")
