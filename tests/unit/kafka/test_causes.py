"""The messages for librdkafka's error codes, and whose setting is the cause."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from eventbus.kafka.causes import Complaints, explained, first_of, place_of
from eventbus.kafka.diagnosis import diagnose

AT = "sasl_ssl://kafka-1:9093/bootstrap: "
CLOSED = {"bootstrap.servers": "127.0.0.1:1"}
TOLD = {
    (KafkaError._AUTHENTICATION, f"{AT}SASL authentication error: no (after 3ms in state AUTH_REQ)"): (
        f"{AT}SASL authentication error: no (look at sasl.username and sasl.password)"
    ),
    (KafkaError._AUTHENTICATION, f"{AT}SASL PLAIN mechanism handshake failed: unsupported"): (
        f"{AT}SASL PLAIN mechanism handshake failed: unsupported (look at sasl.mechanism)"
    ),
    (KafkaError._AUTHENTICATION, "Failed to acquire SASL OAUTHBEARER token: timed out"): (
        "Failed to acquire SASL OAUTHBEARER token: timed out (look at the properties sasl.oauthbearer..., and at the"
        " token endpoint)"
    ),
    (KafkaError._TRANSPORT, f"{AT}Connect failed (after 0ms in state CONNECT, 12 identical error(s) suppressed)"): (
        f"{AT}Connect failed"
    ),
    (KafkaError.GROUP_AUTHORIZATION_FAILED, "denied"): (
        "denied (this user is not authorized to use the consumer group: `saga acls` prints the ACLs that each service"
        " needs)"
    ),
}


@pytest.mark.parametrize(("code", "said"), TOLD)
def test_the_code_says_which_setting_to_look_at(code: int, said: str) -> None:
    """Without durations, which would make every message different."""
    assert explained(KafkaError(code, said)) == TOLD[code, said]


def test_a_token_that_is_not_to_be_had_is_waited_for_and_a_refusal_is_not() -> None:
    """One code for both; only one of them comes from a broker."""
    refused = KafkaError(KafkaError._AUTHENTICATION, f"{AT}SASL authentication error: no")
    token = KafkaError(KafkaError._AUTHENTICATION, "Failed to acquire SASL OAUTHBEARER token: timed out")
    found = [diagnose(CLOSED, [error]) for error in (refused, token)]
    assert [each and each.ours for each in found] == [True, False]
    complaints = Complaints()
    complaints(token)
    assert not complaints.refused
    complaints(refused)
    assert complaints.refused


def test_an_address_of_the_cluster_is_told_from_one_of_the_user() -> None:
    """It has a broker id instead of `bootstrap`."""
    error = KafkaError(KafkaError._TRANSPORT, "127.0.0.1:1/3: Connect to ipv4#127.0.0.1:1 failed")
    place = place_of(error)
    assert place is not None
    assert (str(place), place.advertised) == ("127.0.0.1:1", True)
    found = diagnose(CLOSED, [error])
    assert found is not None
    assert "its broker 3 at 127.0.0.1:1, which cannot be reached from here" in found.why
    assert not found.ours


@pytest.mark.parametrize(
    ("servers", "place"),
    [
        ("kafka-1:9093,kafka-2:9094", ("kafka-1", 9093)),
        ("SASL_SSL://kafka-1", ("kafka-1", 9092)),
        ("[::1]:9093", ("::1", 9093)),
    ],
)
def test_the_first_broker_is_asked_where_none_complains(servers: str, place: tuple[str, int]) -> None:
    """It only closes the connection."""
    found = first_of(servers)
    assert found is not None
    assert found[:2] == place
