"""The model of the tracker: the choreography of the saga's own services, and the sentence for each event."""

from __future__ import annotations

from saga.flow.model import Flow
from saga.services import SERVICES
from saga.tracker.model import TrackerModel
from saga.tracker.sentences import Sentences
from schemas import EVENTS

FLOW = Flow.of(SERVICES)
MODEL = TrackerModel.of(FLOW)
SENTENCES = Sentences(EVENTS)
