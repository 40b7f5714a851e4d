"""Every rule about a flow, applied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from saga.flow.finding import Finding, Rule
from saga.flow.model import Flow
from saga.flow.rules import RULES


@dataclass(frozen=True, slots=True)
class RuleViolation:
    """A finding, and the rule that it breaks."""

    rule: str
    finding: Finding


def verify(flow: Flow, more: Iterable[Rule] = ()) -> list[RuleViolation]:
    """Apply every rule about declarations, and `more`: rules that need more than declarations."""
    return [
        RuleViolation(rule.__name__.replace("_", "-"), finding) for rule in (*RULES, *more) for finding in rule(flow)
    ]
