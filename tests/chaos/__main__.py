"""`make chaos`: `saga chaos` on a broker that may be killed, and on a PostgreSQL with `--database postgresql`."""

from __future__ import annotations

import sys

from choreography.chaos.command import chaos_command
from choreography.quiet import stoppable
from tests.support import brokers, postgres
from tests.support.kafka_node import SOON_BACK, NoBroker


def main(arguments: list[str]) -> None:
    """Start what is needed, run the command with these arguments, remove everything."""
    try:
        broker = brokers.own_kind()(**SOON_BACK)
        servers = [postgres.server()] if "postgresql" in arguments else []
    except (NoBroker, postgres.NoPostgres) as why:
        sys.exit(f"error: {why}")
    try:
        for server in servers:
            server.start()
            url = postgres.url(server.port, postgres.create_database(server.port))
            arguments = [url if argument == "postgresql" else argument for argument in arguments]
        broker.start()
        ports = broker.host_ports
        where = ["--bootstrap-servers", broker.bootstrap_servers, "--proxy", f"{ports.proxy}:{ports.behind_proxy}"]
        chaos_command.main([*where, *arguments], prog_name="make chaos", obj=broker)
    finally:
        broker.stop()
        for server in servers:
            server.remove()


if __name__ == "__main__":
    with stoppable():
        main(sys.argv[1:])
