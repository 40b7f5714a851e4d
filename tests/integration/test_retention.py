"""Event topics keep their records unless somebody decides otherwise; `saga topics list` says where they do not."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from saga.__main__ import main
from saga.kafka.topics import _is_less
from saga.kafka.topics_file import read_topics
from schemas import EVENTS
from tests.support.brokers.admin import Admin
from tests.support.saga.processes import PATIENCE

NAMES = [event.topic for event in EVENTS]


def saga(servers: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["topics", *arguments], env={"KAFKA_BOOTSTRAP_SERVERS": servers})


def early(servers: str) -> dict[str, dict[str, str]]:
    """Return which topics delete records early, and why, as scripts are told."""
    rows = json.loads(saga(servers, "list", "--json").stdout)
    return {row["topic"]: row["deletes_early"] for row in rows if row["deletes_early"]}


def change(servers: str, topic: str, **properties: str) -> None:
    """Do what the command does that `saga topics list` tells."""
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in properties.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": servers})
    [changed] = admin.incremental_alter_configs([resource]).values()
    changed.result(PATIENCE)


def test_topics_that_were_made_otherwise_are_named_with_the_command_that_changes_them(topics):
    """Kafka's default is seven days; a size is a limit, too; a compacted topic deletes nothing by age."""
    assert early(topics) == {name: {"retention.ms": "604800000"} for name in NAMES}
    told = saga(topics, "list")
    assert told.exit_code == 0
    assert "order.created deletes records: retention.ms is 604800000 (7 days)" in told.stderr
    assert (
        f"kafka-configs.sh --bootstrap-server {topics} --alter --entity-type topics --entity-name order.created"
        " --add-config retention.ms=-1"
    ) in told.stderr
    for name in NAMES:
        change(topics, name, retention_ms="-1")
    assert (early(topics), saga(topics, "list").stderr) == ({}, "")
    change(topics, "order.created", retention_bytes="1000000")
    assert early(topics) == {"order.created": {"retention.bytes": "1000000"}}
    change(topics, "order.created", retention_bytes="-1", retention_ms="1000", cleanup_policy="compact")
    assert early(topics) == {}


def test_created_topics_keep_their_records(topics):
    """As deploy/topics.yaml says; one that was made otherwise differs."""
    assert {topic.config["retention.ms"] for topic in read_topics() if topic.kind == "events"} == {"-1"}
    Admin(topics).remove(NAMES[:1])
    made = saga(topics, "create", "--partitions", "2")
    try:
        assert f"created  {NAMES[0]}" in made.stdout
        assert f"differs  {NAMES[1]}: retention.ms is 604800000, not -1" in made.stdout
        assert NAMES[0] not in early(topics)
    finally:
        Admin(topics).remove([topic.name for topic in read_topics() if topic.kind != "events"])


LIMITS = [("-1", "-1", False), ("1", "-1", True), ("1", "2", True), ("2", "1", False), ("-1", "1", False)]


@pytest.mark.parametrize(("found", "wanted", "less"), [*LIMITS, (None, "-1", False)])
def test_without_a_limit_is_more_than_any(found, wanted, less):
    """Kafka writes -1 for it."""
    assert _is_less(found, wanted) == less
