"""The public host as deploy/nginx ships it, in front of a folder that the publisher has written.

What nginx sends must be what the public face sends, and the same for everybody.
"""

import gzip
import random
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest

from registry.client import Answer, Enrolment, Phone
from registry.client.transport import HttpTransport
from registry.protocol.serving import IMMUTABLE, file_time, known_tags, serving_of
from registry.storage.served_folder import ServedFolder
from tests.clock import FakeClock
from tests.nginx import SHIPPED, SITE, check_configuration, free_port, has_ipv6, lay_out, serving
from tests.world import World

DIGEST = "0" * 64
ZIP = "exposures/XA/1700000000-1700003600-00001.zip"
INDEX = "exposures/XA/index.json"
LEGACY = "exposures/XA/index.txt"
PROOF = "exposures/XA/index.json.tlog-proof"
TRUST = ".well-known/exposure-registry.json"
COMPRESSED = [INDEX, LEGACY, f"exposures/XA/index/{DIGEST}.json", TRUST, "exposures/XA/daily/index.txt"]
FILES = [
    *COMPRESSED,
    *(ZIP, ZIP.replace(".zip", ".compact"), PROOF, f"{TRUST}.note", f"exposures/XA/manifest/{DIGEST}.json"),
    *("log/checkpoint", "log/2026/checkpoint", "log/2026/signed", "log/policy"),
    *("log/2026/tile/0/x001/067", "log/2026/tile/0/x001/067.p/3", "log/2026/tile/entries/000"),
]
ONE_MINUTE = 60


