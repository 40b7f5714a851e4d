"""Mutated payloads on a real broker: each is answered or dead-lettered, once, and the worker lives."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

from eventbus.deadletters.resolutions import split_headers
from eventbus.engine.config import EngineConfig
from eventbus.log import Output
from saga.deadletters.letters import LetterTarget
from tests.support.engines import CODEC, Playground
from tests.support.engines.sample import Ping
from tests.support.models.mutations import COUNT, MUTATIONS, damaged
from tests.support.saga.processes import PATIENCE


def mutated(count: int) -> Iterator[Output]:
    """Return pings of a name each, damaged in one to three places; the same ones every time."""
    draw = random.Random(5)
    for number in range(count):
        ping = Ping(f"name-{number}", number)
        kinds = draw.choices(sorted(MUTATIONS), k=draw.choice((1, 1, 2, 3)))
        damages = [(kind, draw.randrange(40), draw.randbytes(draw.randrange(12))) for kind in kinds]
        yield Output("ping", ping.name.encode(), damaged(CODEC.encode(ping), damages), [])


def test_each_mutated_payload_is_answered_or_dead_lettered_once(sqlite_playground: Playground) -> None:
    """Counted by where it lay: nothing is lost, and nothing is there twice."""
    playground = sqlite_playground
    playground.tuning = EngineConfig(prune_after=0.2, dead_letters=COUNT)
    worker = playground.worker()
    sent = playground.admin.produce_many(mutated(COUNT))
    playground.turn_until(lambda: worker.watch.handled >= COUNT, PATIENCE + COUNT / 500)
    playground.turn_until(lambda: worker.watch.pending == 0)
    ends: Counter[str] = Counter()
    where = LetterTarget(playground.bootstrap, {})
    for letter in where.records(f"{playground.group}.dead-letters"):
        said = split_headers(letter.headers)[1]
        ends["/".join(said[name].decode() for name in ("dlq_topic", "dlq_partition", "dlq_offset"))] += 1
    dead = len(ends)
    for pong in where.records("pong"):
        ends[dict(pong.headers)["ce_causationid"].decode()] += 1
    assert ends == Counter(sent)
    assert 0 < dead < COUNT
