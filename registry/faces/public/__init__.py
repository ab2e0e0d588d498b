"""Phones, other registries, CDNs: files, the same bytes for everyone.

The publisher writes them, this face only hands them out. In production a web server or a bucket does so;
what it must then send is what is sent here. No cookie, no parameter, no answer that depends on who asks.
"""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

from flask import Flask, Response, abort, request

from registry.errors import Malformed
from registry.faces.problems import answer_with_problems
from registry.protocol.checkpoint import decode_checkpoint
from registry.protocol.index import (
    LOG_CHECKPOINT_PATH,
    LOG_POLICY_PATH,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    shard_checkpoint_path,
    shard_tile_path,
)
from registry.protocol.note import decode_note
from registry.protocol.tiles import read_tile_path

IMMUTABLE = "public, max-age=1814400, immutable"
"""21 days: a cache must not keep a file for longer than the registry does."""
POLLED = "public, no-cache, max-age=0"
CHECKPOINT_CACHED = "public, max-age=5"
"""A log's checkpoint may be this old: whoever asks more often than that learns nothing more."""
OF_THE_CURRENT_SHARD = "public, max-age=60"
"""Under /log/tile/ there are other bytes from the day on which the year's log begins."""

PART = re.compile(r"\.well-known|[A-Za-z0-9][A-Za-z0-9.-]{0,99}")
"""A part of a public path. Nothing else is looked for on the disk: no hidden file, no way up, no odd byte."""
YEAR = re.compile(r"[0-9]{4}")
MOST_DIGESTS = 10_000

NOTE = "text/plain; charset=utf-8"
TILE = "application/octet-stream"
CONTENT_TYPES = {
    ".zip": "application/zip",
    ".json": "application/json",
    ".txt": "text/plain; charset=us-ascii",
    ".tlog-proof": NOTE,
    ".note": NOTE,
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

    @app.get(f"/{TRUST_PATH}")
    def trust() -> Response:
        return _file(root, TRUST_PATH.split("/"))

    @app.get(f"/{TRUST_NOTE_PATH}")
    def trust_note() -> Response:
        return _file(root, TRUST_NOTE_PATH.split("/"))

    @app.get(f"/{LOG_CHECKPOINT_PATH}")
    def checkpoint() -> Response:
        return _answer(root / LOG_CHECKPOINT_PATH, NOTE, CHECKPOINT_CACHED)

    @app.get(f"/{LOG_POLICY_PATH}")
    def policy() -> Response:
        return _answer(root / LOG_POLICY_PATH, NOTE, POLLED)

    @app.get("/log/<year>/checkpoint")
    def checkpoint_of_year(year: str) -> Response:
        return _answer(root / shard_checkpoint_path(_year(year)), NOTE, CHECKPOINT_CACHED)

    @app.get("/log/<year>/tile/<path:name>")
    def tile_of_year(year: str, name: str) -> Response:
        return _tile(root, _year(year), name, IMMUTABLE)

    @app.get("/log/tile/<path:name>")
    def tile(name: str) -> Response:
        return _tile(root, _current_year(root), name, OF_THE_CURRENT_SHARD)

    return app


def _year(text: str) -> int:
    """A shard is named by four digits and nothing else."""
    if not YEAR.fullmatch(text):
        abort(404)
    return int(text)


def _current_year(root: Path) -> int:
    """The year at the end of the newest checkpoint's origin."""
    try:
        content = (root / LOG_CHECKPOINT_PATH).read_bytes()
        origin = decode_checkpoint(decode_note(content).text).origin
    except (OSError, Malformed):
        abort(404)
    return _year(origin.rpartition("/")[2])


def _tile(root: Path, year: int, name: str, cache: str) -> Response:
    """A tile or bundle. Only under its one canonical path (C2SP tlog-tiles)."""
    try:
        path = shard_tile_path(year, read_tile_path(f"tile/{name}"))
    except Malformed:
        abort(404)
    return _answer(root / path, TILE, cache)


def _file(root: Path, parts: list[str]) -> Response:
    name = PurePosixPath(*parts)
    content_type = CONTENT_TYPES.get(name.suffix)
    if content_type is None or not all(PART.fullmatch(part) for part in parts):
        abort(404)
    return _answer(root / name, content_type, IMMUTABLE if _is_immutable(name) else POLLED)


def _answer(path: Path, content_type: str, cache: str) -> Response:
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            content = file.read()
    except OSError:
        abort(404)
    response = Response(content, content_type=content_type)
    response.set_etag(_digest(content, stat))
    response.headers["Cache-Control"] = cache
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.make_conditional(request, accept_ranges=True, complete_length=len(content))
    return response


def _is_immutable(name: PurePosixPath) -> bool:
    # A zip's name, and an index or manifest named by its digest, are written once; the rest is replaced.
    return name.suffix == ".zip" or name.parent.name in ("index", "manifest")


def _digest(content: bytes, stat: os.stat_result) -> str:
    """SHA-256 of `content`, remembered by the file it was read from: files are replaced, never changed."""
    file = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
    if file not in _digests:
        if len(_digests) >= MOST_DIGESTS:
            _digests.clear()
        _digests[file] = hashlib.sha256(content).hexdigest()
    return _digests[file]


_digests: dict[tuple[int, int, int, int], str] = {}
