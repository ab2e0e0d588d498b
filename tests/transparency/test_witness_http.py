"""The client over real sockets: against our own witness, and against servers that misbehave."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from registry.errors import FetchFailed
from registry.faces.witness import WitnessFace, create_witness_app
from registry.protocol.checkpoint import cosignatures
from registry.protocol.note import KeyKind, Note, encode_note, verifier_key
from registry.protocol.witness_policy import PolicyGroup, PolicyWitness, WitnessPolicy
from registry.transparency.witness_http import WHOLE_ANSWER_SECONDS, send_to_witness
from registry.transparency.witnesses import MAX_ANSWER_BYTES, WitnessReport, ask_witnesses
from registry.witness.beginning import begin_witness
from registry.witness.cosigner import Witness
from tests.clock import FakeClock
from tests.faces.witness.conftest import serve
from tests.protocol.note_signers import ml_dsa_signer, witness_signer
from tests.witness.shown_log import ShownLog

# ------------------------------------------------------------ against our own


def make_witness(folder: Path, name: str) -> Witness:
    signers = (witness_signer(name), ml_dsa_signer(name))
    return begin_witness(folder / f"{name}.sqlite", name, has_keys=False, make_keys=lambda: signers)


class Authority:
    """A registry's log and its own witness, which knows no log yet."""

    def __init__(self, folder: Path, host: str) -> None:
        self.log = ShownLog(5, origin=f"{host}/keys/2026")
        self.witness = make_witness(folder, f"{host}-witness")
        self.sizes: dict[str, int] = {}

    def witnessed_by(self, other: "Authority") -> None:
        other.witness.add_log(verifier_key(self.log.signers[0]))

    def ask(self, policy: WitnessPolicy, now: float) -> list[WitnessReport]:
        reports = ask_witnesses(
            note=encode_note(self.log.note()),
            policy=policy,
            sizes=self.sizes,
            prove=self.log.prove,
            send=send_to_witness,
            now=now,
        )
        self.sizes |= {report.name: report.size for report in reports if report.size is not None}
        return reports


@pytest.fixture
def authorities(tmp_path: Path) -> tuple[Authority, Authority]:
    return Authority(tmp_path, "health.a.example"), Authority(tmp_path, "health.b.example")


def policy_for(witness: Witness, url: str) -> WitnessPolicy:
    """The other's two keys; the one that phones check is the quorum."""
    names = {KeyKind.COSIGNATURE_V1: "other", KeyKind.ML_DSA_44: "other-mldsa44"}
    return WitnessPolicy(
        witnesses=tuple(PolicyWitness(names[KeyKind(key.kind)], key, url) for key in witness.keys),
        groups=(PolicyGroup("all", 1, ("other",)),),
        quorum="all",
    )


def test_two_authorities_witness_each_other(
    authorities: tuple[Authority, Authority], clock: FakeClock
) -> None:
    a, b = authorities
    a.witnessed_by(b)
    b.witnessed_by(a)
    for mine, other in ((a, b), (b, a)):
        app = create_witness_app(WitnessFace(lambda other=other: other.witness, clock))  # type: ignore[misc]
        for served in serve(app):
            policy = policy_for(other.witness, served.url)
            for leaves in (0, 3, 0, 7):
                mine.log.grow(leaves)
                clock.advance(600)
                reports = mine.ask(policy, clock())

                assert [report.error for report in reports] == [None, None]
                note = Note(mine.log.note().text, tuple(line for one in reports for line in one.lines))
                found = cosignatures(note, mine.log.head(), other.witness.keys)
                assert [cosignature.time for cosignature in found] == [int(clock())] * 2
                assert policy.is_met([cosignature.key for cosignature in found])
            assert set(mine.sizes.values()) == {mine.log.size}


def test_a_registry_that_forgot_its_witnesses_sizes_learns_them(
    authorities: tuple[Authority, Authority], clock: FakeClock
) -> None:
    a, b = authorities
    a.witnessed_by(b)
    for served in serve(create_witness_app(WitnessFace(lambda: b.witness, clock))):
        policy = policy_for(b.witness, served.url)
        a.ask(policy, clock())
        a.sizes.clear()
        a.log.grow(4)
        assert [report.error for report in a.ask(policy, clock())] == [None, None]


