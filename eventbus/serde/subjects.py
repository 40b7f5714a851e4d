"""The subjects of the events' schemas in a registry: by topic, by record, with a prefix, in a context.

The template is the fragment of the registry's URL, so that one setting says where the schemas are.
Source: Confluent's Schema Registry, subject name strategies and schema contexts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

TOPIC, RECORD = "{topic}", "{record}"
TOPIC_NAME = f"{TOPIC}-value"
"""Confluent's TopicNameStrategy."""
_CONTEXT = re.compile(r":\.[^:]*:")


class BadSubject(ValueError):
    """A template that does not give every event a subject of its own."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """Makes a subject from a topic and the full name of its record."""

    template: str = TOPIC_NAME

    def __post_init__(self) -> None:
        rest = self.template.replace(TOPIC, "").replace(RECORD, "")
        if rest == self.template or re.search(r"[{}#\s]", rest):
            raise BadSubject(
                f"{self.template!r} is not a subject: it must contain {TOPIC} or {RECORD}, as in {TOPIC_NAME},"
                f" {RECORD}, {TOPIC}-{RECORD}, shop-{TOPIC_NAME} or :.shop:{TOPIC_NAME}"
            )

    @classmethod
    def behind(cls, url: str) -> tuple[str, Self]:
        """Return a URL without its fragment, and the subjects that it names. Raises BadSubject."""
        url, _, template = url.partition("#")
        return url, cls(template or TOPIC_NAME)

    def put_behind(self, url: str) -> str:
        """Return the URL with this template as its fragment."""
        return url if self.template == TOPIC_NAME else f"{url}#{self.template}"

    def of(self, topic: str, record: str) -> str:
        """Return the subject of a topic's values."""
        return self.template.replace(TOPIC, topic).replace(RECORD, record)

    @property
    def context(self) -> str:
        """The context of all subjects, as a prefix; empty for the default one."""
        found = _CONTEXT.match(self.template)
        return found[0] if found else ""

    def in_context(self, subject: str) -> str:
        """Return the full name of a subject that a schema in the context refers to, which may omit the context."""
        return subject if subject.startswith(":") else self.context + subject
