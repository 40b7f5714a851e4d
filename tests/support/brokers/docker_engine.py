"""Whether there is a Docker engine, and which images it can have."""

from __future__ import annotations

from functools import cache
from typing import Any

import docker
import requests
from docker.errors import DockerException, ImageNotFound

PULL_SECONDS = 60
"""How long a registry may keep silent."""


class NoImage(Exception):
    """The image cannot be had here, and the message says why."""


@cache
def engine() -> Any:
    """Return the client of the engine; raises NoImage when none answers."""
    try:
        client = docker.from_env(timeout=PULL_SECONDS)
        client.ping()
    except (DockerException, requests.RequestException) as error:
        raise NoImage("no Docker engine answers") from error
    return client


def is_here(image: str) -> bool:
    """Tell whether the engine has the image already. Raises NoImage."""
    try:
        engine().images.get(image)
    except ImageNotFound:
        return False
    return True


def pull_unless_here(image: str) -> None:
    """See to it that the engine has the image; raises NoImage."""
    if is_here(image):
        return
    try:
        engine().images.pull(image)
    except (DockerException, requests.RequestException) as error:
        raise NoImage(f"the image {image} cannot be pulled: {str(error)[:200]}") from error
