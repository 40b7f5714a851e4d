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
{dependencies}
</dependencies></project>"""
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
CLIENTS = ("org.apache.kafka", "kafka-clients", VERSION)
AVRO = ("org.apache.avro", "avro", "1.12.1")
SILENCE = ("org.slf4j", "slf4j-nop", "1.7.36")
QUICK_START = ("-XX:TieredStopAtLevel=1",)


class JavaProgram(NamedTuple):
    """A program: its source, the libraries that it uses (group, artifact, version), its heap, options for the JVM."""

    source: Path
    libraries: tuple[tuple[str, str, str], ...]
    heap: str
    options: tuple[str, ...] = QUICK_START

    def command(self) -> list[str]:
        """Return the command that runs it, without its arguments. Raises Missing when its parts cannot be had."""
        libraries = (*self.libraries, SILENCE)

        def build(folder: Path) -> None:
            pom, jars = folder / "pom.xml", f"-DoutputDirectory={folder}"
            dependencies = "\n".join(DEPENDENCY.format(*library) for library in libraries)
            pom.write_text(POM.format(dependencies=dependencies), encoding="utf-8")
            maven("-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime", jars)

        named = "-".join(f"{artifact}-{version}" for _, artifact, version in self.libraries)
        jars = cached(f"java-{named}", build)
        return [str(java(JAVA)), f"-Xmx{self.heap}", *self.options, "-cp", f"{jars}/*", str(self.source)]

    def run(self, *arguments: str) -> str:
        """Run it to its end, and return what it prints."""
        run = [*self.command(), *arguments]
        done = subprocess.run(run, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr[-4_000:]
        return done.stdout


TEAM = JavaProgram(HERE / "JavaTeam.java", (CLIENTS, AVRO), "128m")
SERDES = JavaProgram(
    HERE / "JavaSerdes.java", (CLIENTS, ("io.apicurio", "apicurio-registry-avro-serde-kafka", "3.1.7")), "192m"
)
