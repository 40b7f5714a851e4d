"""`saga chaos`: orders flow while everything breaks, and at the end the laws must hold."""

from choreography.chaos.command import chaos_command

__all__ = ["chaos_command"]
