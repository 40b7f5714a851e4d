"""The page: orders, the flow and what went wrong, live in a browser. It only reads."""

from choreography.ui.command import ui_command

__all__ = ["ui_command"]
