"""`saga demo`: the whole saga, once, before one's eyes."""

from choreography.demo.command import demo_command

__all__ = ["demo_command"]
