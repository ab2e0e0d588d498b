"""Public files in a bucket of any S3-compatible store, fetched from there by phones or by a CDN.

A new name is taken by a conditional put (`If-None-Match: *`), so that of many writers the store itself
picks one; a store that ignores the condition must not be used. Every file goes in with the headers that it
is to be served with. Nothing of the surroundings (AWS_* variables, instance roles) is ever read.

What a try did whose answer was lost cannot be known: the next one finds the name taken, perhaps by itself.
So `put_new` says False then, and whoever called compares what lies there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from io import BufferedReader
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from registry.errors import StorageUnavailable
from registry.storage import path_parts
from registry.storage.s3_files import BucketFile, Sign, SingleUpload, lies_there

if TYPE_CHECKING:
    from obstore.store import S3Credential

Headers = Callable[[str], Mapping[str, str]]
"""By public path the headers to serve it with, as `protocol/serving.py` has them; Malformed for any other."""

WHOLE_IN_MEMORY_BYTES = 4 << 20
"""What is longer is sent in pieces, and read in pieces of this size."""
READ_AHEAD_BYTES = 4 << 20
UPLOAD_LINK_LIFE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens a bucket. Never shown, not even by `repr`."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """A bucket, and the part of it below `prefix` (no slash at either end; empty for all of it)."""

    endpoint: str
    bucket: str
    region: str
    prefix: str
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a call is repeated after it failed, and how many seconds each may take."""

    retries: int = 4
    longest_pause: float = 5.0
    connect_seconds: float = 10.0
    call_seconds: float = 60.0


class S3Storage:
    """A `Storage` in a bucket that exists. Safe for many writers at once, and for threads."""

    def __init__(self, place: BucketPlace, headers: Headers, patience: Patience | None = None) -> None:
        self._place = place
        self._headers = headers
        self._patience = patience or Patience()
        self._store = _open_store(place, self._patience)

    def put_new(self, path: str, content: bytes) -> bool:
        key = _key(path)
        with self._asking("store", path):
            try:
                # A conditional put is never a multipart one: its bytes are in one request.
                obstore.put(self._store, key, content, attributes=dict(self._headers(path)), mode="create")
            except AlreadyExistsError:
                return False
            except (PermissionDeniedError, UnauthenticatedError):
                raise
            except BaseError:
                # A refusal, or a success, whose answer was lost with the connection.
                if lies_there(self._signing(path), self._patience.call_seconds):
                    return False
                raise
        return True

    def put_new_file(self, path: str, source: BinaryIO) -> bool:
        size = source.seek(0, 2)
        source.seek(0)
        if size <= WHOLE_IN_MEMORY_BYTES:
            return self.put_new(path, source.read())
        # Completing a multipart upload under a condition is what many stores ignore. One put, however
        # long, is conditional wherever put_new is; the store's library would hold it whole in memory.
        headers = {**self._headers(path), "If-None-Match": "*"}
        upload = SingleUpload(source, size, headers)
        with self._asking("store", path):
            return upload.send(
                self._signing(path),
                retries=self._patience.retries,
                longest_pause=self._patience.longest_pause,
                timeout=self._patience.call_seconds,
            )

    def replace(self, path: str, content: bytes) -> None:
        with self._asking("store", path):
            # One request: with several, a store's ETag would not be the MD5 that phones compute.
            obstore.put(
                self._store,
                _key(path),
                content,
                attributes=dict(self._headers(path)),
                mode="overwrite",
                use_multipart=False,
            )

    def read(self, path: str) -> bytes | None:
        with self._asking("read", path):
            try:
                return obstore.get(self._store, _key(path)).bytes().to_bytes()
            except FileNotFoundError:
                return None

    def open_file(self, path: str) -> BinaryIO | None:
        key = _key(path)
        with self._asking("read", path):
            try:
                found = obstore.head(self._store, key)
            except FileNotFoundError:
                return None
        raw = BucketFile(self._store, key, found, lambda: self._asking("read", path))
        return BufferedReader(raw, READ_AHEAD_BYTES)

    def delete(self, path: str) -> None:
        with self._asking("delete", path):
            try:
                obstore.delete(self._store, _key(path))
            except FileNotFoundError:
                return

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        folder = prefix.rpartition("/")[0]
        start = _key(folder) if folder else None
        with self._asking("list", prefix):
            if deep:
                found = [one["path"] for part in obstore.list(self._store, start) for one in part]
            else:
                found = [one["path"] for one in obstore.list_with_delimiter(self._store, start)["objects"]]
        return sorted(path for path in found if path.startswith(prefix))

    def _signing(self, path: str) -> Sign:
        return lambda method: obstore.sign(self._store, method, _key(path), UPLOAD_LINK_LIFE)

    @contextmanager
    def _asking(self, act: str, path: str) -> Iterator[None]:
        """Turns the store's errors into ours. Their text is left out: it can quote a request."""
        place = f"the bucket {self._place.bucket} at {self._place.endpoint}"
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise StorageUnavailable(
                f"{place} refuses to {act} {path!r}: see that the key in the credentials file is the right "
                "one and may read, write, list and delete there, and that this machine's clock is right"
            ) from error
        except (BaseError, OSError) as error:
            raise StorageUnavailable(
                f"{place} failed to {act} {path!r} ({type(error).__name__}): see that the store is up, the "
                "bucket exists and the disk behind it is not full; then run again, which mends what was begun"
            ) from error


def _key(path: str) -> str:
    return "/".join(path_parts(path))


def _open_store(place: BucketPlace, patience: Patience) -> S3Store:
    key: S3Credential = {
        "access_key_id": place.credentials.access_key_id,
        "secret_access_key": place.credentials.secret_access_key,
        "token": None,
        "expires_at": None,
    }
    return S3Store(
        place.bucket,
        prefix=place.prefix or None,
        # Each of these is said, for what is not said is looked up in AWS_* variables.
        endpoint=place.endpoint,
        region=place.region,
        credential_provider=lambda: key,
        conditional_put="etag",
        virtual_hosted_style_request=False,
        skip_signature=False,
        unsigned_payload=False,
        client_options={
            "allow_http": place.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=patience.connect_seconds),
            "timeout": timedelta(seconds=patience.call_seconds),
            "user_agent": "exposure-registry-publisher",
        },
        retry_config={
            "max_retries": patience.retries,
            "backoff": {
                # Less than the longest: the library's backoff panics otherwise.
                "init_backoff": timedelta(seconds=min(0.1, patience.longest_pause / 2)),
                "max_backoff": timedelta(seconds=patience.longest_pause),
                "base": 2,
            },
            "retry_timeout": timedelta(seconds=2 * patience.call_seconds),
        },
    )
