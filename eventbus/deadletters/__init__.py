"""Records that cannot be handled: kept byte for byte, and what operators decided about them."""
