"""bytewax: at least once; it notes its offsets in a recovery store of its own, once a second here."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from job import BATCH, arguments

given, job = arguments()


def charge(messages: list[KafkaSourceMessage]) -> list[KafkaSinkMessage]:
    return [KafkaSinkMessage(key, value) for key, value in job.handle([message.value for message in messages])]


flow = Dataflow("charge")
servers = given.bootstrap_servers.split(",")
orders = op.input("orders", flow, KafkaSource(servers, ["order.created"], tail=False, batch_size=BATCH))
charged = op.flat_map_batch("charge", orders, charge)
config = {"compression.type": "lz4", "enable.idempotence": "true", "queue.buffering.max.messages": "200000"}
op.output("charged", charged, KafkaSink(servers, given.sink, add_config=config))
store = Path(f"{given.file}.recovery")
store.mkdir()
init_db_dir(store, 1)
run_main(flow, epoch_interval=timedelta(seconds=1), recovery_config=RecoveryConfig(str(store)))
job.published(given.events)
