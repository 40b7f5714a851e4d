"""The tracker: the state of every order, read from the log; the saga does not depend on it."""
