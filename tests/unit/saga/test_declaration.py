"""A declaration says what the code says, survives its way as a document, and a bad document is refused by name."""

from __future__ import annotations

import json

import pytest

from eventbus.manifest import BadDeclaration, declare, read_declaration
from order_service.service import OrderService
from payment_service.service import PaymentService
from saga.services import SERVICES

PAYMENT = declare(PaymentService)


def changed(**keys):
    return json.dumps(json.loads(PAYMENT.to_json()) | keys)


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_written_is_read_again(service):
    """As it was, whole."""
    assert read_declaration(declare(service).to_json(), "here") == declare(service)


def test_it_says_what_the_handlers_signatures_and_marks_say():
    """With where to find them."""
    order, cancelled = PAYMENT.reactions
    assert (order.event, order.handler, order.remote) == ("order.created", "charge_payment", "request_charge")
    assert order.publishes == ("payment.charged", "payment.failed", "payment.refunded")
    assert (cancelled.event, cancelled.compensates) == ("order.cancelled", ("payment.charged",))
    assert cancelled.file.startswith("payment_service/service.py:")
    assert declare(OrderService).initiates == ("order.created",)
    assert PAYMENT.events["payment.charged"].key == "order_id"
    assert PAYMENT.version[0].isdigit()


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("{", "here: it is not JSON"),
        ("[]", "here: it is not a declaration"),
        ('{"a": 1}', "here: it is not a declaration"),
        (changed(format=99), "here: its format is not 1"),
        (changed(colour="red"), "here: Object contains unknown field `colour`"),
        (changed(service=3), r"here: Expected `str`, got `int` - at `\$.service`"),
        (changed(initiates="order.created"), r"here: Expected `array`, got `str` - at `\$.initiates`"),
        (
            changed(reactions=[{"event": "a"}]),
            r"here: Object missing required field `handler` - at `\$.reactions\[0\]`",
        ),
        (changed(reactions=[{"evnt": "a"}]), r"here: Object contains unknown field `evnt` - at `\$.reactions\[0\]`"),
        (changed(events={"a": 3}), r"here: Expected `object`, got `int` - at `\$.events\[\.\.\.\]`"),
        ('{"format": 1}', "here: Object missing required field `service`"),
    ],
)
def test_a_bad_document_is_refused_with_where_and_why(document, why):
    """Nothing of it is used."""
    with pytest.raises(BadDeclaration, match=why):
        read_declaration(document, "here")
