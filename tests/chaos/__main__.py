"""`make chaos`: on brokers that may be killed, and on a PostgreSQL with `--database postgresql`.

Three brokers, replication 3, min.insync.replicas 2; `--brokers 1` for one alone; with `--bootstrap-servers` those.
"""

from __future__ import annotations

import sys

from saga.commands.exits import stoppable
from tests.chaos.command import chaos_command
from tests.support import brokers
from tests.support.brokers.kafka_node import SOON_BACK, NoBroker
from tests.support.databases import postgres

BROKERS = 3


def main(arguments: list[str]) -> None:
    """Start what is needed, run the command with these arguments, remove everything."""
    if "--bootstrap-servers" in arguments:
        chaos_command.main(arguments, prog_name="make chaos")
    count = BROKERS
    if "--brokers" in arguments:
        at = arguments.index("--brokers")
        count = int(arguments[at + 1])
        arguments = arguments[:at] + arguments[at + 2 :]
    try:
        cluster = brokers.own_cluster(count, **SOON_BACK)
        servers = [postgres.server()] if "postgresql" in arguments else []
    except (NoBroker, postgres.NoPostgres) as why:
        sys.exit(f"error: {why}")
    try:
        for server in servers:
            server.start()
            url = postgres.url(server.port, postgres.create_database(server.port))
            arguments = [url if argument == "postgresql" else argument for argument in arguments]
        cluster.start()
        where = ["--bootstrap-servers", cluster.bootstrap_servers]
        for node in cluster.nodes:
            where += ["--proxy", f"{node.host_ports.proxy}:{node.host_ports.behind_proxy}"]
        chaos_command.main([*where, *arguments], prog_name="make chaos", obj=cluster)
    finally:
        cluster.stop()
        for server in servers:
            server.remove()


if __name__ == "__main__":
    with stoppable():
        main(sys.argv[1:])
