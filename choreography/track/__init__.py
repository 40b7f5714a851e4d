"""The tracker: the state of every order, read from the log by somebody whom the saga does not need."""

from choreography.track.command import track_command
from choreography.track.queries import BadStatement, NotTracked
from choreography.track.reading import READING
from choreography.track.store import AnotherTracker, NotATracker

__all__ = ["READING", "AnotherTracker", "BadStatement", "NotATracker", "NotTracked", "track_command"]
