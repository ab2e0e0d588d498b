"""Phones, other registries, CDNs: files, the same bytes for everyone.

The publisher writes them, this face only hands them out. In production a web server or a bucket does so;
what it must then send is what is sent here. No cookie, no parameter, no answer that depends on who asks.
"""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

from flask import Flask, Response, abort, request

from registry.faces.problems import answer_with_problems

IMMUTABLE = "public, max-age=1814400, immutable"
"""21 days: a cache must not keep a file for longer than the registry does."""
POLLED = "public, no-cache, max-age=0"

PART = re.compile(r"\.well-known|[A-Za-z0-9][A-Za-z0-9.-]{0,99}")
"""A part of a public path. Nothing else is looked for on the disk: no hidden file, no way up, no odd byte."""
MOST_DIGESTS = 10_000

CONTENT_TYPES = {
    ".zip": "application/zip",
    ".json": "application/json",
    ".txt": "text/plain; charset=us-ascii",
}


def create_public_app(root: Path) -> Flask:
    """The application that serves the files below `root` (a local storage's folder)."""
    app = Flask(__name__, static_folder=None)
    # A path is taken literally: one file has one address.
    app.url_map.merge_slashes = False
    answer_with_problems(app)

    @app.get("/exposures/<path:name>")
    def exposures(name: str) -> Response:
        return _file(root, ["exposures", *name.split("/")])

    @app.get("/.well-known/exposure-registry.json")
    def trust() -> Response:
        return _file(root, [".well-known", "exposure-registry.json"])

    return app


def _file(root: Path, parts: list[str]) -> Response:
    name = PurePosixPath(*parts)
    content_type = CONTENT_TYPES.get(name.suffix)
    if content_type is None or not all(PART.fullmatch(part) for part in parts):
        abort(404)
    try:
        with (root / name).open("rb") as file:
            stat = os.fstat(file.fileno())
            content = file.read()
    except OSError:
        abort(404)
    response = Response(content, content_type=content_type)
    response.set_etag(_digest(content, stat))
    response.headers["Cache-Control"] = IMMUTABLE if _is_immutable(name) else POLLED
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.make_conditional(request, accept_ranges=True, complete_length=len(content))
    return response


def _is_immutable(name: PurePosixPath) -> bool:
    # A zip's name and an index named by its digest are written once; everything else is replaced.
    return name.suffix == ".zip" or name.parent.name == "index"


def _digest(content: bytes, stat: os.stat_result) -> str:
    """SHA-256 of `content`, remembered by the file it was read from: files are replaced, never changed."""
    file = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
    if file not in _digests:
        if len(_digests) >= MOST_DIGESTS:
            _digests.clear()
        _digests[file] = hashlib.sha256(content).hexdigest()
    return _digests[file]


_digests: dict[tuple[int, int, int, int], str] = {}
