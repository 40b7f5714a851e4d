"""Whatever is in a declaration, it is refused by name or used whole: files and announcements are other people's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus.manifest import BadDeclaration, declare, read_declaration
from saga.commands.flow import FORMATS
from saga.flow import progress
from saga.flow.access import as_kafka_acls, as_strimzi, rights
from saga.flow.model import Flow
from saga.flow.progress import runs
from saga.flow.verify import verify
from saga.services import SERVICES
from tests.support.saga.declarations import declared, reaction

GOOD = [json.loads(declare(service).to_json()) for service in SERVICES]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["order.created", "string"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
EVENTS = st.sampled_from([f"{letter}.done" for letter in "abcde"])
SOME = st.lists(EVENTS, max_size=2, unique=True).map(tuple)


def places(document: Any) -> list[tuple[Any, Any]]:
    """Return every place in a document: what it is in, and under which key."""
    keys = list(document) if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else []
    return [place for key in keys for place in ((document, key), *places(document[key]))]


def use(flow: Flow) -> None:
    """Do everything with it that can be done."""
    for form in FORMATS.values():
        assert isinstance(form(flow), str)
    verify(flow)
    who = rights(flow, "saga")
    assert as_kafka_acls(who, "localhost:9092").count("\n") == len(as_kafka_acls(who, "localhost:9092").splitlines())
    assert as_strimzi(who, "kafka")
    for start in flow.initiates:
        assert all(run[0] == start and len(set(run)) == len(run) for run in runs(flow, start))


@settings(max_examples=60)
@given(st.integers(0, 2), st.integers(0), JUNK)
def test_a_damaged_document_is_refused_or_used_whole(which: int, where: int, junk: Any) -> None:
    """One value anywhere in it is replaced; nothing but BadDeclaration comes out."""
    document = json.loads(json.dumps(GOOD[which]))
    inside, key = places(document)[where % len(places(document))]
    inside[key] = junk
    try:
        damaged = read_declaration(json.dumps(document), "here")
    except BadDeclaration:
        return
    others = [read_declaration(json.dumps(good), "there") for good in GOOD if good["service"] != damaged.service]
    use(Flow([damaged, *others]))


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a-service", "b-service", "c-service"]),
            st.lists(st.tuples(EVENTS, SOME, SOME, SOME), max_size=3, unique_by=lambda heard: heard[0]),
            SOME,
            SOME,
        ),
        max_size=3,
        unique_by=lambda service: service[0],
    )
)
def test_any_choreography_can_be_shown_and_verified(services: Any) -> None:
    """However senseless: cycles, events nobody publishes, compensations of nothing, waits for oneself."""
    use(
        Flow(
            declared(
                name,
                *(reaction(event, *says, compensates=undoes, awaits=waits) for event, says, undoes, waits in heard),
                initiates=starts,
                completes=ends,
            )
            for name, heard, starts, ends in services
        )
    )


def test_a_saga_of_too_many_ways_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than walked for hours."""
    monkeypatch.setattr(progress, "MOST_WAYS", 100)
    many = [declared(f"s{n}-service", reaction("a.done", f"s{n}.yes", f"s{n}.no")) for n in range(8)]
    with pytest.raises(progress.TooManyWays, match="more than 100 paths"):
        progress.runs(Flow([declared("a-service", initiates=("a.done",)), *many]), "a.done")


def test_a_document_of_a_million_brackets_is_refused() -> None:
    """Python's own limit is no accident of ours."""
    with pytest.raises(BadDeclaration, match="here: it is not JSON"):
        read_declaration("[" * 1_000_000, "here")
