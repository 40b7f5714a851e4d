"""`saga check`: the laws of the saga, and whether the databases and the log obey them."""
