"""Records that nobody can handle: kept byte for byte, and what people decided about them."""
