"""The least rights: what a service hears it reads, what it says it writes, and nothing else."""

from __future__ import annotations

import yaml
from click.testing import CliRunner

from saga.__main__ import main
from saga.flow.access import Right, rights
from saga.flow.model import Flow
from saga.flow.sources import TOPIC
from saga.services import SERVICES

WHO = rights(Flow.of(SERVICES), "saga")


def test_the_payment_service_may_do_what_it_must_and_nothing_else():
    """Its inputs, its answers, dead letters and what became of them, its group, its transactions, its announcement."""
    look = "DescribeConfigs"
    assert WHO["payment-service"] == [
        Right("topic", "order.created", ("Read", look)),
        Right("topic", "order.cancelled", ("Read", look)),
        Right("topic", "payment.charged", ("Write", look)),
        Right("topic", "payment.failed", ("Write", look)),
        Right("topic", "payment.refunded", ("Write", look)),
        Right("topic", "payment-service.dead-letters", ("Write", look)),
        Right("topic", "payment-service.dead-letters.resolutions", ("Read", "Write", look)),
        Right("topic", "payment-service.progress", ("Read", "Write")),
        Right("topic", TOPIC, ("Write",)),
        Right("group", "payment-service", ("Read",)),
        Right("transactional-id", "payment-service.", ("Write",), prefixed=True),
    ]


def test_the_tool_may_read_every_topic_and_write_none():
    """And it joins no group."""
    flow = Flow.of(SERVICES)
    own = (topic for s in flow.services for topic in (s.dead_letters, s.resolutions, s.progress))
    topics = {*flow.events, *own, TOPIC}
    assert {right.name for right in WHO["saga"] if right.kind == "topic"} == topics
    assert {operation for right in WHO["saga"] for operation in right.operations} == {
        "Read",
        "Describe",
        "DescribeConfigs",
    }


def test_a_cluster_for_kafka_acls_is_wrong_usage():
    """It would do nothing: that is a name in Strimzi's resources."""
    refused = CliRunner().invoke(main, ["acls", "--cluster", "mine"])
    assert (refused.exit_code, "add --format strimzi" in refused.stderr) == (2, True)
    assert CliRunner().invoke(main, ["acls"]).exit_code == 0


def test_strimzi_gets_a_user_with_the_same_rights_for_each():
    """In its own words, for the cluster that is named."""
    result = CliRunner().invoke(main, ["acls", "--format", "strimzi", "--cluster", "mine", "--tool-user", "looker"])
    assert result.exit_code == 0
    users = {user["metadata"]["name"]: user for user in yaml.safe_load_all(result.stdout)}
    assert set(users) == {*WHO, "looker"} - {"saga"}
    assert {user["metadata"]["labels"]["strimzi.io/cluster"] for user in users.values()} == {"mine"}
    acls = users["payment-service"]["spec"]["authorization"]["acls"]
    assert [(acl["resource"]["name"], tuple(acl["operations"])) for acl in acls] == [
        (right.name, right.operations) for right in WHO["payment-service"]
    ]
    assert acls[-1]["resource"] == {"type": "transactionalId", "name": "payment-service.", "patternType": "prefix"}