@dataclass(frozen=True)
class Got:
    """An answer as it came over the wire: nothing unpacked."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class PublicHost:
    """nginx in front of `folder`."""

    port: int
    folder: Path
    where: Path

    def get(self, path: str, **headers: str) -> Got:
        return self.ask("GET", path, headers)

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Got:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Got(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()


def content_of(path: str) -> bytes:
    return f"content of {path}, ".encode() * 40


@pytest.fixture
def host(system_tool: Callable[[str], str], tmp_path: Path) -> Iterator[PublicHost]:
    public, where = tmp_path / "public", tmp_path / "nginx"
    where.mkdir()
    storage = ServedFolder(
        public, file_time=file_time, is_compressed=lambda path: serving_of(path).compressed
    )
    for path in FILES:
        store = storage.replace if serving_of(path).replaced else storage.put_new
        store(path, content_of(path))
    port = free_port()
    main = lay_out(where, public, port)
    with serving(system_tool("nginx"), main, port):
        yield PublicHost(port, public, where)


def test_nginx_takes_the_shipped_files(system_tool: Callable[[str], str], tmp_path: Path) -> None:
    main = lay_out(tmp_path, tmp_path, free_port(), tls_port=free_port())
    said = check_configuration(system_tool("nginx"), main)
    assert "syntax is ok" in said
    assert "[warn]" not in said


def test_every_host_listens_by_ipv4_and_by_ipv6(host: PublicHost) -> None:
    servers = (SHIPPED / SITE).read_text().split("\nserver {")[1:]
    listening = [re.findall(r"^    listen (.*);$", server, re.MULTILINE) for server in servers]
    assert listening == [["80", "[::]:80"], ["443 ssl http2", "[::]:443 ssl http2"]]
    if has_ipv6():
        connection = HTTPConnection("::1", host.port, timeout=10)
        connection.request("GET", f"/{INDEX}")
        assert connection.getresponse().read() == content_of(INDEX)
        connection.close()


@pytest.mark.parametrize("path", FILES)
def test_a_file_is_served_as_the_table_says(host: PublicHost, path: str) -> None:
    answer = host.get(f"/{path}")
    serving = serving_of(path)
    assert (answer.status, answer.body) == (200, content_of(path))
    assert answer.headers["Content-Type"] == serving.content_type
    assert answer.headers["Cache-Control"] == serving.cache_control
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Last-Modified" not in answer.headers
    assert answer.headers["Server"] == "nginx", "no version"
    head = host.ask("HEAD", f"/{path}", {})
    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "Date": ""} == {**answer.headers, "Date": ""}


@pytest.mark.parametrize("path", [path for path in FILES if serving_of(path).cache_control != IMMUTABLE])
@pytest.mark.parametrize("accepted", ["identity", "gzip"])
def test_what_a_phone_has_is_not_sent_again(host: PublicHost, path: str, accepted: str) -> None:
    """By a tag that the phone has computed from the content, before it ever saw one."""
    asked = {"If_None_Match": known_tags(content_of(path)), "Accept_Encoding": accepted}
    answer = host.get(f"/{path}", **asked)
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["Cache-Control"] == serving_of(path).cache_control
    other = host.get(f"/{path}", **{**asked, "If_None_Match": known_tags(b"something older")})
    body = gzip.decompress(other.body) if "Content-Encoding" in other.headers else other.body
    assert (other.status, body) == (200, content_of(path))


@pytest.mark.parametrize("path", COMPRESSED)
def test_indexes_are_compressed_beforehand_and_say_the_same(host: PublicHost, path: str) -> None:
    answer = host.get(f"/{path}", Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.body == (host.folder / f"{path}.gz").read_bytes(), "not made anew for each phone"
    assert gzip.decompress(answer.body) == content_of(path)
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.headers["Content-Type"] == serving_of(path).content_type
    assert answer.headers["Cache-Control"] == serving_of(path).cache_control


@pytest.mark.parametrize("path", [ZIP, ZIP.replace(".zip", ".compact"), PROOF])
def test_what_would_not_get_smaller_is_never_compressed(host: PublicHost, path: str) -> None:
    answer = host.get(f"/{path}", Accept_Encoding="gzip")
    assert "Content-Encoding" not in answer.headers
    assert answer.body == content_of(path)


def test_a_part_can_be_fetched(host: PublicHost) -> None:
    answer = host.get(f"/{ZIP}", Range="bytes=3-6")
    assert (answer.status, answer.body) == (206, content_of(ZIP)[3:7])
    assert answer.headers["Content-Range"] == f"bytes 3-6/{len(content_of(ZIP))}"
    assert host.get(f"/{ZIP}", Range=f"bytes={10**9}-").status == 416


def test_the_current_years_tiles_have_a_second_address(
    system_tool: Callable[[str], str], host: PublicHost
) -> None:
    year = re.search(r"\d{4}$", host.get("/log/checkpoint").headers["Date"][:16])
    assert year
    tile = host.folder / f"log/{year[0]}/tile/0/000.p/7"
    tile.parent.mkdir(parents=True)
    tile.write_bytes(b"of this year")
    answer = host.get("/log/tile/0/000.p/7")
    assert (answer.status, answer.body) == (200, b"of this year")
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert host.get("/log/tile/0/001").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"])
def test_files_are_only_read(host: PublicHost, method: str) -> None:
    for path in (f"/{INDEX}", f"/{ZIP}", "/log/checkpoint"):
        answer = host.ask(method, path, {}, b"x")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert (host.folder / INDEX).read_bytes() == content_of(INDEX)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/index.html", "/exposures", "/exposures/", "/exposures/XA", "/exposures/XA/", "/log/"),
        *("/log", "/.well-known/", "/.well-known/other.json", "/registry.json", "/keys/lookup.key"),
        *("/exposures/XA/.tmp-0123456789abcdef", "/exposures/XA/.hidden.json", f"/{LEGACY}.gz"),
        *(f"/{INDEX}.gz", f"/{INDEX}/", f"/{INDEX}~", "/exposures/XA/index.html", "/exposures/XA/none.zip"),
        *("/exposures/../registry.json", "/exposures/XA/../../registry.json"),
        *("/exposures//XA/index.json", "//exposures/XA/index.json", "/exposures/XA/%2e%2e/registry.json"),
        *("/exposures/..%2fregistry.json", "/exposures/" + "a/" * 400 + "x.json"),
        *("/exposures/XA/" + "a" * 300 + ".json", "/log/2024/checkpoint", "/log/02026/checkpoint"),
        *("/log/2026/tile/0/1067.p/3", "/log/2026/tile/0/x001/", "/log/2026/x", "/metrics", "/portal/"),
    ],
)
def test_whatever_is_no_public_file_is_not_found(host: PublicHost, path: str) -> None:
    for name in ("exposures/XA/.tmp-0123456789abcdef", "exposures/XA/.hidden.json"):
        (host.folder / name).write_bytes(b"secret")
    (host.folder.parent / "registry.json").write_bytes(b"secret")
    answer = host.get(path)
    assert answer.status == 404, path
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    "path", ["/exposures/./XA/index.json", "/exposures/XA/%69ndex.json", "/x/../exposures/XA/index.json"]
)
def test_another_spelling_of_a_path_is_the_same_file(host: PublicHost, path: str) -> None:
    plain, other = host.get(f"/{INDEX}"), host.get(path)
    assert (other.status, other.body) == (200, content_of(INDEX))
    assert {**plain.headers, "Date": ""} == {**other.headers, "Date": ""}


def test_nothing_in_an_answer_depends_on_who_asks(host: PublicHost) -> None:
    for path in (INDEX, PROOF, ZIP):
        plain = host.get(f"/{path}")
        other = host.get(
            f"/{path}?device=7",
            Cookie="a=b",
            User_Agent="x",
            Accept_Language="zh",
            X_Forwarded_For="203.0.113.9",
            Authorization="Basic eDp5",
            Referer="https://elsewhere.example/",
            If_Modified_Since="Tue, 24 Nov 2026 15:47:55 GMT",
        )
        assert (plain.status, plain.body) == (other.status, other.body)
        assert {**plain.headers, "Date": ""} == {**other.headers, "Date": ""}
        assert "Set-Cookie" not in plain.headers


def test_two_machines_with_the_same_content_give_the_same_tags(
    system_tool: Callable[[str], str], host: PublicHost, tmp_path: Path
) -> None:
    where = tmp_path / "other-nginx"
    where.mkdir()
    copy = ServedFolder(tmp_path / "copy", file_time=file_time, is_compressed=lambda _path: True)
    copy.replace(PROOF, b"older")
    copy.replace(PROOF, content_of(PROOF))
    port = free_port()
    with serving(system_tool("nginx"), lay_out(where, tmp_path / "copy", port), port):
        other = PublicHost(port, tmp_path / "copy", where)
        assert other.get(f"/{PROOF}").headers["ETag"] == host.get(f"/{PROOF}").headers["ETag"]


def test_no_log_names_who_asked(host: PublicHost) -> None:
    host.get(f"/{INDEX}")
    host.get("/exposures/XA/none.zip")
    host.get("/exposures/" + "a/" * 2000 + "x.json")
    host.ask("POST", f"/{INDEX}", {}, b"x" * 5000)
    (host.folder / INDEX).unlink()
    (host.folder / INDEX).mkdir()
    host.get(f"/{INDEX}")
    with socket.create_connection(("127.0.0.1", host.port)) as rude:
        rude.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
        rude.recv(1000)
    written = {path.name: path.read_text() for path in host.where.glob("*.log")}
    assert "registry-public.error.log" in written
    assert all("127.0.0.1" not in text for text in written.values()), written


def test_tls_leaves_no_mark_by_which_a_phone_is_known_again(
    system_tool: Callable[[str], str], host: PublicHost, tmp_path: Path
) -> None:
    where = tmp_path / "tls"
    where.mkdir()
    port, tls_port = free_port(), free_port()
    main = lay_out(where, host.folder, port, tls_port=tls_port)
    context = ssl.create_default_context(cafile=None)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(system_tool("nginx"), main, port):
        connection = HTTPSConnection("127.0.0.1", tls_port, context=context, timeout=10)
        connection.request("GET", f"/{ZIP}")
        assert connection.getresponse().read() == content_of(ZIP)
        assert connection.sock.session.has_ticket is False
        session = connection.sock.session
        connection.close()
        with socket.create_connection(("127.0.0.1", tls_port)) as plain:
            again = context.wrap_socket(plain, session=session)
            assert again.session_reused is False
            again.close()


class Watched(HttpTransport):
    """The phones' own transport; writes down what was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[str, int]] = []

    def get(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        answer = super().get(url, headers, max_bytes)
        self.answers.append((url.rpartition("/")[2], answer.status))
        return answer


def test_a_phone_polls_through_nginx_and_is_told_when_nothing_is_new(
    world: World, system_tool: Callable[[str], str], clock: FakeClock, tmp_path: Path
) -> None:
    where, port = tmp_path / "nginx", free_port()
    where.mkdir()
    with serving(system_tool("nginx"), lay_out(where, world.settings.public_dir, port), port):
        transport = Watched()
        with Phone.open(
            tmp_path / "phone.db", transport, clock=clock, random_bytes=random.Random(3).randbytes
        ) as phone:
            phone.set_up(
                Enrolment(
                    f"http://127.0.0.1:{port}",
                    health_authority_id=world.first_run["health_authority_id"],
                    device_api_key=world.first_run["device_api_key"],
                    demonstration=True,
                    staged=True,
                    fingerprint=world.first_run["trust_fingerprint"],
                )
            )
            assert phone.poll().good
            transport.answers.clear()
            clock.advance(ONE_MINUTE / 2)
            assert phone.poll().good
            assert transport.answers == [("index.json.tlog-proof", 304)]
            world.next_window()
            transport.answers.clear()
            assert phone.poll().index_changed
            assert transport.answers[0] == ("index.json.tlog-proof", 200)
            assert [status for _name, status in transport.answers] == [200, 200]
