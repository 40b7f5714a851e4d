"""The model of the tracker: the choreography of the saga's own and of declared services, a sentence for each event."""

from __future__ import annotations

from eventbus.manifest import declare
from saga.declared import declared_events
from saga.flow.model import Flow
from saga.services import SERVICES, declared_elsewhere
from saga.tracker.model import TrackerModel
from saga.tracker.sentences import Sentences
from schemas import EVENTS

_DECLARED = declared_elsewhere()
FLOW = Flow([*map(declare, SERVICES), *_DECLARED])
FOREIGN = declared_events(_DECLARED)
"""The events of declared services, by topic."""
MODEL = TrackerModel.of(FLOW)
SENTENCES = Sentences(EVENTS, FOREIGN)
