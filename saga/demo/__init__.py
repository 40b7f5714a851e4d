"""`saga demo`: the whole saga, once, before one's eyes."""
