"""Records that do not lie where their key belongs, for whom wants them as dead letters: --keys-placed-over.

See docs/decisions/0013-a-key-in-any-partition.md.
"""

from __future__ import annotations

from eventbus.deadletters.resolutions import origin
from eventbus.engine.batch import Delivery
from eventbus.log import Log
from eventbus.serde.codec import PoisonRecord


class Placement:
    """Judges where records lie, on topics whose writers all place keys as ours do, over `fewest` partitions or more.

    Partitions are only ever added. So a record lies right where any number of them, from `fewest` to the present one,
    would have put it; and what there are by now is asked after the record was read, before it is refused.
    """

    def __init__(self, log: Log, fewest: int) -> None:
        self._log, self._fewest = log, fewest
        self._counts: dict[str, int] = {}
        self._asked: set[str] = set()
        """Topics whose number is younger than whatever is judged."""

    def polled(self) -> None:
        """Note that what is judged from now on may have been written after the brokers were last asked."""
        self._asked.clear()

    def judge(self, item: Delivery) -> Delivery:
        """Return the item; as poison where its key belongs elsewhere. What is redriven lies where it was first read.

        Raises LogUnavailable and TopicMissing when the brokers must be asked; once for a topic and poll at most.
        """
        record, event = item
        key = record.key
        if isinstance(event, PoisonRecord) or key is None:
            return item
        topic, number = origin(record).partition
        known = self._counts.get(topic, 0)
        if known and self._log.place(key, known) == number:
            return item  # as nearly all do
        if topic not in self._asked and not self._fits(key, number, known):
            known = self._counts[topic] = max(known, self._log.partitions(topic))
            self._asked.add(topic)
        return item if self._fits(key, number, known) else Delivery(record, self._misplaced(key, number, known))

    def _fits(self, key: bytes, number: int, present: int) -> bool:
        """Return whether some number of partitions up to the present one puts the key here."""
        least = max(1, min(self._fewest, present), number + 1)
        return any(self._log.place(key, count) == number for count in range(least, present + 1))

    def _misplaced(self, key: bytes, number: int, present: int) -> PoisonRecord:
        home = self._log.place(key, present)
        fewer = f", and no number down to {self._fewest} puts it there" if self._fewest < present else ""
        return PoisonRecord(
            "wrong_partition",
            f"the key {key[:80]!r} lies in partition {number} and belongs in {home} of {present}{fewer}. Its writer"
            " does not place keys by murmur2: mend that. To have it handled where it lies, start the workers without"
            " --keys-placed-over and redrive it",
        )
