"""The transport that phones use, against a real HTTP server on this machine."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from registry.client import Answer, HttpTransport
from registry.client.failures import NoAnswer, Throttled, TooLarge, UnexpectedStatus
from registry.client.transport import USER_AGENT, retry_time, unexpected

NOW = 1_781_524_800.0


class Recorder(BaseHTTPRequestHandler):
    """Answers by path and keeps what it was sent."""

    seen: list[tuple[str, str, dict[str, str], bytes]]

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, self.path, dict(self.headers), body))
        if self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
            return
        content = b"hello" if self.path != "/zeros" else gzip.compress(bytes(10_000_000))
        self.send_response(302 if self.path == "/elsewhere" else 200)
        self.send_header("Location", "/stolen")
        self.send_header("Set-Cookie", "phone=7")
        self.send_header("ETag", '"x"')
        if self.path == "/zeros":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server whose requests stand in `Recorder.seen`."""
    Recorder.seen = []
    with HTTPServer(("127.0.0.1", 0), Recorder) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_every_phone_sends_the_same_headers(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login bob password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    transport = HttpTransport()
    for _ in range(2):
        assert transport.get(f"{server}/", {}, 100).body == b"hello"
    first, second = (headers for _, _, headers, _ in Recorder.seen)
    assert first == second, "no cookie comes back"
    assert first["User-Agent"] == USER_AGENT
    assert set(first) == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}


def test_an_answer_has_its_status_headers_and_body(server: str) -> None:
    answer = HttpTransport().post(f"{server}/v1/publish", {"X-Some": "thing"}, b"{}", 100)
    assert (answer.status, answer.headers["etag"], answer.body) == (200, '"x"', b"hello")
    method, path, headers, body = Recorder.seen[0]
    assert (method, path, headers["X-Some"], body) == ("POST", "/v1/publish", "thing", b"{}")


def test_redirects_are_not_followed(server: str) -> None:
    assert HttpTransport().get(f"{server}/elsewhere", {}, 100).status == 302
    assert len(Recorder.seen) == 1


def test_reading_stops_at_the_limit_also_within_a_compressed_answer(server: str) -> None:
    with pytest.raises(TooLarge):
        HttpTransport().get(f"{server}/", {}, 4)
    assert HttpTransport().get(f"{server}/", {}, 5).body == b"hello"
    with pytest.raises(TooLarge):
        HttpTransport().get(f"{server}/zeros", {}, 1_000_000)


def test_a_cut_answer_is_no_answer(server: str) -> None:
    with pytest.raises(NoAnswer):
        HttpTransport().get(f"{server}/cut", {}, 10_000)


def test_an_answer_that_drips_is_given_up(server: str) -> None:
    times = iter([0.0, 1_000.0])
    with pytest.raises(NoAnswer, match="too slowly"):
        HttpTransport(monotonic=lambda: next(times)).get(f"{server}/", {}, 100)


def test_nobody_there() -> None:
    with pytest.raises(NoAnswer):
        HttpTransport().get("http://127.0.0.1:9/", {}, 100)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "90"}, 90),
        ({"retry-after": "Mon, 15 Jun 2026 12:01:30 GMT"}, 90),
        ({"x-retry-after": "Mon, 15 Jun 2026 12:01:30 GMT"}, 90),
        ({"retry-after": "30", "x-retry-after": "90"}, 90),
        ({"retry-after": "Mon, 15 Jun 2020 12:01:30 GMT"}, 0),
        ({"retry-after": "9" * 5000}, 86_400),
        ({"retry-after": "Tue, 15 Jun 2066 12:01:30 GMT"}, 86_400),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "Mon, 99 Jun 2026 99:99:99 GMT"}, None),
    ],
)
def test_when_to_come_again(headers: dict[str, str], seconds: float | None) -> None:
    expected = None if seconds is None else NOW + seconds
    assert retry_time(Answer(503, headers, b""), NOW) == expected


def test_a_status_becomes_an_error_of_its_kind() -> None:
    assert type(unexpected(Answer(404, {}, b""), "it", NOW)) is UnexpectedStatus
    assert type(unexpected(Answer(429, {}, b""), "it", NOW)) is Throttled
    assert type(unexpected(Answer(500, {"retry-after": "1"}, b""), "it", NOW)) is Throttled


def test_a_registry_on_this_machine_is_not_asked_of_a_proxy(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert HttpTransport().get(server, {}, 1_000_000).status == 200
    with pytest.raises(NoAnswer):
        HttpTransport().get("http://registry.example/", {}, 1_000_000)


@pytest.mark.parametrize(
    "url",
    [
        "http://[x/checkpoint",
        "http://\u2100.example/checkpoint",
        f"http://{'a' * 80}.example/checkpoint",
        "http://.example/checkpoint",
        "http://a:99999/checkpoint",
        "http:///checkpoint",
        "no-address",
    ],
    ids=lambda url: ascii(url)[:30],
)
def test_an_address_that_is_none_is_no_answer(url: str) -> None:
    """Trust material names witnesses' addresses, and anybody may have made it."""
    with pytest.raises(NoAnswer):
        HttpTransport().get(url, {}, 1000)
