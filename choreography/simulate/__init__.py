"""`saga simulate`: the saga under every kind of fault, thousands of times, each from a seed that can be replayed."""

from choreography.simulate.command import simulate_command

__all__ = ["simulate_command"]
