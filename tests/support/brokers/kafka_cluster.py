"""Several Kafka nodes that form one cluster, each on ports of its own that stay the same when it is started again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.support.brokers.kafka_node import OwnBroker


class KafkaCluster:
    """Nodes that are started and stopped together; tests kill, terminate and restart them one by one."""

    def __init__(self, nodes: Sequence[OwnBroker], removed: Callable[[], None] = lambda: None) -> None:
        self.nodes = nodes
        self.bootstrap_servers = ",".join(node.bootstrap_servers for node in nodes)
        self._removed = removed

    def start(self) -> KafkaCluster:
        """Start all at once: a node alone would wait for a majority of the others. Return when all answer."""
        self._each(lambda node: node.start())
        return self

    def stop(self) -> None:
        """Stop all for good and forget their data."""
        self._each(lambda node: node.stop())
        self._removed()

    def reassign(self, plan: str) -> None:
        """Ask for new replicas of partitions; see OwnBroker. All nodes must run."""
        self.nodes[0].reassign(plan)

    def _each(self, what: Callable[[OwnBroker], object]) -> None:
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            list(threads.map(what, self.nodes))
