"""The audit: the history taken out of the log as evidence, and held against the log later."""
