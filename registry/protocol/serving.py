"""How each public file is to be served, by its path: type, how long caches keep it, whether it is compressed.

The one table for the public face, a bucket and a web server in front of the folder. Nothing in an answer may
depend on who asks, so nothing here does. Also the validators that a phone computes from what it holds; it
never sends one that it was given.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from registry.errors import Malformed

IMMUTABLE = "public, max-age=1814400, immutable"
"""21 days: a cache must not keep a file for longer than the registry does."""
POLLED = "public, no-cache, max-age=0"
CHECKPOINT_CACHED = "public, max-age=5"
"""A log's checkpoint may be this old: whoever asks more often than that learns nothing more."""
OF_THE_CURRENT_SHARD = "public, max-age=60"
"""Under /log/tile/ there are other bytes from the day on which the year's log begins."""

JSON = "application/json"
ZIP = "application/zip"
NOTE = "text/plain; charset=utf-8"
NAMES = "text/plain; charset=us-ascii"
BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Serving:
    """Content-Type and Cache-Control of a file, and whether its bytes are worth compressing."""

    content_type: str
    cache_control: str
    compressed: bool = False

    @property
    def replaced(self) -> bool:
        """Whether the name is given other bytes as time goes by."""
        return self.cache_control != IMMUTABLE


_REGION = r"exposures/[A-Z0-9-]{2,10}/"
_FILE = rf"{_REGION}(?:daily/)?[A-Za-z0-9][A-Za-z0-9-]{{0,99}}"
_TRUST = r"\.well-known/exposure-registry\.json"
_TILE = r"log/[0-9]{4}/tile/(?:entries|[0-9]{1,2})/(?:x[0-9]{3}/){0,6}[0-9]{3}(?:\.p/[0-9]{1,3})?"

_TABLE = tuple(
    (re.compile(pattern), serving)
    for pattern, serving in (
        (rf"{_FILE}\.zip", Serving(ZIP, IMMUTABLE)),
        (rf"{_FILE}\.compact", Serving(BYTES, IMMUTABLE)),
        (rf"{_REGION}index/[0-9a-f]{{64}}\.json", Serving(JSON, IMMUTABLE, compressed=True)),
        (rf"{_REGION}manifest/[0-9a-f]{{64}}\.json", Serving(JSON, IMMUTABLE)),
        (rf"{_REGION}index\.json", Serving(JSON, POLLED, compressed=True)),
        (rf"{_REGION}(?:daily/)?index\.txt", Serving(NAMES, POLLED, compressed=True)),
        (rf"{_REGION}index\.json\.tlog-proof", Serving(NOTE, POLLED)),
        (_TRUST, Serving(JSON, POLLED, compressed=True)),
        (rf"{_TRUST}\.note", Serving(NOTE, POLLED)),
        (r"log/(?:[0-9]{4}/)?checkpoint|log/[0-9]{4}/signed", Serving(NOTE, CHECKPOINT_CACHED)),
        (r"log/policy", Serving(NOTE, POLLED)),
        (_TILE, Serving(BYTES, IMMUTABLE)),
    )
)
"""Nothing else is looked for anywhere: no hidden file, no way up, no odd byte."""


def serving_of(path: str) -> Serving:
    """How the public file at `path` is served. Raises Malformed for a path that no public file has."""
    for pattern, serving in _TABLE:
        if pattern.fullmatch(path):
            return serving
    raise Malformed(f"no public file has the path {path[:80]!r}")


def stored_headers(path: str) -> Mapping[str, str]:
    """The headers that a bucket keeps with a file. Raises Malformed."""
    serving = serving_of(path)
    return {"Content-Type": serving.content_type, "Cache-Control": serving.cache_control}


def content_tag(content: bytes) -> str:
    """The ETag that our own face gives: SHA-256 in hex, quoted."""
    return f'"{hashlib.sha256(content).hexdigest()}"'


def file_time(content: bytes) -> int:
    """The time, in unix seconds, that a file with this content is given where a web server serves it.

    A web server makes its ETag of a file's time and size. Taken from the content, both are the same on
    every machine, and a phone can compute them. 31 bits of the SHA-256: any file system can keep it.
    """
    return int.from_bytes(hashlib.sha256(content).digest()[:4], "big") & 0x7FFFFFFF


def known_tags(content: bytes) -> str:
    """`If-None-Match` of a phone that holds `content`, computed from nothing else.

    One tag for each way of serving: our face (SHA-256), nginx in front of the folder (hexadecimal time
    and size), a bucket (MD5, as S3 has it). All phones with the same content send the same line.
    """
    served_by_nginx = f'"{file_time(content):x}-{len(content):x}"'
    served_by_bucket = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    return ", ".join((content_tag(content), served_by_nginx, served_by_bucket))
