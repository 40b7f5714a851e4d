from __future__ import annotations

import random
import socket

_given: set[int] = set()


def free_port() -> int:
    """Return a port that nobody listens on now, and never the same one twice: some are kept for later.

    Below the range from which the kernel takes ports for outgoing connections: a server that is stopped and started
    again must not find that one of its waiting clients has been given its port.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        _given.add(port)
        return port
