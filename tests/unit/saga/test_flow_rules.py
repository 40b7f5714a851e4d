"""Every rule of `saga verify` catches a planted defect, and names event, handler and file; the saga itself is sound."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from shipping_service import ShippingService

from eventbus import Service, reacts_to
from eventbus.manifest import Declaration, DeclaredEvent, declare
from inventory_service.service import InventoryService
from order_service.service import OrderService
from payment_service.service import PaymentService
from saga.__main__ import main
from saga.flow.model import Flow
from saga.flow.rules import RULES, joined_topics_have_the_same_partitions
from saga.flow.states import every_state_has_a_rule_for_every_event
from saga.flow.verify import verify
from saga.services import SERVICES
from schemas import OrderCreated, PaymentCharged, PaymentFailed
from tests.support.saga.declarations import SCHEMA, declared, reaction

ORDER, PAYMENT, INVENTORY = map(declare, (OrderService, PaymentService, InventoryService))


def changed(declaration: Declaration, handler: str, **changes: object) -> Declaration:
    """Return the declaration with one handler declared differently."""
    reactions = tuple(replace(does, **changes) if does.handler == handler else does for does in declaration.reactions)
    assert reactions != declaration.reactions
    return replace(declaration, reactions=reactions)


def without(declaration: Declaration, handler: str) -> Declaration:
    """Return the declaration without one handler."""
    return replace(declaration, reactions=tuple(does for does in declaration.reactions if does.handler != handler))


RING = [
    declared("a-service", reaction("b.failed", "a.asked", service="a-service"), initiates=("a.asked",)),
    declared("b-service", reaction("a.asked", "b.done", "b.failed", service="b-service"), completes=("b.done",)),
]
FRAUD = declared(
    "fraud-service",
    reaction("order.created", "fraud.refused", "fraud.cleared", service="fraud-service"),
)
EMPTY = DeclaredEvent("order_id", "", "", {"type": "record", "name": "saga.events.PaymentCharged", "fields": []})
KEYLESS = replace(PAYMENT, events={**PAYMENT.events, "payment.charged": EMPTY})
OTHER = replace(ORDER.events["payment.failed"], schema={**ORDER.events["payment.failed"].schema, "name": "Renamed"})

PLANTED = {
    "consumed-events-are-published": (
        [ORDER, replace(PAYMENT, reactions=PAYMENT.reactions[1:]), INVENTORY],
        ("payment.charged", "inventory-service reserve_inventory", "inventory_service/service.py"),
    ),
    "published-events-are-consumed": (
        [without(ORDER, "cancel_unpaid_order"), PAYMENT, INVENTORY],
        ("payment.failed", "payment-service charge_payment", "payment_service/service.py"),
    ),
    "endings-are-published": (
        [replace(ORDER, completes=("order.confirmed", "order.delivered")), PAYMENT, INVENTORY],
        ("order.delivered", "", "order_service/service.py"),
    ),
    "every-way-ends": (
        [changed(ORDER, "cancel_unpaid_order", publishes=()), PAYMENT, INVENTORY],
        ("payment.failed", "payment-service charge_payment", "payment_service/service.py"),
    ),
    "endings-do-not-contradict": (
        [
            replace(
                ORDER,
                reactions=(*ORDER.reactions, reaction("fraud.refused", "order.cancelled", service="order-service")),
            ),
            PAYMENT,
            INVENTORY,
            FRAUD,
        ],
        ("order.confirmed", "order-service confirm_order", "order_service/service.py"),
    ),
    "steps-before-a-failure-are-compensated": (
        [ORDER, changed(PAYMENT, "refund_payment", compensates=()), INVENTORY],
        ("payment.charged", "payment-service charge_payment", "payment_service/service.py"),
    ),
    "compensations-are-triggered": (
        [
            changed(ORDER, "cancel_unpaid_order", publishes=()),
            PAYMENT,
            changed(INVENTORY, "release_inventory", event="inventory.revoked"),
        ],
        ("inventory.revoked", "inventory-service release_inventory", "inventory_service/service.py"),
    ),
    "waits-end": (
        [ORDER, PAYMENT, without(INVENTORY, "release_inventory")],
        ("payment.charged", "inventory-service remember_items", "inventory_service/service.py"),
    ),
    "silence-ends": (
        [replace(ORDER, deadlines=()), PAYMENT, INVENTORY],
        ("order.created", "", "order_service/service.py"),
    ),
    "cycles-are-declared": (RING, ("a.asked", "a-service on_b_failed", "a_service/service.py")),
    "events-are-their-services-own": (
        [ORDER, changed(PAYMENT, "charge_payment", publishes=("payment.charged", "order.refused")), INVENTORY],
        ("order.refused", "payment-service charge_payment", "payment_service/service.py"),
    ),
    "events-have-one-publisher": (
        [ORDER, PAYMENT, INVENTORY, declared("c-service", reaction("order.created", "payment.failed"))],
        ("payment.failed", "payment-service charge_payment", "payment_service/service.py"),
    ),
    "consumers-can-read-what-is-written": (
        [replace(ORDER, events={**ORDER.events, "payment.failed": OTHER}), PAYMENT, INVENTORY],
        ("payment.failed", "order-service cancel_unpaid_order", "order_service/service.py"),
    ),
    "schemas-have-their-key": ([ORDER, KEYLESS, INVENTORY], ("payment.charged", "", "payment_service/service.py")),
}


@pytest.mark.parametrize("rule", PLANTED)
def test_every_rule_catches_its_planted_defect(rule):
    """It names the event, the handler and the file."""
    declarations, (event, handler, file) = PLANTED[rule]
    found = [violation.finding for violation in verify(Flow(map(complete, declarations))) if violation.rule == rule]
    assert event in {finding.event for finding in found}
    [finding] = [finding for finding in found if (finding.event, finding.handler) == (event, handler)]
    assert finding.file.split(":")[0] == file
    assert finding.detail


def complete(declaration: Declaration) -> Declaration:
    """Give the events that were planted a schema: a declaration that lacks it would not have been read."""
    some = DeclaredEvent("order_id", "", "", SCHEMA)
    return replace(declaration, events={**dict.fromkeys(declaration.publishes, some), **declaration.events})


def test_every_rule_has_a_planted_defect():
    """None is taken on trust."""
    assert set(PLANTED) == {rule.__name__.replace("_", "-") for rule in RULES}


def test_the_saga_itself_breaks_no_rule():
    """Neither what it declares, nor any handler in any state, nor topics that are alike."""
    alike = dict.fromkeys(Flow.of(SERVICES).events, 12)
    more = [every_state_has_a_rule_for_every_event(SERVICES), joined_topics_have_the_same_partitions(alike)]
    assert verify(Flow.of(SERVICES), more) == []


def broken(*declarations: Declaration) -> list[tuple[str, str]]:
    """Return which rules are broken by which events."""
    return [(violation.rule, violation.finding.event) for violation in verify(Flow(declarations))]


def test_a_declared_cycle_breaks_no_rule():
    """One that is meant to be: it is tried again, until somebody gives up."""
    asks = declared(
        "a-service",
        reaction("b.failed", "a.asked", "a.refused", compensates=("a.asked",), repeats=True),
        initiates=("a.asked",),
        aborts=("a.refused",),
    )
    assert broken(asks, RING[1]) == []


@pytest.mark.parametrize("read_only", [True, False])
def test_a_step_that_changes_nothing_needs_no_compensation(read_only):
    """A check, for example: the handler says so."""
    asks = declared(
        "a-service",
        reaction("c.done", "a.done"),
        reaction("c.failed", "a.refused", compensates=("a.asked",)),
        initiates=("a.asked",),
        completes=("a.done",),
        aborts=("a.refused",),
    )
    checks = declared("b-service", reaction("a.asked", "b.checked", read_only=read_only))
    does = declared("c-service", reaction("b.checked", "c.done", "c.failed"))
    lacking = [] if read_only else [("steps-before-a-failure-are-compensated", "b.checked")]
    assert broken(asks, checks, does) == lacking


def test_the_service_that_the_documents_add_breaks_no_rule():
    """It goes on after the end of the saga, and its event is not named after it."""
    services = [*SERVICES, ShippingService]
    assert verify(Flow.of(services), [every_state_has_a_rule_for_every_event(services)]) == []


def test_topics_that_are_joined_have_the_same_number_of_partitions():
    """Or two workers would share one order without knowing."""
    partitions = dict.fromkeys(Flow.of(SERVICES).events, 12) | {"payment.charged": 6}
    [violation] = verify(Flow.of(SERVICES), [joined_topics_have_the_same_partitions(partitions)])
    assert violation.rule == "joined-topics-have-the-same-partitions"
    assert violation.finding[:2] == ("payment.charged", "inventory-service reserve_inventory")
    assert "it has 6 partitions, order.created has 12" in violation.finding.detail


class Careless(Service[dict]):
    """Forgets that an order may be unknown, and says what it did not declare."""

    name = "payment-service"

    @classmethod
    def example_states(cls, key):
        return {"unknown": (cls(), {}), "known": (cls(), {key: "known"})}

    @reacts_to(OrderCreated)
    def charge(self, order: OrderCreated, work: dict) -> PaymentCharged | None:
        return PaymentFailed(order.order_id, "") if work[order.order_id] else None


def test_a_state_that_an_event_can_meet_without_a_rule_is_found():
    """By trying it: in one state the handler fails, in the other it answers what its signature does not name."""
    violations = verify(Flow([]), [every_state_has_a_rule_for_every_event([Careless])])
    found = [v.finding for v in violations if v.rule == "every-state-has-a-rule-for-every-event"]
    assert [(f.event, f.handler) for f in found] == [("order.created", "payment-service charge")] * 2
    assert all(f.file.split(":")[0].endswith("test_flow_rules.py") for f in found)
    assert "the handler fails in the state 'unknown': KeyError" in found[0].detail
    assert "the handler fails in the state 'known': charge returned PaymentFailed" in found[1].detail


class Silent(Service[dict]):
    """Does not say what its remote function returns."""

    name = "payment-service"

    def ask(self, order):
        return order

    @classmethod
    def example_states(cls, key):
        return {"unknown": (cls(), {})}

    @reacts_to(OrderCreated, remote=ask)
    def charge(self, order: OrderCreated, outcome: object, work: dict) -> PaymentCharged | None:
        return None


def test_a_handler_that_cannot_be_tried_is_a_violation():
    """Not a traceback."""
    [finding] = every_state_has_a_rule_for_every_event([Silent])(Flow([]))
    assert finding.detail.startswith("the handler cannot be tried, by the annotations of its event and its remote")
    assert finding.handler == "payment-service charge"


@pytest.mark.parametrize("service", SERVICES)
def test_every_state_of_a_service_has_an_example(service):
    """And in it the key is known; so the handlers are tried in each."""
    example_states = service.example_states("key")
    assert len(example_states) >= 4


def test_verify_says_what_is_wrong_and_exits_1(tmp_path):
    """With --json too."""
    paths = []
    for declaration in PLANTED["waits-end"][0]:
        path = tmp_path / f"{declaration.service}.json"
        path.write_text(declaration.to_json())
        paths.append(str(path))
    said = CliRunner().invoke(main, ["verify", *paths])
    assert said.exit_code == 1
    assert "waits-end: payment.charged (inventory-service remember_items, inventory_service/service.py:" in said.stdout
    told = CliRunner().invoke(main, ["verify", "--json", *paths])
    assert told.exit_code == 1
    report = json.loads(told.stdout)
    assert set(report) == {"services", "events", "ways", "violations"}
    found = {violation["rule"] for violation in report["violations"]}
    assert found == {"waits-end", "steps-before-a-failure-are-compensated"}, "a person may cancel what is set aside"


def test_verify_of_one_service_counts_one_and_names_no_event_where_none_is_concerned(tmp_path):
    """One that only reacts: its event has no publisher, and nothing starts a saga."""
    path = tmp_path / "payment-service.json"
    path.write_text(declare(PaymentService).to_json())
    said = CliRunner().invoke(main, ["verify", str(path)]).stdout.splitlines()
    assert "every-way-ends: no service initiates a saga" in said
    assert said[-1].startswith("1 service, 3 events, 0 paths: ")


def test_verify_of_what_is_installed_is_sound():
    """Exit 0, and how much was looked at."""
    result = CliRunner().invoke(main, ["verify"])
    assert (result.exit_code, result.stdout) == (0, "3 services, 9 events, 4 paths: no violations\n")
