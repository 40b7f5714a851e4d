"""Apache Kafka from its jars on Maven Central, for machines without a Docker engine."""

from __future__ import annotations

import atexit
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.brokers.kafka_cluster import KafkaCluster
from tests.support.brokers.kafka_node import VERSION, Inside, Ports, new_cluster_id, properties, wait_until_it_answers
from tests.support.brokers.maven import cached, java, maven
from tests.support.ports import free_port

JAVA = 17
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>"""
QUICK = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def jars() -> Path:
    """Return the folder with Kafka's jars (54 MB); raises Missing when they cannot be had."""

    def download(folder: Path) -> None:
        pom = folder / "pom.xml"
        pom.write_text(POM, encoding="utf-8")
        maven("-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}")

    return cached(f"kafka-{VERSION}", download)


def inside() -> Inside:
    """Return where a node listens for its cluster."""
    return Inside(f"localhost:{free_port()}", f"localhost:{free_port()}")


class KafkaFromJars:
    """One KRaft node in a Java process, its data in a temporary folder."""

    def __init__(self, nodes: Sequence[Inside] = (), number: int = 1, cluster_id: str = "", **more: str) -> None:
        self._nodes, self._number, self._cluster_id = nodes or [inside()], number, cluster_id or new_cluster_id()
        self.host_ports = Ports()
        self.bootstrap_servers = f"127.0.0.1:{self.host_ports.client}"
        self._more = more
        self._java = [str(java(JAVA)), *QUICK, "-cp", f"{jars()}/*"]
        self._folder = Path(tempfile.mkdtemp(prefix="saga-kafka-"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> KafkaFromJars:
        atexit.register(self.stop)
        config = self._configure()
        tool = "kafka.tools.StorageTool"
        format_storage = [*self._java, tool, "format", "-t", self._cluster_id, "-c", str(config)]
        subprocess.run(format_storage, capture_output=True, check=True)
        self._launch()
        return self

    def stop(self) -> None:
        atexit.unregister(self.stop)
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def restart(self) -> None:
        self.terminate()
        self._launch()

    def reassign(self, plan: str) -> None:
        file = self._folder / "plan.json"
        file.write_text(plan, encoding="utf-8")
        tool = [*self._java, "org.apache.kafka.tools.reassign.ReassignPartitionsCommand", "--execute"]
        options = ["--bootstrap-server", self.bootstrap_servers, "--reassignment-json-file", str(file)]
        done = subprocess.run([*tool, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(
                f"Kafka's tool ended with code {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}"
            )

    def copy_of(self, partition: str) -> bytes:
        copy = io.BytesIO()
        with tarfile.open(fileobj=copy, mode="w") as tar:
            tar.add(self._folder / "data" / partition, partition)
        return copy.getvalue()

    def put_back(self, partition: str, copy: bytes) -> None:
        shutil.rmtree(self._folder / "data" / partition)
        with tarfile.open(fileobj=io.BytesIO(copy)) as tar:
            tar.extractall(self._folder / "data", filter="data")

    def _configure(self) -> Path:
        ports = self.host_ports
        listeners = f"CLIENT://127.0.0.1:{ports.client},PROXY://127.0.0.1:{ports.behind_proxy}"
        settings = properties(listeners, "127.0.0.1", ports, self._nodes, self._number) | self._more
        settings |= {"log.dirs": str(self._folder / "data")}
        config = self._folder / "server.properties"
        config.write_text("".join(f"{key}={setting}\n" for key, setting in settings.items()), encoding="utf-8")
        return config

    def _launch(self) -> None:
        log = self._folder / "broker.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._folder / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop it themselves
            )
        try:
            wait_until_it_answers(self.bootstrap_servers, lambda: self._process is None or self._process.poll() is None)
        except OSError as error:
            error.add_note(log.read_text(errors="replace")[-3000:])
            raise


def cluster(count: int, **more: str) -> KafkaCluster:
    """Return so many nodes that form one cluster; not yet started."""
    nodes, cluster_id = [inside() for _ in range(count)], new_cluster_id()
    return KafkaCluster([KafkaFromJars(nodes, number, cluster_id, **more) for number in range(1, count + 1)])
