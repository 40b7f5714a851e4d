"""Events: frozen structs, each bound to the Avro schema that is its contract."""

from eventbus.event.base import Event, event
from eventbus.event.limits import Rule

__all__ = ["Event", "Rule", "event"]
