"""A made log behind HTTP on loopback, as tlog-tiles prescribes, and nothing else."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from registry.errors import Malformed
from registry.protocol.tiles import read_tile_path
from tests.protocol.made_log import MadeLog

_TEXT = "text/plain; charset=utf-8"
_OCTETS = "application/octet-stream"


@contextmanager
def served(log: MadeLog, checkpoints: dict[str, bytes], prefix: str = "log/2026") -> Iterator[str]:
    """Serves the log's tiles and `checkpoints["checkpoint"]` as they are when asked; yields their prefix."""

    class Face(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self._content(re.sub(rf"^/{prefix}/", "", self.path))
            self.send_response(404 if found is None else 200)
            content_type, content = found or (_TEXT, b"")
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _content(self, path: str) -> tuple[str, bytes] | None:
            if path in checkpoints:
                return _TEXT, checkpoints[path]
            try:
                read_tile_path(path)
            except Malformed:
                return None
            return (_OCTETS, log.files[path]) if path in log.files else None

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the library's name
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Face)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{prefix}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
