"""A worker process: signals, metrics, health, its name, and the watchdog."""
