"""`saga check`: the laws of the saga, and whether what is in the databases and on the log keeps them."""
