"""A Java program with serdes that are on Maven Central: Apicurio's, which frame as Confluent's do by default."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.support.brokers.kafka_node import VERSION
from tests.support.brokers.maven import cached, java, maven

SERDES = "3.1.7"
JAVA = 17
SECONDS = 120
SOURCE = Path(__file__).parent / "JavaSerdes.java"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>serdes</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-clients</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>io.apicurio</groupId><artifactId>apicurio-registry-avro-serde-kafka</artifactId><version>{SERDES}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
</dependencies></project>"""


@cache
def program() -> Sequence[str]:
    """Return the command that runs it, without its arguments. Raises Missing when its parts cannot be had."""

    def build(folder: Path) -> None:
        pom = folder / "pom.xml"
        pom.write_text(POM, encoding="utf-8")
        maven("-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}")

    jars = cached(f"java-serdes-{VERSION}-{SERDES}", build)
    return [str(java(JAVA)), "-Xmx192m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", str(SOURCE)]


def run(*arguments: str) -> str:
    """Run it to its end, and return what it prints."""
    done = subprocess.run([*program(), *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    return done.stdout
