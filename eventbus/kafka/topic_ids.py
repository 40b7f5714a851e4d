"""The ids of topics, which distinguish a topic that was deleted and recreated from the old one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from confluent_kafka import TopicCollection


class TopicIds:
    """Requests topic ids before they are needed: the broker answers while records are decoded."""

    def __init__(self, admin: Callable[[], Any], seconds: float) -> None:
        self._admin, self._seconds = admin, seconds
        self._asked: Mapping[str, Any] = {}

    def ask(self, topics: Collection[str]) -> None:
        """Send the request; a later request replaces it. Raises KafkaException."""
        self._asked = self._admin().describe_topics(TopicCollection(sorted(topics)), request_timeout=self._seconds)

    def answers(self, topics: Collection[str]) -> dict[str, Any]:
        """Return the futures of the last request, or of a new one if that lacks a topic; each is returned once."""
        if not set(topics) <= set(self._asked):
            self.ask(topics)
        asked, self._asked = self._asked, {}
        return {topic: asked[topic] for topic in topics}
