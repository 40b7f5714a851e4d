"""A TCP proxy in front of the brokers of a cluster, which sees Kafka's requests and can do to them what networks do.

Every request and response is a 4-byte length and a payload. A request's payload starts with its api key (2 bytes), its
version (2) and its correlation id (4), a response's with the correlation id (https://kafka.apache.org/protocol).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Self

LENGTH = Struct(">i")
REQUEST = Struct(">hhi")
RESPONSE = Struct(">i")
HOST = "127.0.0.1"


class Api(IntEnum):
    """The requests that faults are made for."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_FETCH = 9
    HEARTBEAT = 12
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class NetworkFault(NamedTuple):
    """What happens to one request.

    `forward`: the broker gets it. `answer`: the client gets the response; else its connection is cut instead.
    `hold`: a copy is kept for `send_held`. `delay`: seconds that the response waits.
    """

    forward: bool = True
    answer: bool = True
    hold: bool = False
    delay: float = 0


LOSE_REQUEST = NetworkFault(forward=False, answer=False)
LOSE_RESPONSE = NetworkFault(answer=False)
LATE_COPY = NetworkFault(forward=False, answer=False, hold=True)
"""The request is on its way when the connection breaks, and arrives only when `send_held` is called."""


class Proxy:
    """Listens on ports for clients and connects each to the broker behind that port. One thread a direction.

    `ways`: for each broker the port to listen on, and the port where the broker is.
    """

    def __init__(self, *ways: tuple[int, int]) -> None:
        self.bootstrap_servers = ",".join(f"{HOST}:{port}" for port, _ in ways)
        self.seen: deque[int] = deque()
        self.latency = 0.0
        """Seconds that every response waits."""
        self._faults: dict[int, deque[NetworkFault]] = {}
        self._held: deque[tuple[int, bytes]] = deque()
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._silent: set[socket.socket] = set()
        self._listeners = [socket.create_server((HOST, port)) for port, _ in ways]
        for listener, (_, upstream) in zip(self._listeners, ways, strict=True):
            threading.Thread(target=self._accept, args=(listener, upstream), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            _close(listener)
        self.cut()

    def next(self, api: Api, fault: NetworkFault, times: int = 1) -> None:
        """Let `fault` happen to the next `times` requests of this kind, one each."""
        with self._changed:
            self._faults.setdefault(api, deque()).extend([fault] * times)

    def forget_faults(self) -> None:
        """Let everything pass from now on."""
        with self._changed:
            self._faults.clear()

    def wait_for(self, api: Api, count: int = 1, seconds: float = 30) -> None:
        """Return when `count` requests of this kind have been seen in all; raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.seen.count(api) >= count, seconds):
                raise TimeoutError(f"{self.seen.count(api)} of {count} {api.name} requests within {seconds} s")

    def cut(self) -> None:
        """Break all connections; clients may come back."""
        with self._changed:
            sockets, self._open = self._open, set()
        for one in sockets:
            _close(one)

    def half_open(self) -> None:
        """Let nothing pass any more over the connections of now, though they stay open; new ones work."""
        with self._changed:
            self._silent |= self._open

    def cut_half_open(self) -> None:
        """Break the connections that `half_open` silenced, as a host that is back would."""
        with self._changed:
            silent, self._silent = self._silent, set()
        self.closed(*silent)

    @property
    def holds(self) -> bool:
        """Whether there is a request for `send_held`."""
        return bool(self._held)

    def send_held(self) -> bytes:
        """Let the oldest held request arrive now, by a connection of its own; return the broker's whole response."""
        upstream, request = self._held.popleft()
        with socket.create_connection((HOST, upstream), timeout=30) as broker:
            broker.sendall(request)
            response = _frame(broker)
        assert response is not None, "the broker closed the connection instead of answering"
        return response

    def _accept(self, listener: socket.socket, upstream: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    broker = socket.create_connection((HOST, upstream), timeout=5)
                except OSError:
                    client.close()
                    continue
                broker.settimeout(None)
                _Connection(self, client, broker, upstream).start()

    def opened(self, *sockets: socket.socket) -> None:
        """Note a connection's sockets."""
        with self._changed:
            self._open.update(sockets)

    def closed(self, *sockets: socket.socket) -> None:
        """Close a connection's sockets and forget them."""
        with self._changed:
            self._open.difference_update(sockets)
            self._silent.difference_update(sockets)
        for one in sockets:
            _close(one)

    def silent(self, one: socket.socket) -> bool:
        """Return whether nothing may pass over this connection any more."""
        return one in self._silent

    def judge(self, api: int, frame: bytes, upstream: int) -> NetworkFault:
        """Note a request, and return what is to happen to it."""
        with self._changed:
            faults = self._faults.get(api)
            fault = faults.popleft() if faults else NetworkFault()
            if fault.hold:
                self._held.append((upstream, frame))
            self.seen.append(api)
            self._changed.notify_all()
        return fault


class _Connection:
    def __init__(self, proxy: Proxy, client: socket.socket, broker: socket.socket, upstream: int) -> None:
        self._proxy, self._client, self._broker, self._upstream = proxy, client, broker, upstream
        self._answers: dict[int, NetworkFault] = {}

    def start(self) -> None:
        for one in (self._client, self._broker):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._proxy.opened(self._client, self._broker)
        for direction in (self._requests, self._responses):
            threading.Thread(target=self._until_broken, args=(direction,), daemon=True).start()

    def _until_broken(self, direction: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            direction()
        self._proxy.closed(self._client, self._broker)

    def _requests(self) -> None:
        while (frame := _frame(self._client)) is not None:
            if self._proxy.silent(self._client):
                continue
            api, _, correlation = REQUEST.unpack_from(frame, LENGTH.size)
            fault = self._proxy.judge(api, frame, self._upstream)
            if fault.delay or not fault.answer:
                self._answers[correlation] = fault
            if not fault.forward:
                return
            self._broker.sendall(frame)

    def _responses(self) -> None:
        while (frame := _frame(self._broker)) is not None:
            if self._proxy.silent(self._client):
                continue
            (correlation,) = RESPONSE.unpack_from(frame, LENGTH.size)
            fault = self._answers.pop(correlation, NetworkFault())
            if not fault.answer:
                return
            if delay := fault.delay + self._proxy.latency:
                time.sleep(delay)
            self._client.sendall(frame)


def _frame(stream: socket.socket) -> bytes | None:
    head = _exactly(stream, LENGTH.size)
    if head is None:
        return None
    body = _exactly(stream, LENGTH.unpack(head)[0])
    return None if body is None else head + body


def _exactly(stream: socket.socket, size: int) -> bytes | None:
    chunks = bytearray()
    while len(chunks) < size:
        chunk = stream.recv(min(size - len(chunks), 1 << 16))
        if not chunk:
            return None
        chunks += chunk
    return bytes(chunks)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
