"""Long files on their way into a bucket and out of it, in pieces, so that memory never holds one whole."""

import hashlib
import random
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from io import RawIOBase
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import PermissionDeniedError, PreconditionError

from registry.errors import StorageUnavailable
from registry.storage import PIECE_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore import ObjectMeta
    from obstore.store import S3Store

FIRST_PAUSE_SECONDS = 0.1


class SingleUpload:
    """One file of `size` bytes to be put in one request whose body is read from the disk as it is sent.

    The request's address carries a signature that is good for this one path and a few minutes; it is never
    logged, and never part of an error.
    """

    def __init__(self, source: BinaryIO, size: int, headers: Mapping[str, str]) -> None:
        self._source = source
        self._headers = {**headers, "Content-Length": str(size), "Content-MD5": _md5(source)}

    def send(self, sign: Callable[[], str], *, retries: int, longest_pause: float, timeout: float) -> bool:
        """True once it is stored, False if the name is taken.

        Raises PermissionDeniedError if the store refuses, OSError once it has failed `retries` times more.
        """
        for attempt in range(retries + 1):
            status = self._try(sign(), timeout, is_last=attempt == retries)
            if status in (200, 201):
                return True
            if status == 412:
                return False
            if status in (401, 403):
                raise PermissionDeniedError(f"HTTP {status}")
            # 409: two conditional puts met, and the store wants this one again. The rest is its own trouble.
            pause = min(FIRST_PAUSE_SECONDS * 2**attempt, longest_pause)
            if attempt < retries:
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads retries, hides nothing
        raise OSError(f"the store answered HTTP {status}")

    def _try(self, url: str, timeout: float, *, is_last: bool) -> int:
        """The answer's status; 503 for none at all, unless it was the last try."""
        address = urlsplit(url)
        connection = (
            HTTPSConnection(address.netloc, timeout=timeout, context=ssl.create_default_context())
            if address.scheme == "https"
            else HTTPConnection(address.netloc, timeout=timeout)
        )
        connection.blocksize = PIECE_BYTES
        self._source.seek(0)
        try:
            connection.request("PUT", f"{address.path}?{address.query}", self._source, self._headers)
            return connection.getresponse().status
        except (OSError, HTTPException) as error:
            if is_last:
                raise OSError(f"no answer: {type(error).__name__}") from error
            return 503
        finally:
            with suppress(OSError):
                connection.close()


def _md5(source: BinaryIO) -> str:
    """What the store compares the bytes with that came over the network (RFC 1864)."""
    digest = hashlib.md5(usedforsecurity=False)
    source.seek(0)
    while piece := source.read(PIECE_BYTES):
        digest.update(piece)
    return b64encode(digest.digest()).decode("ascii")


class BucketFile(RawIOBase):
    """A file in a bucket as it was when it was opened; each read is a request for a range of it.

    Raises StorageUnavailable if other bytes have taken its name since.
    """

    def __init__(
        self,
        store: "S3Store",
        key: str,
        found: "ObjectMeta",
        asking: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._store = store
        self._key = key
        self._size = found["size"]
        self._tag = found["e_tag"]
        self._asking = asking
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        into = memoryview(buffer).cast("B")
        end = min(self._at + len(into), self._size)
        if end <= self._at:
            return 0
        with self._asking():
            try:
                answer = obstore.get(
                    self._store, self._key, options={"range": (self._at, end), "if_match": self._tag}
                )
                piece = memoryview(answer.bytes())
            except (PreconditionError, FileNotFoundError) as error:
                raise StorageUnavailable(f"{self._key} was replaced meanwhile: read it again") from error
        into[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
