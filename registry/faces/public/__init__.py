"""Phones, other registries, CDNs: files, the same bytes for everyone.

The publisher writes them, this face only hands them out. In production a web server or a bucket does so;
what it must then send is what is sent here. No cookie, no parameter, no answer that depends on who asks.
"""

import re

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
from registry.protocol.serving import OF_THE_CURRENT_SHARD, content_tag, serving_of
from registry.protocol.tiles import read_tile_path
from registry.storage import Storage

YEAR = re.compile(r"[0-9]{4}")
MOST_TAGS = 10_000


def create_public_app(storage: Storage) -> Flask:
    """The application that serves what lies in `storage`."""
    app = Flask(__name__, static_folder=None)
    # A path is taken literally: one file has one address.
    app.url_map.merge_slashes = False
    answer_with_problems(app)
    files = _Files(storage)

    @app.get("/exposures/<path:name>")
    def exposures(name: str) -> Response:
        return files.answer(f"exposures/{name}")

    @app.get(f"/{TRUST_PATH}")
    def trust() -> Response:
        return files.answer(TRUST_PATH)

    @app.get(f"/{TRUST_NOTE_PATH}")
    def trust_note() -> Response:
        return files.answer(TRUST_NOTE_PATH)

    @app.get(f"/{LOG_CHECKPOINT_PATH}")
    def checkpoint() -> Response:
        return files.answer(LOG_CHECKPOINT_PATH)

    @app.get(f"/{LOG_POLICY_PATH}")
    def policy() -> Response:
        return files.answer(LOG_POLICY_PATH)

    @app.get("/log/<year>/checkpoint")
    def checkpoint_of_year(year: str) -> Response:
        return files.answer(shard_checkpoint_path(_year(year)))

    @app.get("/log/<year>/tile/<path:name>")
    def tile_of_year(year: str, name: str) -> Response:
        return files.answer(_tile_path(_year(year), name))

    @app.get("/log/tile/<path:name>")
    def tile(name: str) -> Response:
        return files.answer(_tile_path(_current_year(storage), name), OF_THE_CURRENT_SHARD)

    return app


def _year(text: str) -> int:
    """A shard is named by four digits and nothing else."""
    if not YEAR.fullmatch(text):
        abort(404)
    return int(text)


def _current_year(storage: Storage) -> int:
    """The year at the end of the newest checkpoint's origin."""
    try:
        content = storage.read(LOG_CHECKPOINT_PATH)
        origin = decode_checkpoint(decode_note(content or b"").text).origin
    except Malformed:
        abort(404)
    return _year(origin.rpartition("/")[2])


def _tile_path(year: int, name: str) -> str:
    """Path of a tile or bundle. Only under its one canonical name (C2SP tlog-tiles)."""
    try:
        return shard_tile_path(year, read_tile_path(f"tile/{name}"))
    except Malformed:
        abort(404)


class _Files:
    """Answers with what lies in storage. Remembers the tags of files that never change."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._tags: dict[str, str] = {}

    def answer(self, path: str, cache_control: str | None = None) -> Response:
        """The file, or the part or the absence of news that was asked for; 404 if there is none."""
        try:
            serving = serving_of(path)
            content = self._storage.read(path)
        except (Malformed, OSError):
            abort(404)
        if content is None:
            abort(404)
        tag = content_tag(content) if serving.replaced else self._remembered(path, content)
        response = Response(content, content_type=serving.content_type)
        response.headers["ETag"] = tag
        response.headers["Cache-Control"] = cache_control or serving.cache_control
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.make_conditional(request, accept_ranges=True, complete_length=len(content))
        return response

    def _remembered(self, path: str, content: bytes) -> str:
        if path not in self._tags:
            if len(self._tags) >= MOST_TAGS:
                self._tags.clear()
            self._tags[path] = content_tag(content)
        return self._tags[path]
