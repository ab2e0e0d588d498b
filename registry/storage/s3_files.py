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
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Literal
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

Sign = Callable[[Literal["PUT", "HEAD"]], str]
"""Makes a signed address for one request of this method."""


class SingleUpload:
    """One file of `size` bytes to be put in one request whose body is read from the disk as it is sent.

    The request's address carries a signature that is good for this one path and a few minutes; it is never
    logged, and never part of an error.
    """

    def __init__(self, source: BinaryIO, size: int, headers: Mapping[str, str]) -> None:
        self._source = source
        self._headers = {**headers, "Content-Length": str(size), "Content-MD5": _md5(source)}

    def send(self, sign: Sign, *, retries: int, longest_pause: float, timeout: float) -> bool:
        """True once it is stored, False if the name is taken.

        Raises PermissionDeniedError if the store refuses, OSError once it has failed `retries` times more.
        """
        answer: int | Exception = 0
        for attempt in range(retries + 1):
            self._source.seek(0)
            answer = _ask(sign("PUT"), "PUT", timeout, self._source, self._headers)
            if answer in (200, 201):
                return True
            # A store may refuse by the headers alone and reset the connection before its answer is read; and
            # what a try stored whose answer was lost lies there too.
            if answer == 412 or (isinstance(answer, Exception) and lies_there(sign, timeout)):
                return False
            if answer in (401, 403):
                raise PermissionDeniedError(f"HTTP {answer}")
            # 409: two conditional puts met, and the store wants this one again. The rest is its own trouble.
            pause = min(FIRST_PAUSE_SECONDS * 2**attempt, longest_pause)
            if attempt < retries:
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads retries, hides nothing
        if isinstance(answer, Exception):
            raise OSError(f"no answer: {type(answer).__name__}") from answer
        raise OSError(f"the store answered HTTP {answer}")


def lies_there(sign: Sign, timeout: float) -> bool:
    """Whether the store says that the name is taken; asked once, and False if it says nothing."""
    return _ask(sign("HEAD"), "HEAD", timeout) == 200


def _ask(
    url: str,
    method: str,
    timeout: float,
    body: BinaryIO | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> int | Exception:
    """The answer's status, or why there is none."""
    address = urlsplit(url)
    connection = (
        HTTPSConnection(address.netloc, timeout=timeout, context=ssl.create_default_context())
        if address.scheme == "https"
        else HTTPConnection(address.netloc, timeout=timeout)
    )
    connection.blocksize = PIECE_BYTES
    cut_off: OSError | None = None
    try:
        connection.connect()
        try:
            connection.request(method, f"{address.path}?{address.query}", body, headers)
        except ConnectionError as error:
            # The store reads no further: what it has answered to the headers may lie here already.
            cut_off = error
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return error
    finally:
        with suppress(OSError):
            connection.close()
    # Whatever it calls half a file, that one is not stored.
    return cut_off if cut_off is not None and status < 400 else status


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