def test_a_restored_registry_hears_that_it_is_behind_and_one_that_forked_that_it_forked(
    authorities: tuple[Authority, Authority], clock: FakeClock
) -> None:
    a, b = authorities
    a.witnessed_by(b)
    for served in serve(create_witness_app(WitnessFace(lambda: b.witness, clock))):
        policy = policy_for(b.witness, served.url)
        old = a.log.forked(5, 5, "")
        a.log.grow(4)
        a.ask(policy, clock())

        a.log = old
        assert {(report.ahead, report.conflict) for report in a.ask(policy, clock())} == {(9, False)}
        a.log = old.forked(5, 9, "another future")
        assert {(report.ahead, report.conflict) for report in a.ask(policy, clock())} == {(None, True)}
        a.log = old.forked(3, 12, "another past")
        assert {(report.ahead, report.conflict) for report in a.ask(policy, clock())} == {(None, True)}


def test_a_witness_that_does_not_know_us_says_so(
    authorities: tuple[Authority, Authority], clock: FakeClock
) -> None:
    a, b = authorities
    for served in serve(create_witness_app(WitnessFace(lambda: b.witness, clock))):
        for report in a.ask(policy_for(b.witness, served.url), clock()):
            assert "add its origin and key" in (report.error or "")


# -------------------------------------------------------- servers that misbehave


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads one request and then does what `answer` does with the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def once() -> None:
            connection, _ = listening.accept()
            with closing(connection):
                connection.recv(65_536)
                # A client that hung up on us is what is hoped for in some of these.
                try:
                    answer(connection)
                except OSError:
                    return

        thread = threading.Thread(target=once, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/add-checkpoint"
        thread.join(30)
        assert not thread.is_alive()


def raw(content: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(content)


def test_status_type_and_body_come_back() -> None:
    head = b"HTTP/1.1 409 Conflict\r\nContent-Type: text/x.tlog.size\r\nContent-Length: 3\r\n\r\n"
    with answering(raw(head + b"42\n")) as url:
        answer = send_to_witness(url, b"old 0\n\n")
    assert (answer.status, answer.content_type, answer.body) == (409, "text/x.tlog.size", b"42\n")


def test_a_chunked_answer_is_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with answering(raw(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")) as url:
        answer = send_to_witness(url, b"")
    assert (answer.content_type, answer.body) == ("", b"abcde")


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    head = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with answering(raw(head)) as url:
        assert send_to_witness(url, b"").status == 307


def test_a_500_is_an_answer() -> None:
    with answering(raw(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")) as url:
        assert send_to_witness(url, b"").status == 500


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"HTTP/1.1 20",
        b"what?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_half_an_answer_is_none(content: bytes) -> None:
    with answering(raw(content)) as url, pytest.raises(FetchFailed, match="no answer from"):
        send_to_witness(url, b"")


def test_a_huge_answer_is_cut_off() -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(4096):
            connection.sendall(bytes(65_536))

    with answering(flood) as url, pytest.raises(FetchFailed, match=f"more than {MAX_ANSWER_BYTES}"):
        send_to_witness(url, b"")


def test_an_answer_that_drips_is_cut_off() -> None:
    """One byte after another, each in time: only the limit for the whole ends it."""
    passed = iter([0.0, 1.0, 2.0])
    looked = threading.Semaphore(0)

    def monotonic() -> float:
        looked.release()
        return next(passed, WHOLE_ANSWER_SECONDS + 1.0)

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(4):
            assert looked.acquire(timeout=30)
            connection.sendall(b"x")

    with answering(drip) as url, pytest.raises(FetchFailed, match="too slowly"):
        send_to_witness(url, b"", monotonic=monotonic)


def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(FetchFailed, match="ConnectionError"):
        send_to_witness(f"http://127.0.0.1:{port}/add-checkpoint", b"")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "w1.example/add-checkpoint", "ftp://w1.example/x"])
def test_only_http_is_spoken(url: str) -> None:
    with pytest.raises(FetchFailed, match="must begin with https"):
        send_to_witness(url, b"")
