"""The options and commands that all services share."""
