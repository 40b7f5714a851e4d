"""The runtime's own tables in a service's database: every SQL statement of the runtime."""
