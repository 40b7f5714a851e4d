"""`saga simulate`: the saga under every kind of fault, thousands of times, each from a seed that can be replayed."""
