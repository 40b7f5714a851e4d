"""Who does the payment service's work beside it, how each is run, and what each guarantees."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.bench.answers import Amounts, check
from tests.bench.ground import PARTITIONS, Ground
from tests.bench.payment import IN_MEMORY, service, textbook
from tests.bench.run import Run
from tests.support.registries.java import AVRO, JavaProgram

HERE = Path(__file__).parent
SCHEMAS = HERE.parents[2] / "schemas"
STREAMS_VERSION = "4.4.0"
STREAMS = JavaProgram(
    HERE / "StreamsApp.java", (("org.apache.kafka", "kafka-streams", STREAMS_VERSION), AVRO), "1g", options=()
)
WARM_UP_EVENTS, MOST_PASSES = 300_000, 16
"""Kafka Streams works the backlog off several times in one JVM: the first pass is cold, and the last one is warm, after
so many events (its processor time an event has then stopped falling) or passes."""
SECONDS = 600


class Task(NamedTuple):
    """A backlog to answer."""

    ground: Ground
    orders: Amounts

    @property
    def events(self) -> int:
        """How many events it has."""
        return len(self.orders)


class Program(NamedTuple):
    """One that answers the backlog in a process of its own; it returns a run for each row of the table."""

    rows: Mapping[str, str]
    """The names, and what is guaranteed."""
    run: Callable[[Task], list[Run]]


def programs(python: str, flechtwerk: str | None) -> dict[str, Program]:
    """Return all of them by the name to choose them by; the peers and Flechtwerk each have a Python of their own."""
    effects = "exactly once, effects included"
    log = "exactly once on the log only"
    state = "exactly once on the log, with its state (a changelog)"
    least = "at least once"
    found = {
        "payment-service": Program({"payment-service": effects}, _payment_service),
        "textbook": Program({"textbook loop": "exactly once as long as no process dies"}, _textbook),
        "streams": Program(
            {f"Kafka Streams {STREAMS_VERSION}, warm": state, f"Kafka Streams {STREAMS_VERSION}, cold JVM": state},
            _streams,
        ),
        "bytewax": Program({"bytewax": least}, _script(python, "bytewax_flow.py")),
        "aiokafka": Program({"aiokafka": log}, _script(python, "aiokafka_loop.py")),
        "faststream": Program({"FastStream": least}, _script(python, "faststream_app.py")),
        "quix": Program({"Quix Streams": log}, _script(python, "quixstreams_app.py")),
    }
    if flechtwerk is not None:
        found["flechtwerk"] = Program({"Flechtwerk": state}, _script(flechtwerk, "flechtwerk_app.py"))
    return found


def _payment_service(task: Task) -> list[Run]:
    ground = task.ground
    ground.fresh(topics=False)
    run = service(ground, task.events, IN_MEMORY)
    check(ground.admin, "payment.charged", task.orders)
    ground.admin.remove(["payment.charged"])
    return [run]


def _textbook(task: Task) -> list[Run]:
    return [textbook(task.ground, task.events, task.orders)]


def _script(python: str, script: str) -> Callable[[Task], list[Run]]:
    def run(task: Task) -> list[Run]:
        name, ground = _new_name(Path(script).stem), task.ground
        ground.admin.create([name], PARTITIONS)
        where = ("--bootstrap-servers", ground.bootstrap_servers, "--group", name, "--sink", name)
        size = ("--file", f"{ground.folder}/{name}.db", "--events", str(task.events))
        try:
            told = _told([python, str(HERE / script), *where, *size])
            check(ground.admin, name, task.orders)
        finally:
            _forget(ground, name)
        return [Run.told(told[-1])]

    return run


def _streams(task: Task) -> list[Run]:
    name, ground = _new_name("streams"), task.ground
    passes = min(1 + math.ceil(WARM_UP_EVENTS / task.events), MOST_PASSES)
    sinks = [f"{name}-{number}" for number in range(1, passes + 1)]
    ground.admin.create(sinks, PARTITIONS)
    schemas = [str(SCHEMAS / f"{topic}.avsc") for topic in ("order.created", "payment.charged")]
    sizes = [str(task.events), str(passes)]
    try:
        with tempfile.TemporaryDirectory(dir=ground.folder) as folder:
            told = _told([*STREAMS.command(), ground.bootstrap_servers, name, name, folder, *sizes, *schemas])
        for sink in sinks:
            check(ground.admin, sink, task.orders)
    finally:
        _forget(ground, name)
    return [Run.told(told[-1]), Run.told(told[0])]


def _told(command: list[str]) -> list[dict[str, float]]:
    """Run a program to its end, and return the lines of JSON that it prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}: {done.stderr[-3000:]}")
    return lines


def _new_name(stem: str) -> str:
    return f"{stem.replace('_', '-')}-{uuid.uuid4().hex[:8]}"


def _forget(ground: Ground, name: str) -> None:
    """Delete the topics and groups that begin with this name: sinks, changelogs and the like."""
    ground.admin.remove(each for each in ground.admin.everything() if each.startswith(name))
