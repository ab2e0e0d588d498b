"""What is particular to a bucket: headers, lost answers, a store that fails, what is never told."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from random import Random

import obstore
import pytest
import requests

from registry.errors import Malformed, StorageUnavailable
from registry.protocol.serving import stored_headers
from registry.storage.s3 import WHOLE_IN_MEMORY_BYTES, BucketPlace, Credentials, Patience, S3Storage
from tests.storage.seaweedfs import BUCKET, CREDENTIALS, SeaweedServer

ZIP = "exposures/XA/1700000000-1700003600-00001.zip"
HASTY = Patience(retries=2, longest_pause=0.05, connect_seconds=2, call_seconds=5)
LONG = Random(2).randbytes(WHOLE_IN_MEMORY_BYTES + 1)


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"s3/{abs(hash(request.node.name))}"


@pytest.fixture
def storage(seaweed: SeaweedServer, prefix: str) -> S3Storage:
    return S3Storage(seaweed.place(prefix), stored_headers)


@pytest.mark.parametrize("content", [b"short", LONG], ids=["short", "long"])
def test_a_file_lies_there_with_the_headers_of_the_table(
    seaweed: SeaweedServer, storage: S3Storage, prefix: str, content: bytes
) -> None:
    path = ZIP.replace("00001", f"{len(content):05d}")
    storage.put_new_file(path, BytesIO(content))
    answer = requests.get(seaweed.address(path, prefix), timeout=10)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Cache-Control"] == "public, max-age=1814400, immutable"


def test_strangers_may_read_and_not_write(seaweed: SeaweedServer, storage: S3Storage, prefix: str) -> None:
    storage.put_new(ZIP, b"ours")
    assert requests.put(seaweed.address(ZIP, prefix), data=b"theirs", timeout=10).status_code == 403
    assert requests.delete(seaweed.address(ZIP, prefix), timeout=10).status_code == 403
    assert storage.read(ZIP) == b"ours"


def test_what_no_public_file_is_called_is_not_stored(storage: S3Storage) -> None:
    for path in ("registry.json", "keys/export/310-v1.pem", "exposures/XA/index.html"):
        with pytest.raises(Malformed):
            storage.put_new(path, b"x")
        with pytest.raises(Malformed):
            storage.replace(path, b"x")
        with pytest.raises(Malformed):
            storage.put_new_file(path, BytesIO(LONG))
    assert storage.names("") == []


def test_a_key_that_may_not_is_told_what_to_look_at(seaweed: SeaweedServer) -> None:
    wrong = Credentials(CREDENTIALS.access_key_id, "not-the-secret")
    place = BucketPlace(seaweed.endpoint, BUCKET, "us-east-1", "", wrong)
    storage = S3Storage(place, stored_headers, HASTY)
    for attempt in (lambda: storage.put_new(ZIP, b"x"), lambda: storage.put_new_file(ZIP, BytesIO(LONG))):
        with pytest.raises(StorageUnavailable, match="key in the credentials file") as refused:
            attempt()
        assert "not-the-secret" not in str(refused.value)


def test_a_store_that_is_not_there_is_told_plainly_and_soon() -> None:
    nowhere = BucketPlace("http://127.0.0.1:9", BUCKET, "us-east-1", "", CREDENTIALS)
    storage = S3Storage(nowhere, stored_headers, HASTY)
    for attempt in (
        lambda: storage.read(ZIP),
        lambda: storage.put_new(ZIP, b"x"),
        lambda: storage.put_new_file(ZIP, BytesIO(LONG)),
        lambda: storage.replace(ZIP, b"x"),
        lambda: storage.open_file(ZIP),
        lambda: storage.delete(ZIP),
        lambda: storage.names("exposures/"),
    ):
        with pytest.raises(StorageUnavailable, match="see that the store is up"):
            attempt()


def test_nothing_of_the_surroundings_is_read(
    seaweed: SeaweedServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT", "http://127.0.0.1:9"),
        ("AWS_ACCESS_KEY_ID", "another"),
        ("AWS_SECRET_ACCESS_KEY", "another"),
        ("AWS_SESSION_TOKEN", "another"),
        ("AWS_REGION", "nowhere-1"),
        ("AWS_SKIP_SIGNATURE", "true"),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"),
        ("AWS_CONDITIONAL_PUT", "disabled"),
    ):
        monkeypatch.setenv(name, value)
    storage = S3Storage(seaweed.place(prefix), stored_headers, HASTY)
    assert storage.put_new(ZIP, b"x") is True
    assert storage.put_new(ZIP, b"y") is False


def test_the_secret_is_never_shown(seaweed: SeaweedServer) -> None:
    assert CREDENTIALS.secret_access_key not in repr(seaweed.place())
    assert CREDENTIALS.access_key_id not in repr(seaweed.place())


# ------------------------------------------------------------------ answers that are lost


class Middleman(BaseHTTPRequestHandler):
    """Passes puts on to the store. The first `lost` answers never arrive, though the store has done them."""

    protocol_version = "HTTP/1.1"
    store = ""
    lost = 0
    seen = 0

    def do_PUT(self) -> None:
        type(self).seen += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = requests.put(f"{self.store}{self.path}", body, headers=dict(self.headers), timeout=10)
        if type(self).seen <= self.lost:
            self.connection.close()
            self.close_connection = True
            return
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        if "ETag" in answer.headers:
            self.send_header("ETag", answer.headers["ETag"])
        self.end_headers()
        self.wfile.write(answer.content)

    def do_HEAD(self) -> None:
        answer = requests.head(f"{self.store}{self.path}", headers=dict(self.headers), timeout=10)
        self.send_response(answer.status_code)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Quiet."""


