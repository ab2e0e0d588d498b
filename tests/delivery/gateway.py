"""A gateway of the suite's own: a small HTTP server that accepts, refuses, hangs, or dies."""

import json
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from registry.delivery.gateways_file import read_gateways
from registry.delivery.http_gateway import HttpGateway


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


@dataclass
class SuiteGateway:
    """What it was asked, and what it does next: `behaviour` is a status, `hang`, `die` or `echo`."""

    address: str
    behaviour: int | str = 200
    asked: list[Asked] = field(default_factory=list)
    answer: bytes = b"{}"
    let_go: threading.Event = field(default_factory=threading.Event)

    def toml(self, name: str = "suite", **more: Any) -> str:
        """A description of it for the operator's file."""
        members = {"countries": ["*"], "timeout_seconds": 1, **more}
        lines = [f"{key} = {json.dumps(value)}" for key, value in members.items()]
        return "\n".join(
            [
                "[[gateway]]",
                f'name = "{name}"',
                f'url = "{self.address}/send"',
                *lines,
                "[gateway.body]",
                'to = "{to}"',
                'from = "{sender}"',
                'text = "{text}"',
                "",
            ]
        )

    def gateway(self, name: str = "suite", **more: Any) -> HttpGateway:
        """The registry's side of it."""
        text = self.toml(name, **more)
        assert tomllib.loads(text)
        # Less patient than any that an operator may describe: a test waits for it.
        return replace(read_gateways(text, Path.read_bytes)[0], timeout_seconds=0.3)

    def texts(self) -> list[str]:
        """What it was given to send, in order."""
        return [asked.json()["text"] for asked in self.asked]


@contextmanager
def suite_gateway() -> Iterator[SuiteGateway]:
    """One that listens, on a port of its own, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            there.asked.append(Asked(self.path, dict(self.headers), body))
            if there.behaviour == "hang":
                there.let_go.wait(20)
                return
            if there.behaviour == "die":
                self.connection.close()
                return
            answer = body if there.behaviour == "echo" else there.answer
            self.send_response(400 if there.behaviour == "echo" else int(there.behaviour))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: object) -> None:
            """A connection that was closed on purpose is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    there = SuiteGateway(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield there
    finally:
        there.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()
