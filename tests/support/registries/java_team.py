"""A Java program as another team writes it: kafka-clients, Apache Avro and a schema registry, from Maven Central.

Confluent's KafkaAvroSerializer is not on Maven Central; JavaTeam.java does by hand what it and its deserializer do.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.support.brokers.kafka_node import VERSION
from tests.support.brokers.maven import cached, java, maven

AVRO = "1.12.1"
JAVA = 17
SECONDS = 120
SOURCE = Path(__file__).parent / "JavaTeam.java"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>team</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-clients</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.apache.avro</groupId><artifactId>avro</artifactId><version>{AVRO}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
</dependencies></project>"""


@cache
def program() -> Sequence[str]:
    """Return the command that runs it, without its arguments. Raises Missing when its parts cannot be had."""

    def build(folder: Path) -> None:
        pom = folder / "pom.xml"
        pom.write_text(POM, encoding="utf-8")
        maven("-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}")

    jars = cached(f"java-team-{VERSION}-{AVRO}", build)
    return [str(java(JAVA)), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", str(SOURCE)]


def run(*arguments: str) -> str:
    """Run it to its end, and return what it prints."""
    done = subprocess.run([*program(), *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    return done.stdout
