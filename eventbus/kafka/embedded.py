"""A broker inside this process, for demos and tests: librdkafka's mock cluster, reached through ctypes.

Other processes and other clients (kcat) can use it: it listens on a local port. It keeps everything in memory, the
newest 5 MB a partition, and proves nothing about exactly-once: it has no isolation between transactions and fences
no producer. So workers on it run with `--delivery at-least-once`.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import confluent_kafka.cimpl

_PRODUCER = 0
_ERROR_BYTES = 512


class BrokerUnavailable(RuntimeError):
    """The client library on this machine has no mock cluster, or it did not start."""


class EmbeddedBroker:
    """A context manager; while it is open, `bootstrap_servers` is the address of a broker with these topics.

    Each has the number of partitions that is given; other topics are created with 4 when a client first asks for them.
    The operating system chooses the port: the mock cluster has no setting for it.
    """

    bootstrap_servers: str

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._topics = dict(topics)
        self._handle: int | None = None
        self._cluster: int | None = None

    def __enter__(self) -> Self:
        self._library = _library()
        reason = ctypes.create_string_buffer(_ERROR_BYTES)
        configuration = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(configuration, b"log_level", b"3", reason, _ERROR_BYTES)
        self._handle = self._library.rd_kafka_new(_PRODUCER, configuration, reason, _ERROR_BYTES)
        if not self._handle:
            raise BrokerUnavailable(f"the embedded broker did not start: {reason.value.decode()}")
        with _signals_blocked():
            self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, 1)
        if not self._cluster:
            self.close()
            raise BrokerUnavailable("the embedded broker did not start: no free local port?")
        self._library.rd_kafka_mock_set_controller_id(self._cluster, 1)
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        for topic, partitions in self._topics.items():
            self._create(topic, partitions)
        self.bootstrap_servers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the broker; everything on it is lost."""
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._cluster = None
        if self._handle:
            self._library.rd_kafka_destroy(self._handle)
            self._handle = None

    def _create(self, topic: str, partitions: int) -> None:
        error = self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)
        if error:
            self.close()
            raise BrokerUnavailable(
                f"the embedded broker could not create the topic {topic} (librdkafka error {error})"
            )


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals in the threads that are started here: the mock cluster's would stop at the first one (EINTR)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _library() -> ctypes.CDLL:
    """Return the client library that confluent_kafka itself runs on: looked up through its extension module."""
    library = ctypes.CDLL(confluent_kafka.cimpl.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_set_controller_id": (None, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
    }
    for name, (result, arguments) in signatures.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise BrokerUnavailable(f"librdkafka on this machine has no embedded broker ({name} is missing)") from None
        function.restype, function.argtypes = result, arguments
    return library
