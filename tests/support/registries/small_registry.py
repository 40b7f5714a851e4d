"""A schema registry that can go away and come back, with what is needed of Confluent's API, over real HTTP.

Apicurio (apicurio.py) shows that a real one works; this one forgets nothing when it is away, and needs no Java.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import UUID

from tests.support.ports import free_port

FIRST_ID = 501
"""Far from the ids that ship with the code, so that nobody takes one for the other."""


def guid_of(schema_id: int) -> UUID:
    """Return the GUID that the registry gives to the schema with this id."""
    return UUID(int=schema_id)


def context_of(subject: str) -> str:
    """Return the context that a subject is in; empty for the default one."""
    return subject.split(":")[1] if subject.startswith(":") else ""


class NotThere(Exception):
    """A subject, version or id that nobody registered (404)."""


class NoSuchPath(Exception):
    """What an older registry does not offer (404, too)."""


class SmallRegistry:
    """Subjects, versions and ids in memory; `url` stays the same from one `start` to the next."""

    def __init__(self, *, guids: bool = True) -> None:
        self._guids = guids
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._schemas: list[dict[str, Any]] = []
        self._contexts: dict[int, str] = {}
        self.asked = 0
        """So many requests."""
        self._subjects: dict[str, list[int]] = {}
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> SmallRegistry:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Be away: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def publish(self, text: str, **more: Any) -> int:
        """Take any text for a schema, as a careless registry would, and return its id; `more` goes with it."""
        self._schemas.append({"schema": text, **more})
        return FIRST_ID + len(self._schemas) - 1

    def register(self, subject: str, text: str, **more: Any) -> int:
        """Put a schema under a subject, as anybody could, and return its id."""
        known = [number for number in self._subjects.get(subject, []) if self._same(number, text)]
        if known:
            return known[0]
        number = self.publish(text, **more)
        self._subjects.setdefault(subject, []).append(number)
        self._contexts[number] = context_of(subject)
        return number

    @property
    def subjects(self) -> set[str]:
        """The subjects that somebody registered."""
        return set(self._subjects)

    def answer(self, method: str, path: list[str], body: dict[str, Any]) -> Any:
        """Answer one request; raises NotThere."""
        match method, path:
            case "GET", ["schemas", *named]:
                return self._named(named, context_of(body.get("subject", "")))
            case "GET", ["subjects", subject, "versions"]:
                return list(range(1, len(self._of(subject)) + 1))
            case "GET", ["subjects", subject, "versions", number]:
                return self._version(subject, self._of(subject)[int(number) - 1])
            case "POST", ["subjects", subject]:
                known = [number for number in self._of(subject) if self._same(number, body["schema"])]
                if not known:
                    raise NotThere
                return self._version(subject, known[0])
            case "POST", ["subjects", subject, "versions"]:
                number = self.register(subject, body.pop("schema"), **body)
                return {"id": number, **self._schema(number)}
            case (("GET" | "PUT"), ["config", _]):
                return {"compatibility": "FULL_TRANSITIVE", "compatibilityLevel": "FULL_TRANSITIVE"}
        raise NotThere

    def _named(self, path: list[str], context: str) -> Any:
        match path:
            case ["types"]:
                return ["AVRO"]
            case ["ids", number] if self._contexts.get(int(number), "") == context:
                return self._schema(int(number))
            case ["ids", _]:
                raise NotThere
            case ["guids", guid] if self._guids:
                return self._schema(UUID(guid).int)
        raise NoSuchPath

    def _schema(self, number: int) -> dict[str, Any]:
        if not FIRST_ID <= number < FIRST_ID + len(self._schemas):
            raise NotThere
        return {**self._schemas[number - FIRST_ID], "guid": str(guid_of(number))}

    def _of(self, subject: str) -> list[int]:
        if subject not in self._subjects:
            raise NotThere
        return self._subjects[subject]

    def _version(self, subject: str, number: int) -> dict[str, Any]:
        version = self._of(subject).index(number) + 1
        return {"subject": subject, "version": version, "id": number, **self._schema(number)}

    def _same(self, number: int, text: str) -> bool:
        return bool(json.loads(self._schema(number)["schema"]) == json.loads(text))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                registry.asked += 1
                where, _, query = self.path.partition("?")
                path = [unquote(part) for part in where.split("/") if part]
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(sent) if sent else dict(parse_qsl(query))
                try:
                    status, said = 200, registry.answer(self.command, path, body)
                except NoSuchPath:
                    status, said = 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
                except NotThere:
                    status, said = 404, {"error_code": 40403, "message": f"{self.path} is not there"}
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.end_headers()
                self.wfile.write(json.dumps(said).encode())

            do_GET = do_POST = do_PUT = _answer  # noqa: N815 - http.server's names

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        return Handler
