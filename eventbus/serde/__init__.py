"""From records to events and back: Avro, its framing, and schema registries."""
