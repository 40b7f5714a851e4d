"""The tracker: the state of every order, read from the log by somebody whom the saga does not need."""
