"""Transactions on Kafka, and replacing producers whose state is unknown after one."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from eventbus.kafka.causes import explained
from eventbus.kafka.config import Connection, client, producer_config
from eventbus.log import CommitOutcomeUnknown, LogUnavailable, Output, PartitionMigrated

CALL_SECONDS = 5.0
"""How long one call may take before its outcome counts as unknown. Above transaction.timeout.ms."""
REPORT_SECONDS = 0.1
"""How long delivery reports are waited for after another call of the transaction has failed."""
STOPPING_SECONDS = 2.0
"""The same for a worker that is stopping: the next one publishes what it leaves."""
TRIES = 3


SIZE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
"""The errors of the client and the broker for a record, or a batch of records, that is too large."""
BATCH_BYTES = 1_000_000
"""librdkafka's default of batch.size."""


class SizeRefused(CommitOutcomeUnknown):
    """Records were rejected because they, or their batches, are too large."""

    def __init__(self, records: set[tuple[str, bytes | None, bytes | None]]) -> None:
        super().__init__(f"too large for the topic {', '.join(sorted({topic for topic, *_ in records}))}")
        self.records = records
        """Topic, key and value of each."""


class Witness(NamedTuple):
    """A record of the progress topic, which has one partition."""

    topic: str
    key: bytes
    value: bytes


class _Failures(logging.Handler):
    """Counts broken connections in librdkafka's log.

    After one, librdkafka repeats an EndTxn by itself and reports success; only its log shows that, and the delayed
    first copy would end the next transaction. librdkafka logs at INFO a connection that breaks with one
    request in flight, so the producer's `log_level` and its logger's level must include that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.broken = 0
        """Only connections that were established; not attempts to connect to a broker that is down."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "FAIL" in message:
            self.failures += 1
            self.broken += "in state UP" in message


def _text(error: Exception) -> str:
    return explained(error.args[0]) if isinstance(error, KafkaException) else str(error)


