"""The headers of a message, whatever another client has written there."""

from __future__ import annotations

from operator import methodcaller
from typing import Any

from eventbus.log import Headers

_headers = methodcaller("headers")


def headers_of(message: Any) -> Headers:
    """Return the headers; none if a name is no UTF-8, which Kafka's protocol says it must be.

    confluent_kafka returns a broken list then, with an exception pending, and the process would crash at the next step.
    A call made by C, as methodcaller's is, finds that exception and drops the list.
    """
    try:
        return _headers(message) or []
    except (SystemError, UnicodeDecodeError):
        return []
