"""The topics file is read as a whole or refused with its name."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from saga.__main__ import main
from saga.kafka.topics_file import BadTopicsFile, counts, read_topics, topics_file


def test_the_file_that_ships_is_found_and_its_dead_letters_take_the_largest_record_and_64_kib():
    """Or one dead letter too large would wedge every partition."""
    assert topics_file().is_file()
    largest = {
        topic.kind: int(topic.config["max.message.bytes"])
        for topic in read_topics()
        if topic.config.get("max.message.bytes")
    }
    assert largest["resolutions"] == largest["dead_letters"] >= largest["events"] + 64 * 1024 - 64


def test_events_come_before_dead_letters_each_with_the_config_of_its_kind(tmp_path):
    """Property values become the text that Kafka wants, whatever YAML makes of them."""
    path = tmp_path / "topics.yaml"
    path.write_text("dead_letters: [d]\nevents: [a, b]\nconfig: {dead_letters: {retention.ms: -1}}\n")
    assert [(t.name, t.kind, dict(t.config)) for t in read_topics(path)] == [
        ("a", "events", {}),
        ("b", "events", {}),
        ("d", "dead_letters", {"retention.ms": "-1"}),
    ]


def test_a_topic_has_as_many_partitions_as_the_file_says_or_else_as_are_asked_for(tmp_path):
    """Those of one kind have the same number."""
    path = tmp_path / "topics.yaml"
    path.write_text("resolutions: [r, s]\nevents: [a]\npartitions: {resolutions: 1}\n")
    assert counts(read_topics(path), 12) == {"a": 12, "r": 1, "s": 1}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "Expected `object`, got `null`"),
        ("- a", "Expected `object`, got `array`"),
        ("event: [a]", "unknown field `event`"),
        ("events: a", r"got `str` - at `\$.events`"),
        ("events: [1]", r"got `int` - at `\$.events\[0\]`"),
        ("events: [a, b, a]", "listed twice: a"),
        ("events: [a]\ndead_letters: [a]", "listed twice: a"),
        ("events: [a]\nconfig: 3", r"got `int` - at `\$.config`"),
        ("events: [a]\nconfig: {events: 3}", r"Expected `object`, got `int` - at `\$.config"),
        ("events: [a]\nconfig: {event: {}}", "Invalid enum value .event."),
        ("events: [a]\npartitions: {events: 0}", ">= 1"),
        ("events: [a", "line 1: it is not YAML: expected"),
        ("# Read me\n```sh\nmake demo\n```\n", "line 2: it is not YAML: found character '`'"),
        ("\udcff", "codec"),
        ("\udcff\udcfee\x00", "UTF-16, not UTF-8"),
    ],
)
def test_a_file_that_is_no_list_of_topics_is_refused_by_name(tmp_path, content, why):
    """With what is wrong; the command says it in one line and exits 1."""
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadTopicsFile, match=why) as caught:
        read_topics(path)
    assert str(path) in str(caught.value)
    result = CliRunner().invoke(main, ["topics", "create", "--file", str(path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {path}")
    assert result.stderr.count("\n") == 1
