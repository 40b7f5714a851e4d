"""Dead letters, for who is on call: look, redrive, discard, and go past what cannot be read; always on record."""
