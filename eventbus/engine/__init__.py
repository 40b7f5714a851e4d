"""The life of one event: polled, decided, published, recovered."""
