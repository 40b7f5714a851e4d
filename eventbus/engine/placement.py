"""Dead-letters records that are in another partition than their key belongs to: --keys-placed-over.

See docs/decisions/0013-a-key-in-any-partition.md.
"""

from __future__ import annotations

from eventbus.engine.delivery import Delivery
from eventbus.log import Log
from eventbus.serde.codec import PoisonRecord
from eventbus.text.quoted import quoted


class Placement:
    """Checks the partition of records, on topics whose producers all use our partitioner, over `fewest` or more.

    Partitions are only ever added. So a record is in the right partition if any number of partitions from `fewest` to
    the present one leads there; the present number is read after the record was, before the record is rejected.
    """

    def __init__(self, log: Log, fewest: int) -> None:
        self._log, self._fewest = log, fewest
        self._counts: dict[str, int] = {}
        self._asked: set[str] = set()
        """Topics whose number of partitions was read after all records of the last poll."""

    def polled(self) -> None:
        """A poll has returned: its records may be newer than the known numbers of partitions."""
        self._asked.clear()

    def judge(self, item: Delivery) -> Delivery:
        """Return the item; as poison if its key belongs elsewhere. A redriven record counts where it was first read.

        May ask the brokers, at most once per topic and poll; raises LogUnavailable and TopicMissing then.
        """
        key = item.record.key
        if item.poison is not None or key is None:
            return item
        topic, number = item.source.partition
        known = self._counts.get(topic, 0)
        if known and self._log.place(key, known) == number:
            return item  # nearly all records are
        if topic not in self._asked and not self._fits(key, number, known):
            known = self._counts[topic] = max(known, self._log.partitions(topic))
            self._asked.add(topic)
        if self._fits(key, number, known):
            return item
        return Delivery(item.record, item.source, poison=self._misplaced(key, number, known))

    def _fits(self, key: bytes, number: int, present: int) -> bool:
        """Return whether any number of partitions up to the present one places the key here."""
        least = max(1, min(self._fewest, present), number + 1)
        return any(self._log.place(key, count) == number for count in range(least, present + 1))

    def _misplaced(self, key: bytes, number: int, present: int) -> PoisonRecord:
        home = self._log.place(key, present)
        fewer = f", and no number of partitions down to {self._fewest} leads there" if self._fewest < present else ""
        return PoisonRecord(
            "wrong_partition",
            f"the key {quoted(key)} is in partition {number}, but belongs in {home} of {present}{fewer}. Its producer"
            " does not use the murmur2 partitioner: correct that. To have the record handled where it is, start the"
            " workers without --keys-placed-over and redrive it",
        )
