"""`saga dev`: a broker, the workers and the page in one terminal, restarted when their sources change."""