@contextmanager
def losing_answers(store: str, lost: int) -> Iterator[tuple[str, type[Middleman]]]:
    kind = type("Losing", (Middleman,), {"store": store, "lost": lost, "seen": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", kind
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("content", [b"short", LONG], ids=["short", "long"])
def test_a_put_whose_answer_is_lost_is_found_by_whoever_tries_again(
    seaweed: SeaweedServer, storage: S3Storage, prefix: str, content: bytes
) -> None:
    """Not told apart from another's win; what lies there is whole, and ours to adopt."""
    with losing_answers(seaweed.endpoint, lost=1) as (address, kind):
        place = BucketPlace(address, BUCKET, "us-east-1", prefix, CREDENTIALS)
        through = S3Storage(place, stored_headers, HASTY)
        assert through.put_new_file(ZIP, BytesIO(content)) is False
        assert kind.seen <= 2
    assert storage.read(ZIP) == content


# ------------------------------------------------------------------ stores that answer before they have read


class HeadersOnly:
    """A store that looks at a put's headers only: says that the name is taken, and reads no further.

    `politely`: it takes a little more, shuts its own side and waits, as Go's servers do. Otherwise it resets
    the connection, and its answer, if there was one, may be lost. `taken` is what it says to HEAD.
    """

    def __init__(self, *, politely: bool, taken: bool = True) -> None:
        self.politely = politely
        self.taken = taken
        self.puts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def place(self) -> BucketPlace:
        address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        return BucketPlace(address, BUCKET, "us-east-1", "", CREDENTIALS)

    def __enter__(self) -> "HeadersOnly":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(1)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65_536)
        if head.startswith(b"HEAD"):
            status = b"200 OK" if self.taken else b"404 Not Found"
            connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
            return
        self.puts += 1
        if not self.politely:
            # Reset at once, with nothing sent.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        connection.sendall(
            b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        read = 0
        while read < 256 << 10 and (piece := connection.recv(65_536)):
            read += len(piece)
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.2)


VERY_LONG = bytes(24 << 20)
"""More than sockets hold on the way."""


@pytest.mark.parametrize("politely", [True, False], ids=["answers", "resets"])
@pytest.mark.parametrize("content", [b"short", VERY_LONG], ids=["short", "long"])
def test_a_name_that_is_taken_is_found_taken_though_nobody_reads_the_file(
    content: bytes, *, politely: bool
) -> None:
    with HeadersOnly(politely=politely) as store:
        storage = S3Storage(store.place(), stored_headers, HASTY)
        assert storage.put_new_file(ZIP, BytesIO(content)) is False
        assert politely is False or store.puts == 1
        assert storage.put_new(ZIP, content) is False


def test_tries_are_bounded_where_no_answer_comes_and_nothing_lies_there() -> None:
    with HeadersOnly(politely=False, taken=False) as store:
        storage = S3Storage(store.place(), stored_headers, HASTY)
        with pytest.raises(StorageUnavailable):
            storage.put_new_file(ZIP, BytesIO(VERY_LONG))
        assert store.puts == HASTY.retries + 1


def test_what_is_garbled_on_the_way_is_not_stored(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Garbled(BytesIO):
        """Reads as one file the first time, as another afterwards."""

        rounds = 0

        def seek(self, offset: int, whence: int = 0) -> int:
            if (offset, whence) == (0, 0):
                self.rounds += 1
                if self.rounds > 2:
                    self.getbuffer()[5] ^= 1
            return super().seek(offset, whence)

    impatient = Patience(retries=0, longest_pause=0.01, call_seconds=5)
    monkeypatch.setattr(storage, "_patience", impatient)
    with pytest.raises(StorageUnavailable):
        storage.put_new_file(ZIP, Garbled(LONG))
    assert storage.read(ZIP) is None


def test_a_small_file_keeps_the_md5_for_its_tag(seaweed: SeaweedServer, prefix: str) -> None:
    """Which phones compute: a file in several parts would have another."""
    storage = S3Storage(seaweed.place(prefix), stored_headers)
    content = b"x" * (6 << 20)  # the store's library would send this in parts
    storage.replace("exposures/XA/index.txt", content)
    tag = requests.head(seaweed.address("exposures/XA/index.txt", prefix), timeout=10).headers["ETag"]
    assert obstore.head(storage._store, "exposures/XA/index.txt")["e_tag"] == tag
    assert "-" not in tag
