"""The headers of a message, whatever another client has written into them."""

from __future__ import annotations

from operator import methodcaller
from typing import Any

from eventbus.log import Headers

_headers = methodcaller("headers")


def headers_of(message: Any) -> Headers:
    """Return the headers; none if a name is not UTF-8, which Kafka's protocol requires.

    confluent_kafka then returns a broken list with an exception pending, and the process would crash at the next step.
    A call from C, such as methodcaller's, finds that exception and drops the list.
    """
    try:
        return _headers(message) or []
    except (SystemError, UnicodeDecodeError):
        return []
