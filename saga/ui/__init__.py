"""The page: orders, the flow and what went wrong, live in a browser. It only reads."""
