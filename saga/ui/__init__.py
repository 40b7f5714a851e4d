"""The web page: orders, the flow and problems, live in a browser. It only reads."""
