"""A marked secret goes into a worker: nothing that it writes or serves says it, nor the list of processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.saga.processes import Worker, Workers, saga_environment

MARK = "S3cretPass"


@pytest.fixture
def away() -> str:
    """An address where nobody listens."""
    return f"127.0.0.1:{free_port()}"


def start(workers: Workers, folder: Path, away: str, *arguments: str, **settings: str) -> Worker:
    """Start a payment worker that tells everything."""
    env = saga_environment(folder, away, **settings)
    return workers.start("payment_service", "--log-level", "debug", *arguments, env=env)


def everything(worker: Worker) -> str:
    """Return what it serves, and its command line."""
    served = "".join(worker.get(path)[1] for path in ("/metrics", "/livez", "/readyz"))
    return served + Path(f"/proc/{worker.pid}/cmdline").read_text()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:S3cretPass@{away}/x",
        "postgresql://{away}/x?user=u&password=S3cretPass",
        "postgresql://u:S3cretPass%40@{away}/x",
    ],
)
def test_a_database_that_is_away_is_named_without_its_password(
    url: str, workers: Workers, tmp_path: Path, away: str
) -> None:
    """From the environment."""
    worker = start(workers, tmp_path, away, PAYMENT_SERVICE_DATABASE=url.format(away=away))
    worker.wait_for("waiting")
    assert MARK not in everything(worker)
    assert worker.terminate() == 0
    assert MARK not in worker.log


def test_a_registry_that_is_away_is_named_without_its_password(workers: Workers, tmp_path: Path, away: str) -> None:
    """From a file."""
    (tmp_path / "registry").write_text(f"http://u:S3cretPass@{away}\n")
    worker = start(workers, tmp_path, away, SCHEMA_REGISTRY_URL=f"file:{tmp_path}/registry")
    worker.wait_for("the schema registry does not answer")
    assert MARK not in everything(worker)
    assert worker.terminate() == 0
    assert MARK not in worker.log


@pytest.mark.parametrize(
    "properties",
    [
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=u\nsasl.password=S3cretPass\n",
        (
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nenable.sasl.oauthbearer.unsecure.jwt=true\n"
            "sasl.oauthbearer.config=principal=u S3cretPass=1\n"
        ),
    ],
)
def test_what_kafkas_client_says_is_without_its_secrets(
    properties: str, workers: Workers, tmp_path: Path, away: str
) -> None:
    """Even with all its debugging on: it shows its configuration, and what it could not read of it."""
    (tmp_path / "kafka.properties").write_text(f"{properties}debug=all\n")
    worker = start(workers, tmp_path, away, KAFKA_CONFIG_FILE=str(tmp_path / "kafka.properties"))
    worker.wait_for("no Kafka broker answers")
    assert MARK not in everything(worker)
    assert worker.terminate() == 0
    assert MARK not in worker.log


WRONG = {
    "PAYMENT_SERVICE_DATABASE": [
        "host=127.0.0.1 user=u password=S3cretPass dbname=x",
        "postgresql://u:a@S3cretPass@127.0.0.1:1/x",
        "postgresql://u:a%S3cretPass@127.0.0.1:1/x",
        "postgresql://u:a/S3cretPass@127.0.0.1:1/x",
        "postgresql+psycopg://127.0.0.1/x?user=u&password=S3cretPass",
        "postgres:/u:S3cretPass-127.0.0.1/x",
    ],
    "PAYMENT_GATEWAY": ["https://api.provider?key=S3cretPass", "simulated:///p.db?S3cretPass=1"],
    "SCHEMA_REGISTRY_URL": ["http//u:S3cretPass@127.0.0.1:1", "http://u:a/S3cretPass@127.0.0.1:1"],
    "KAFKA_BOOTSTRAP_SERVERS": ["SASL_SSL://u:S3cretPass@127.0.0.1:1"],
}


@pytest.mark.parametrize(("variable", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_what_cannot_be_read_ends_a_worker_and_is_not_quoted(
    variable: str, value: str, workers: Workers, tmp_path: Path, away: str
) -> None:
    """In one sentence, with a code."""
    worker = start(workers, tmp_path, away, **{variable: value})
    assert worker.wait() in (1, 2)
    assert MARK not in worker.log
    assert "Traceback" not in worker.log
    assert "error" in worker.log.splitlines()[-1].lower()
