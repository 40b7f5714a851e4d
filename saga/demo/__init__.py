"""`saga demo`: one visible run of the whole saga."""
