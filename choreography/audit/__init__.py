"""The audit: the history taken out of the log as evidence, and held against the log later."""

from choreography.audit.command import audit_group
from choreography.audit.lines import NotAnExport

__all__ = ["NotAnExport", "audit_group"]
