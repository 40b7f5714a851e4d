"""The code as earlier releases had it: copies of this one that have forgotten the later versions of the schemas.

Workers of two releases run side by side: `python -m order_service` with the copy's folder as PYTHONPATH is the old one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

HERE = Path(__file__).parents[3]
PACKAGES = ("eventbus", "schemas", "order_service", "payment_service", "inventory_service", "saga")
NEWEST = {"order.created": 3, "order.cancelled": 2, "payment.failed": 3}
"""The events that have more than one version, and the one that is written now."""
BEFORE = NEWEST | {"order.created": 2}
"""What the latest of them wrote."""
WRITTEN = {1: dict.fromkeys(NEWEST, 1), 2: BEFORE | {"payment.failed": 2}, 3: BEFORE}
"""The earlier releases, and which versions they wrote."""
CODE = '    code: Literal["UNSPECIFIED", "DECLINED", "LIMIT_EXCEEDED"] = "UNSPECIFIED"\n'
ALL_DECLINED = {
    "payment_service/books.py": (
        ('Line(request, "above limit", f"declined', 'Line(request, "declined", f"declined'),
        ("Declined(line.detail, _code(line))", "Declined(line.detail)"),
    ),
}
NO_DEADLINE = {
    "order_service/door.py": (
        (
            "        cancel_at_ms=max(0, order.deadline_at or 0),  # by a clock that is wrong it may be before 1970\n",
            "",
        ),
    )
}
NEVER_OVERDUE = {
    "order_service/service.py": (("    @when_due(DEADLINE, compensates=[OrderCreated])\n", ""),),
    "order_service/domain.py": (
        ('"confirmed", reason, refunded, now, None, None)', '"confirmed", reason, refunded, now, *order[7:])'),
        ("return _without_deadline(cancelled)", "return cancelled"),
        (
            "return order._replace(deadline_at=now + deadline_ms, deadline_set_at=now) if deadline_ms else order",
            "return order",
        ),
    ),
}
"""It fires no deadline, and leaves those of orders that it ends where they are: it does not know the columns."""
CANCEL_AT = ("    cancel_at_ms: TimeOrZero = 0\n", "")
CLASS = '''@event(HERE / "inventory.released.avsc", key="order_id")
class InventoryReleased(_Fact, frozen=True):
    """Every item that was reserved for the order is in stock again."""

    summary = "every reserved item was returned to stock"


'''
NUMBERED = (
    ("(id, records, number) values (?, ?, {number})", "(id, records) values (?, ?)"),
    ("select number, id, length(records)", "select id, length(records)"),
    ("from uncaused order by number, id limit", "from uncaused order by id limit"),
    ("over (order by number, id)", "over (order by id)"),
    ("returning number, id, records", "returning id, id, records"),
)
NUMBER = """    records bytea not null,
    number bigint not null default 0     -- they are published in this order; older workers insert 0, and look at the id
);

create index uncaused_number on uncaused (number, id);
"""
WAIT = """
create table instance_wait (             -- why a worker retries in place, for people; no row while it does not
    name text primary key,               -- of its instance
    why text not null
);
"""
SILENT = {
    "schemas/__init__.py": (
        ("from schemas.events import (\n    InventoryReleased,\n", "from schemas.events import (\n"),
        ("    PaymentRefunded,\n    InventoryReleased,\n)", "    PaymentRefunded,\n)"),
        ('    "InventoryReleased",\n', ""),
    ),
    "schemas/events.py": ((CLASS, ""),),
    "inventory_service/service.py": (
        ("from schemas import (\n    InventoryReleased,\n", "from schemas import (\n"),
        (") -> InventoryReleased | None:", ") -> None:"),
        ("return InventoryReleased(order_id) if was_released(known, after) else None", "del known, after"),
    ),
    "eventbus/store/progress.py": NUMBERED,
    "eventbus/store/schema.sql": ((NUMBER, "    records bytea not null\n);\n"), (WAIT, "")),
    "eventbus/worker/lease.py": (
        ('    tx.execute("delete from instance_wait where name = ?", lease.name)\n    if why:\n', "    if False:\n"),
    ),
}
"""Without inventory.released; root events leave in the order of their ids."""
ADDED = {
    3: (
        "schemas/inventory.released.avsc",
        "schemas/released/inventory.released.v1.avsc",
        "eventbus/store/migrations/0007_root_event_order.sql",
        "eventbus/store/migrations/0008_instance_wait.sql",
    ),
}
"""The files that it did not have."""
EDITS = {
    1: ALL_DECLINED
    | {
        "schemas/events.py": (
            ('    request_id: IdOrNone = ""\n', ""),
            ('    cause: IdOrNone = ""\n', ""),
            (CODE, ""),
            CANCEL_AT,
        ),
        "order_service/door.py": (
            ('        request_id=order.request_id or "",\n', ""),
            *NO_DEADLINE["order_service/door.py"],
        ),
        "order_service/service.py": (
            (", cause=failed.topic", ""),
            ('f" ({failed.code})" if failed.code != "UNSPECIFIED" else ""', '""'),
        ),
        "payment_service/service.py": ((', payment.error or "", answer.code)', ', payment.error or "")'),),
    },
    2: ALL_DECLINED | NO_DEADLINE | {"schemas/events.py": ((CODE, CODE.replace(', "LIMIT_EXCEEDED"', "")), CANCEL_AT)},
    3: SILENT | NO_DEADLINE | NEVER_OVERDUE | {"schemas/events.py": ((CLASS, ""), CANCEL_AT)},
}
"""What each of them had otherwise."""


def earlier_release(number: int, folder: Path, *, knows_the_next: bool) -> Path:
    """Make the copy in this new folder, and return it.

    `knows_the_next`: it ships the later versions, and can read them, but does not write them yet.
    """
    for package in PACKAGES:
        shutil.copytree(HERE / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, edits in EDITS[number].items():
        text = (folder / file).read_text(encoding="utf-8")
        for new, old in edits:
            assert text.count(new) == 1, f"{file} has changed: {new!r} is no longer there once"
            text = text.replace(new, old)
        (folder / file).write_text(text, encoding="utf-8")
    schemas = folder / "schemas"
    for topic, version in WRITTEN[number].items():
        shutil.copy(schemas / f"released/{topic}.v{version}.avsc", schemas / f"{topic}.avsc")
    for file in ADDED.get(number, ()):
        (folder / file).unlink()
    _forget_ids({file.removeprefix("schemas/") for file in ADDED.get(number, ())}, schemas)
    if not knows_the_next:
        _forget_what_came_after(WRITTEN[number], schemas)
    return folder


def _forget_what_came_after(written: dict[str, int], schemas: Path) -> None:
    forgotten = {
        f"released/{topic}.v{later}.avsc"
        for topic, version in written.items()
        for later in range(version + 1, NEWEST[topic] + 1)
    }
    for name in forgotten:
        (schemas / name).unlink()
    _forget_ids(forgotten, schemas)


def _forget_ids(forgotten: set[str], schemas: Path) -> None:
    ids = json.loads((schemas / "ids.json").read_text(encoding="utf-8"))
    known = {number: name for number, name in ids.items() if name not in forgotten}
    (schemas / "ids.json").write_text(json.dumps(known), encoding="utf-8")
