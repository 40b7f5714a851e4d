"""Java programs as other teams write them: one source file each, with libraries from Maven Central.

Confluent's KafkaAvroSerializer is not on Maven Central. JavaTeam.java does by hand, with Apache Avro, what it and its
deserializer do; JavaSerdes.java uses Apicurio's serdes, which frame as Confluent's do by default.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.support.brokers.kafka_node import VERSION
from tests.support.brokers.maven import cached, java, maven

JAVA = 17
SECONDS = 120
HERE = Path(__file__).parent
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>team</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-clients</artifactId><version>{kafka}</version></dependency>
<dependency><groupId>{0}</groupId><artifactId>{1}</artifactId><version>{2}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
</dependencies></project>"""


class JavaProgram(NamedTuple):
    """A program beside kafka-clients: its source, the library that it uses (group, artifact, version), its heap."""

    source: str
    library: tuple[str, str, str]
    heap: str

    def command(self) -> list[str]:
        """Return the command that runs it, without its arguments. Raises Missing when its parts cannot be had."""

        def build(folder: Path) -> None:
            pom, jars = folder / "pom.xml", f"-DoutputDirectory={folder}"
            pom.write_text(POM.format(*self.library, kafka=VERSION), encoding="utf-8")
            maven("-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime", jars)

        _, artifact, version = self.library
        jars = cached(f"java-{artifact}-{VERSION}-{version}", build)
        return [
            str(java(JAVA)),
            f"-Xmx{self.heap}",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            f"{jars}/*",
            str(HERE / self.source),
        ]

    def run(self, *arguments: str) -> str:
        """Run it to its end, and return what it prints."""
        run = [*self.command(), *arguments]
        done = subprocess.run(run, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr[-4_000:]
        return done.stdout


TEAM = JavaProgram("JavaTeam.java", ("org.apache.avro", "avro", "1.12.1"), "128m")
SERDES = JavaProgram("JavaSerdes.java", ("io.apicurio", "apicurio-registry-avro-serde-kafka", "3.1.7"), "192m")
