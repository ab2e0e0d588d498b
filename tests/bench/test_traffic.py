"""The cheap client: every request is sent once, on as many connections as asked, and a refusal is told."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.bench.traffic import send_all


class Counting(BaseHTTPRequestHandler):
    """Answers 200 with a long body; 503 to `refuse`. Notes what came, and on which connection."""

    protocol_version = "HTTP/1.1"
    came: list[tuple[bytes, int]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.came.append((body, self.client_address[1]))
        answer = b"x" * 200_000
        self.send_response(503 if body == b"refuse" else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Counting.came = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def request(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def test_each_request_is_sent_once_over_connections_that_stay_open(server: ThreadingHTTPServer) -> None:
    bodies = [b"%d" % number for number in range(50)]
    rate = send_all(server.server_port, [request(body) for body in bodies], 4)
    assert rate > 0
    assert sorted(body for body, _ in Counting.came) == sorted(bodies)
    assert len({connection for _, connection in Counting.came}) == 4


def test_fewer_requests_than_connections_are_sent_too(server: ThreadingHTTPServer) -> None:
    send_all(server.server_port, [request(b"one")], 8)
    assert [body for body, _ in Counting.came] == [b"one"]


def test_a_refused_upload_is_no_throughput(server: ThreadingHTTPServer) -> None:
    with pytest.raises(RuntimeError, match="503"):
        send_all(server.server_port, [request(b"fine"), request(b"refuse")], 1)
