"""`saga check`: the laws of the saga, and whether what is in the databases and on the log keeps them."""

from choreography.check.command import check_command

__all__ = ["check_command"]
