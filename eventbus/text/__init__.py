"""How settings, files and records are read and shown."""
