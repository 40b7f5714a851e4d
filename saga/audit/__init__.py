"""The audit: the history exported from the log as evidence, and compared with the log later."""
