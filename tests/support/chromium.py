"""A real Chromium without a window, told what to do over the DevTools protocol, as a person would do it."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.saga.processes import PATIENCE

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
START_SECONDS = 150
LOOK_SECONDS = 0.1


class NoChromium(Exception):
    """There is none on this machine."""


@contextmanager
def chromium(folder: Path, width: int = 1280, height: int = 700) -> Iterator[Tab]:
    """Start a browser that keeps everything in `folder`. Raises NoChromium."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise NoChromium(f"none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium-headless-shell)")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    where = [f"--user-data-dir={folder}", "--remote-debugging-port=0", f"--window-size={width},{height}"]
    with (folder / "chromium.log").open("wb") as log:
        run = [program, *arguments, *where, "about:blank"]
        process = subprocess.Popen(run, stdout=log, stderr=log, start_new_session=True)
    try:
        with connect(_socket(folder, process), max_size=None, open_timeout=START_SECONDS) as connection:
            yield Tab(connection)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # Debian's program is a script that starts the browser
        process.wait()


def _socket(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the address of the first tab, once there is one."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            port = (folder / "DevToolsActivePort").read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
            return str(tabs[0]["webSocketDebuggerUrl"])
        except (OSError, IndexError):
            time.sleep(LOOK_SECONDS)
    raise TimeoutError(f"Chromium did not start: {(folder / 'chromium.log').read_text(errors='replace')[-2000:]}")


class Tab:
    """One page."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.said: list[str] = []
        """Errors that the page wrote to its console, that nobody caught, that the network made, or its policy."""
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its result."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=200))
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]  # type: ignore[no-any-return]
            self._note(answer)

    def open(self, url: str) -> None:
        """Go there."""
        self.call("Page.navigate", url=url)

    def run(self, expression: str) -> Any:
        """Return the value of an expression; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, f"{expression}: {result['exceptionDetails']}"
        return result["result"].get("value")

    def until(self, expression: str, seconds: float = PATIENCE) -> None:
        """Wait until an expression is true; until then it may fail. TimeoutError shows the page as it is."""
        deadline = time.monotonic() + seconds
        while not self.run(f"(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:.0f} s: {expression}\n{self.text()}\n{self.said}")
            time.sleep(LOOK_SECONDS)

    def text(self) -> str:
        """Return what can be read on the page."""
        return str(self.run("document.body.innerText"))

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def dark(self, dark: bool = True) -> None:
        """Prefer dark colours, or light ones."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def resize(self, width: int, height: int) -> None:
        """Show the page in a window of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def screenshot(self, scale: float = 0.75) -> bytes:
        """Return the page as PNG."""
        width, height = self.run("[innerWidth, innerHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", clip=clip)["data"])

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.said.append(json.dumps(told["exceptionDetails"]))
        elif event.get("method") == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.said.append(json.dumps(told["args"]))
        elif event.get("method") == "Log.entryAdded":
            self.said.append(str(told["entry"]["text"]))
