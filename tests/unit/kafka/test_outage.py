"""The sentence about brokers that do not answer: which, since when, why, what is done, what to look at."""

from __future__ import annotations

from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from eventbus.kafka.outage import ASK_AFTER_SECONDS, LOOK, SILENT_SECONDS, BrokerOutage
from eventbus.log import LogUnavailable, NoBrokerAnswers, Partition
from eventbus.worker.telemetry import Telemetry

REFUSED = KafkaError(KafkaError._TRANSPORT, "b:1/bootstrap: Connect to ipv4#1.2.3.4:1 failed: Connection refused")
ALL_DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")


def an_outage(clock: list[float]) -> BrokerOutage:
    return BrokerOutage("b:1", clock=lambda: clock[0])


def test_it_begins_when_all_are_away_and_says_why_and_since_when():
    """One broker of several that is away is no outage; the reason is the newest one, the time the first."""
    clock = [1_000.0]
    outage = an_outage(clock)
    outage.on_error(REFUSED)
    assert not outage.in_question
    outage.on_error(ALL_DOWN)
    assert (outage.active, outage.in_question) == (False, True)
    outage.unanswered("timed out")
    clock[0] = 1_012.0
    outage.begin("timed out")
    assert outage.active
    since = "since 1970-01-01T00:16:40Z (12 s)"
    assert str(outage) == f"no Kafka broker answers at b:1 {since}: timed out; trying again until one does. {LOOK}"
    outage.end()
    assert (outage.active, outage.in_question, outage.seconds) == (False, False, 12.0)


def test_brokers_that_keep_their_connections_and_answer_nothing_are_away():
    """After some seconds and a second question in vain; since the last answer, which is when they froze."""
    clock = [1_000.0]
    outage = an_outage(clock)
    outage.heard()
    clock[0] += ASK_AFTER_SECONDS
    assert outage.in_question
    outage.unanswered("timed out")
    assert not outage.active
    clock[0] = 1_000.0 + SILENT_SECONDS
    outage.unanswered("timed out")
    assert "since 1970-01-01T00:16:40Z (8 s): timed out" in str(outage)
    outage.heard()
    assert outage.active, "what was read before ends no outage"
    clock[0] = 1_089.0
    outage.end()
    assert (outage.active, outage.seconds) == (False, 89.0)


def test_slow_requests_are_no_outage_while_others_are_answered():
    clock = [1_000.0]
    outage = an_outage(clock)
    outage.heard()
    for _ in range(10):
        clock[0] += SILENT_SECONDS - 1
        outage.unanswered("timed out")
        outage.unanswered("asked again at once")
        assert not outage.active
        outage.heard()
        clock[0] += SILENT_SECONDS + 1
        outage.unanswered("one question, after a handler that took long")
        assert not outage.active
        outage.heard()


def test_how_many_brokers_are_down_is_no_reason():
    """It is librdkafka's count of those that it knows, `0/2` among others."""
    outage = an_outage([1_000.0])
    outage.on_error(ALL_DOWN)
    outage.unanswered("timed out")
    assert ": all connections are lost; trying again" in str(outage)


def test_brokers_that_refuse_a_password_that_they_took_before_are_the_reason():
    outage = an_outage([1_000.0])
    outage.on_error(KafkaError(KafkaError._AUTHENTICATION, "b:1/bootstrap: SASL authentication error"))
    outage.on_error(ALL_DOWN)
    outage.unanswered("timed out")
    assert "SASL authentication error (look at sasl.username and sasl.password); trying again" in str(outage)


def test_a_worker_says_it_in_place_of_everything_that_it_cannot_do_without_a_broker():
    """Only once a broker was asked in vain; what a database is away for is still said."""
    with capture_logs() as said:
        telemetry = Telemetry("some-service", "one")
        telemetry.outage = an_outage([1_000.0])
        telemetry.unavailable(LogUnavailable("cannot read"))
        telemetry.outage.on_error(ALL_DOWN)
        telemetry.unavailable(LogUnavailable("the topic a: timed out"))
        telemetry.away("timed out")
        telemetry.recovery_scheduled(Partition("a", 1), "the outcome is unknown", retry_in=1.0)
        telemetry.warn("the database is locked")
        telemetry.reached()
        telemetry.reached()
    lines = [(line["event"], line.get("why", "")[:25]) for line in said if line["log_level"] != "debug"]
    assert lines == [
        ("waiting", "cannot read"),
        ("waiting", "no Kafka broker answers at"[:25]),
        ("waiting", "the database is locked"),
        ("kafka.reached", ""),
    ]


def test_a_worker_that_starts_without_a_broker_says_the_same():
    with capture_logs() as said:
        telemetry = Telemetry("some-service", "one")
        telemetry.outage = an_outage([1_000.0])
        telemetry.unavailable(NoBrokerAnswers("connection refused"))
    [line] = said
    assert line["why"] == str(telemetry.outage)
    assert "connection refused" in line["why"]
