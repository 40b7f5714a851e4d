"""/metrics, /livez and /readyz of a process, served by a thread of their own."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


class Watched(Protocol):
    """A process whose health is served."""

    registry: CollectorRegistry

    def not_alive(self) -> list[str]:
        """Return why it is stuck; empty if it is not."""

    def not_ready(self) -> list[str]:
        """Return why it is not ready for work; empty if it is."""


def serve(telemetry: Watched, port: int) -> ThreadingHTTPServer:
    """Serve on all addresses at `port` (0: any free one; see `server_port`). Raises OSError when it is taken."""

    class HealthRequestHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, kind = _answer(telemetry, self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Log nothing: probes come every few seconds."""

    server = ThreadingHTTPServer(("", port), HealthRequestHandler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


def end(server: ThreadingHTTPServer) -> None:
    """Stop serving and free the port, in the background."""

    def stop() -> None:
        server.shutdown()
        server.server_close()

    threading.Thread(target=stop, name="health-end", daemon=True).start()


def _answer(telemetry: Watched, path: str) -> tuple[int, bytes, str]:
    if path == "/metrics":
        return 200, generate_latest(telemetry.registry), CONTENT_TYPE_LATEST
    if path == "/livez":
        wrong = telemetry.not_alive()
    elif path == "/readyz":
        wrong = telemetry.not_ready()
    else:
        return 404, b"try /metrics, /livez or /readyz\n", "text/plain"
    return (503 if wrong else 200), ("\n".join(wrong or ["ok"]) + "\n").encode(), "text/plain; charset=utf-8"
