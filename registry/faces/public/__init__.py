"""Phones, other registries, CDNs: files, the same bytes for everyone.

The publisher writes them, this face only hands them out. In production a web server or a bucket does so;
what it must then send is what is sent here. No cookie, no parameter, no answer that depends on who asks.
"""

import hashlib
from functools import lru_cache
from pathlib import Path, PurePosixPath

from flask import Flask, Response, abort, request
from werkzeug.security import safe_join

from registry.faces.problems import answer_with_problems

IMMUTABLE = "public, max-age=31536000, immutable"
POLLED = "public, no-cache, max-age=0"

CONTENT_TYPES = {
    ".zip": "application/zip",
    ".json": "application/json",
    ".txt": "text/plain; charset=us-ascii",
}


def create_public_app(root: Path) -> Flask:
    """The application that serves the files below `root` (a local storage's folder)."""
    app = Flask(__name__, static_folder=None)
    answer_with_problems(app)

    @app.get("/exposures/<path:name>")
    def exposures(name: str) -> Response:
        return _file(root, PurePosixPath("exposures", name))

    @app.get("/.well-known/exposure-registry.json")
    def trust() -> Response:
        return _file(root, PurePosixPath(".well-known", "exposure-registry.json"))

    return app


def _file(root: Path, name: PurePosixPath) -> Response:
    joined = safe_join(str(root), str(name))
    content_type = CONTENT_TYPES.get(name.suffix)
    if joined is None or content_type is None or any(part.startswith(".") for part in name.parts[1:]):
        abort(404)
    path = Path(joined)
    try:
        stat = path.stat()
        etag = _digest(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        abort(404)
    response = Response(content, content_type=content_type)
    response.set_etag(etag)
    response.headers["Cache-Control"] = IMMUTABLE if _is_immutable(name) else POLLED
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.make_conditional(request, accept_ranges=True, complete_length=len(content))
    return response


def _is_immutable(name: PurePosixPath) -> bool:
    # A zip's name and an index named by its digest are written once; everything else is replaced.
    return name.suffix == ".zip" or name.parent.name == "index"


@lru_cache(maxsize=4096)
def _digest(path: Path, _modified: int, _size: int, _inode: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
