"""Dead letters, for the engineer on call: list, redrive, discard, and skip unreadable batches; always on record."""
