"""What may be shown of settings, files and records, and how."""
