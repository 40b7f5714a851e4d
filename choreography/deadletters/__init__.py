"""Dead letters, for who is on call: look, redrive, discard, and go past what cannot be read; always on record."""

from choreography.deadletters.commands import deadletters_group

__all__ = ["deadletters_group"]
