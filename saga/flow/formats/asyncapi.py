"""The flow as AsyncAPI 3.1: a channel per topic, a message per event, and the operations of each service.

With the Kafka bindings 0.5.0. Payloads refer to the .avsc files, by their paths from the root of the repository.
"""

from __future__ import annotations

from typing import Any

import yaml

from saga.flow.model import Flow, Handler

VERSION, BINDING = "3.1.0", "0.5.0"
AVRO = "application/vnd.apache.avro;version=1.9.0"
HEADERS = {
    "ce_id": "Derived from its cause, so it is the same however often the cause is handled.",
    "ce_causationid": "The record that it answers: topic/partition/offset. Absent on one that starts a saga, or that a"
    " person requested.",
    "ce_deadline": "When the deadline that caused it passed: ms since 1970 UTC. Present only then, instead of a cause.",
    "ce_source": "The service that published it.",
    "ce_type": "The event, which is also the name of the topic.",
}


def as_asyncapi(flow: Flow) -> str:
    """Return the document as YAML."""
    versions = {service.service: service.version for service in flow.services}
    document = {
        "asyncapi": VERSION,
        "info": {
            "title": "Order saga",
            "version": "; ".join(dict.fromkeys(versions.values())) or "0",
            "description": "Services that react to each other's events, without an orchestrator. "
            + " ".join(f"{service.service}: {service.purpose}" for service in flow.services),
            "tags": [{"name": name, "description": f"version {version}"} for name, version in versions.items()],
        },
        "defaultContentType": "application/vnd.apache.avro",
        "channels": {event: _channel(event) for event in flow.events},
        "operations": _operations(flow),
        "components": {"messages": {event: _message(flow, event) for event in flow.events}},
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _channel(event: str) -> dict[str, Any]:
    return {
        "address": event,
        "messages": {event: {"$ref": f"#/components/messages/{event}"}},
        "bindings": {"kafka": {"topic": event, "bindingVersion": BINDING}},
    }


def _message(flow: Flow, event: str) -> dict[str, Any]:
    declared = flow.events[event]
    key = {"type": "string", "description": f"The {declared.key} in UTF-8."}
    headers = {name: {"type": "string", "description": what} for name, what in HEADERS.items()}
    return {
        "name": event,
        "title": str(declared.schema.get("name", event)),
        "summary": declared.purpose,
        "headers": {"type": "object", "properties": headers, "required": ["ce_id", "ce_source", "ce_type"]},
        "payload": {"schemaFormat": AVRO, "schema": {"$ref": f"./{declared.file}"}},
        "bindings": {
            "kafka": {
                "key": key,
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "bindingVersion": BINDING,
            }
        },
    }


def _operations(flow: Flow) -> dict[str, Any]:
    sent = {
        f"{service.service}.send.{event}": _operation("send", event, f"{service.service} publishes it")
        for service in flow.services
        for event in service.publishes
    }
    received = {
        f"{handler.service}.receive.{handler.does.event}": _operation("receive", handler.does.event, _told(handler))
        | {"bindings": {"kafka": {"groupId": {"type": "string", "enum": [handler.service]}, "bindingVersion": BINDING}}}
        for handler in flow.handlers
        if handler.does.event in flow.events
    }
    return {**sent, **received}


def _operation(action: str, event: str, summary: str) -> dict[str, Any]:
    channel = f"#/channels/{event}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "summary": summary,
        "messages": [{"$ref": f"{channel}/messages/{event}"}],
    }


def _told(handler: Handler) -> str:
    answers = f" Answers with {' or '.join(handler.does.publishes)}." if handler.does.publishes else ""
    return f"{handler.does.handler}: {handler.does.purpose}{answers}"
