"""One event's life: taken in, decided, published, recovered."""