class Producers:
    """One producer at a time, replaced by a new one of the same transactional.id as soon as its state is unknown.

    The new one's init_transactions ends the old one's transaction and raises the epoch, so late requests are fenced.
    """

    def __init__(self, connection: Connection, failpoint: Callable[[str], None], stopping: Callable[[], bool]) -> None:
        self._connection, self._failpoint, self._stopping = connection, failpoint, stopping
        self._producer: Producer | None = None
        self._failures = _Failures()
        self._broken = 0
        """How many connections had broken when the producer was last known to be sound."""
        self._logger = connection.logger.getChild("producer")
        self._logger.setLevel(logging.INFO)
        self._logger.addHandler(self._failures)
        self._errors: list[KafkaError] = []
        self._too_large: set[tuple[str, bytes | None, bytes | None]] = set()
        self.undelivered = False
        """Whether the last unknown outcome was caused by records that were not delivered."""
        self.batch_bytes = BATCH_BYTES
        """The batch.size of the next producer; a single record may be larger."""

    def transaction(
        self,
        outputs: Sequence[Output],
        offsets: list[TopicPartition],
        group: Any = None,
        still_ours: Callable[[], bool] = lambda: True,
        witnesses: Sequence[Witness] = (),
    ) -> None:
        """Write outputs, witnesses and the group's offsets, all or nothing; offsets may be empty.

        Raises CommitOutcomeUnknown (including SizeRefused), or LogUnavailable if no transaction was begun.
        """
        self.undelivered = False
        producer = self._connected()
        failures = self._failures.failures
        try:
            self._failpoint("before begin")
            producer.begin_transaction()
            self._failpoint("begun")
            self._produce(producer, outputs, witnesses)
            self._failpoint("produced")
            self._failpoint("during offsets")
            if offsets:
                self._send_offsets(producer, offsets, group)
            self._wait_delivered(producer)
            self._failpoint("offsets sent")
            if not still_ours():
                raise PartitionMigrated("another worker has recovered these partitions")
            self._failpoint("before commit")
            self._failpoint("during commit")
            self._again(lambda: producer.commit_transaction(self._seconds()))
            self._failpoint("committed")
        except SizeRefused:
            self._drop()
            raise
        except (KafkaException, BufferError, CommitOutcomeUnknown) as error:
            self._give_up(producer, error)
            raise CommitOutcomeUnknown(f"error in the transaction: {_text(error)}") from error
        finally:
            self._serve_callbacks(producer)
            if self._failures.failures != failures:
                self._drop()
            self._broken = self._failures.broken

    def flush_all(self, outputs: Sequence[Output]) -> None:
        """Write outputs at least once. Raises CommitOutcomeUnknown unless all were delivered."""
        self.undelivered = False
        producer = self._ready()
        try:
            self._produce(producer, outputs)
            self._wait_delivered(producer)
        except SizeRefused:
            self._drop()
            raise
        except (KafkaException, BufferError, CommitOutcomeUnknown) as error:
            self._drop()
            raise CommitOutcomeUnknown(f"error while publishing: {_text(error)}") from error

    def start(self) -> None:
        """End the transaction that an earlier producer of the same name left open, instead of waiting for its timeout.

        Raises LogUnavailable.
        """
        self._ready()

    def close(self) -> None:
        """Drop the producer; the next one, or the timeout, aborts an open transaction."""
        self._drop()

    @staticmethod
    def _serve_callbacks(producer: Producer) -> None:
        """Deliver librdkafka's log lines. A fatal error raised here is raised by the transactional call, too."""
        with contextlib.suppress(KafkaException):
            producer.poll(0)

    def _connected(self) -> Producer:
        """Return a producer whose connections have not broken since its last transaction, a new one if necessary.

        A broker that was shut down is removed from the cluster's metadata, and librdkafka forgets it. If it was the
        coordinator of the group or of the transactions, send_offsets_to_transaction then waits for it until the next
        metadata refresh, minutes later, whatever its timeout (after each rolling restart of three brokers, 364 s at
        most). A new producer looks the coordinator up.
        """
        producer = self._ready()
        self._serve_callbacks(producer)
        if self._failures.broken == self._broken:
            return producer
        self._drop()
        return self._ready()

    def _ready(self) -> Producer:
        if self._producer is None:
            config = producer_config(self._connection) | {"on_delivery": self._delivered}
            if self.batch_bytes < BATCH_BYTES:
                config["batch.size"] = self.batch_bytes
            producer = client(self._connection.clients.producer, config, self._logger)
            if self._connection.exactly_once:
                try:
                    producer.init_transactions(self._seconds())
                except KafkaException as error:
                    raise LogUnavailable(f"the producer cannot start: {explained(error.args[0])}") from error
            self._producer, self._broken = producer, self._failures.broken
        return self._producer

    def _produce(self, producer: Producer, outputs: Sequence[Output], witnesses: Sequence[Witness] = ()) -> None:
        """Hand the records over to librdkafka, which sends them while the caller goes on."""
        self._errors.clear()
        self._too_large.clear()
        self.undelivered = True
        produce: Any = producer.produce
        for topic, key, value, headers in outputs:
            try:
                produce(topic, value, key, headers=headers)
            except BufferError:
                producer.flush(self._seconds())
                produce(topic, value, key, headers=headers)
            except KafkaException as exception:
                if exception.args[0].code() not in SIZE:
                    raise
                self._too_large.add((topic, key, value))
        for topic, key, value in witnesses:
            produce(topic, value, key, partition=0)
        self.undelivered = False

    def _send_offsets(self, producer: Producer, offsets: list[TopicPartition], group: Any) -> None:
        """Send the group's offsets while the records are on their way: one round trip less in each transaction.

        If records were too large meanwhile, that is the error; all other errors of records follow from the first one.
        """
        try:
            self._again(lambda: producer.send_offsets_to_transaction(offsets, group, self._seconds()))
        except KafkaException:
            try:
                self._left(producer, REPORT_SECONDS)
            except (KafkaException, CommitOutcomeUnknown) as error:
                if isinstance(error, SizeRefused):
                    raise
            raise

    def _wait_delivered(self, producer: Producer) -> None:
        """Return when every record is delivered. Raises what `_left` raises, and CommitOutcomeUnknown."""
        left = self._left(producer, self._seconds())
        if left:
            raise CommitOutcomeUnknown(f"{left} records were not delivered within {self._seconds():g} s")

    def _left(self, producer: Producer, seconds: float) -> int:
        """Wait until the records are delivered, at most so long, and return how many are not.

        Raises SizeRefused, KafkaException with the first other error of a record, or CommitOutcomeUnknown.
        """
        self.undelivered = True
        try:
            left = producer.flush(seconds)
        except SystemError as error:  # how confluent_kafka 2.16 reports a fenced producer
            raise CommitOutcomeUnknown(
                "the producer was fenced, probably by another one with its transactional.id"
            ) from error
        if self._too_large:
            raise SizeRefused(set(self._too_large))
        if self._errors:
            raise KafkaException(self._errors[0])
        self.undelivered = left > 0
        return left

    def _seconds(self) -> float:
        return STOPPING_SECONDS if self._stopping() else CALL_SECONDS

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is not None and error.code() in SIZE:
            self._too_large.add((message.topic(), message.key(), message.value()))
        elif error is not None:
            self._errors.append(error)

    def _again(self, call: Callable[[], None]) -> None:
        """Make the call, and repeat it up to TRIES times as long as its error is retriable."""
        for left in range(TRIES - 1, -1, -1):
            try:
                call()
            except KafkaException as exception:
                error: Any = exception.args[0]
                again = left and not self._stopping()
                if not (again and error.retriable() and not error.txn_requires_abort()):
                    raise
            else:
                return

    def _give_up(self, producer: Producer, error: Exception) -> None:
        """Abort if librdkafka requires that; after any other error the outcome is unknown: drop this producer."""
        cause: Any = error.args[0] if isinstance(error, KafkaException) else None
        abortable = cause is not None and cause.txn_requires_abort() and not cause.fatal()
        if abortable or isinstance(error, PartitionMigrated):
            try:
                self._again(lambda: producer.abort_transaction(self._seconds()))
            except KafkaException:
                self._drop()
        else:
            self._drop()

    def _drop(self) -> None:
        """Drop the producer and its queue without waiting."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
