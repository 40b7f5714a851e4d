"""The ids of topics, by which one that was deleted and created again is told from the old one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from confluent_kafka import TopicCollection


class TopicIds:
    """Asks the admin client, ahead of the moment when the answer is needed: the broker answers while we decode."""

    def __init__(self, admin: Callable[[], Any], seconds: float) -> None:
        self._admin, self._seconds = admin, seconds
        self._asked: Mapping[str, Any] = {}

    def ask(self, topics: Collection[str]) -> None:
        """Send the question; whoever asks again meanwhile gets the answer to the newest one. Raises KafkaException."""
        self._asked = self._admin().describe_topics(TopicCollection(sorted(topics)), request_timeout=self._seconds)

    def answers(self, topics: Collection[str]) -> dict[str, Any]:
        """Return the answers to what was asked, or is asked now, each to be waited for; none is returned twice."""
        if not set(topics) <= set(self._asked):
            self.ask(topics)
        asked, self._asked = self._asked, {}
        return {topic: asked[topic] for topic in topics}
