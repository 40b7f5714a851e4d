from __future__ import annotations

import os
import random
import socket

_given: set[int] = set()
_processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_first = 20_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _processes


def free_port() -> int:
    """Return a port that nobody listens on now, and never the same one twice: some are kept for later.

    Where several processes run the tests (make test JOBS=2), each has its own ports, every second of them, or third.

    Below the range from which the kernel takes ports for outgoing connections: a server that is stopped and started
    again must not find that one of its waiting clients has been given its port.
    """
    while True:
        port = random.randrange(_first, 32_000, _processes)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        _given.add(port)
        return port
