"""A Python program as another team writes it, with the CloudEvents SDK: reads a message on stdin, or writes one."""

import json
import sys

from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent


def read(message: dict[str, object]) -> dict[str, object]:
    headers = {name: bytes.fromhex(content) for name, content in message["headers"].items()}
    event = from_binary(KafkaMessage(headers, message["key"], bytes.fromhex(message["value"])), JSONFormat())
    data = event.get_data()
    return {"attributes": {k: str(v) for k, v in event.get_attributes().items()}, "data": bytes(data).hex()}


def write(event: dict[str, object]) -> dict[str, object]:
    made = to_binary(CloudEvent(event["attributes"], bytes.fromhex(event["data"])), JSONFormat())
    headers = {name: content.hex() for name, content in made.headers.items()}
    return {"headers": headers, "key": made.key, "value": made.value.hex()}


if __name__ == "__main__":
    print(json.dumps({"read": read, "write": write}[sys.argv[1]](json.load(sys.stdin))))
