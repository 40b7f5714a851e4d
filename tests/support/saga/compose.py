"""deploy/compose.yaml as a project of its own, whichever docker compose there is, in a shell with README's exports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path

from tests.support.brokers.docker_engine import NoImage, engine
from tests.support.ports import free_port

ROOT = Path(__file__).parents[3]
FILE = ROOT / "deploy" / "compose.yaml"
PORTS = ("KAFKA_PORT", "ORDER_METRICS_PORT", "PAYMENT_METRICS_PORT", "INVENTORY_METRICS_PORT")
OURS = "label=org.opencontainers.image.title=order-saga"


def readme_exports() -> dict[str, str]:
    """Return what README's shell lines export."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return {name: value.strip("'") for name, value in re.findall(r"^export (\w+)=(\S+)", text, re.MULTILINE)}


def compose_command() -> list[str]:
    """Return the plugin's command, or the older program's; raises NoImage when there is neither."""
    engine()
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise NoImage("there is neither docker compose nor docker-compose")


class Project:
    """One deployment under a name, an image tag and ports of its own."""

    def __init__(self) -> None:
        self.name = f"saga-test-{uuid.uuid4().hex[:8]}"
        self.ports = {name: free_port() for name in PORTS}
        self._image = f"{self.name}:latest"
        self._command = [*compose_command(), "--project-name", self.name, "--file", str(FILE)]

    def run(self, *arguments: str, seconds: float = 300) -> str:
        """Run compose with these arguments and return its stdout; raises AssertionError with the output if it fails."""
        settings = {name: str(port) for name, port in self.ports.items()} | {"SAGA_IMAGE": self._image}
        run = [*self._command, *arguments]
        env = {**os.environ, **readme_exports(), **settings}
        done = subprocess.run(
            run, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{' '.join(run)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def once(self, service: str, *command: str) -> str:
        """Run a command in a new container of a service, as `docker compose run` does, and return its stdout."""
        return self.run("run", "--rm", "-T", service, *command)

    def remove(self) -> None:
        """Remove everything: containers, network, volumes, image, and what building it left without a name."""
        self.run("down", "--volumes", "--remove-orphans", "--timeout", "10")
        for images in (["rmi", "--force", self._image], ["image", "prune", "--force", "--filter", OURS]):
            subprocess.run(["docker", *images], capture_output=True, check=False)
