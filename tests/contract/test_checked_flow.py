"""What `saga check` takes for the choreography is what the services declare."""

from __future__ import annotations

from saga.check.laws.log import REQUIRES
from saga.check.laws.state import ORIGINS, TRACES
from saga.flow.model import Flow
from saga.services import SERVICES
from schemas import EVENTS
from tests.support.models.saga_model import FLOW

DECLARED = Flow.of(SERVICES)


def test_the_model_of_the_laws_tests_follows_the_declared_flow():
    """Each event has the causes, and each reaction the alternatives, that the handlers' signatures name."""
    assert DECLARED.causes == FLOW.causes
    assert {topic: set(answers) for topic, answers in DECLARED.answers.items()} == {
        topic: set(answers) for topic, answers in FLOW.answers.items()
    }


def test_every_event_is_checked_against_a_database_and_every_published_state_against_an_event():
    """No event is without the state it tells of, and no state is announced by an event that nobody publishes."""
    topics = {event.topic for event in EVENTS}
    assert set(DECLARED.causes) == topics
    assert set(TRACES) == topics - {"order.created"}
    # What is released is `cancelled`, as is what was never set aside.
    assert {origin.published_by for origin in ORIGINS.values()} - {None} == set(TRACES) - {"inventory.released"}


def test_what_an_event_requires_is_upstream_of_it():
    """What must have been published before an event is read after it: it is among its causes, or theirs, or undone."""
    order = DECLARED.reverse_topological()
    for topic, required in REQUIRES.items():
        ancestors, to_see = set(), [topic]
        while to_see:
            event = to_see.pop()
            undone = {step for h in DECLARED.handlers if event in h.does.publishes for step in h.does.compensates}
            causes = (DECLARED.causes[event] | undone) - ancestors
            ancestors |= causes
            to_see += causes
        assert set(required) <= ancestors
        assert all(order.index(topic) < order.index(needed) for needed in required)
