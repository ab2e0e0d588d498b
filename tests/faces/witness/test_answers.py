"""Every status of the witness protocol, black-box over HTTP, with exact content types."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.errors import ConfigurationError
from registry.faces.witness import WitnessFace, create_witness_app
from registry.protocol.checkpoint import cosignatures, decode_checkpoint
from registry.protocol.note import Note, decode_note, decode_signatures, encode_note
from registry.protocol.witness_request import MAX_READ_BYTES, encode_request, origin_hash
from registry.witness.cosigner import Witness
from tests.clock import FakeClock
from tests.faces.witness.conftest import Served, serve
from tests.protocol.note_signers import ed25519_signer
from tests.witness.shown_log import ORIGIN, ShownLog

TEXT = "text/plain; charset=utf-8"
LAST = f"/witness/{origin_hash(ORIGIN)}/checkpoint"


def test_200_is_cosignature_lines_and_nothing_else(face: Served, behind: Witness, log: ShownLog) -> None:
    status, headers, body = face.submit(log.request(0, 7))

    assert (status, headers["content-type"]) == (200, TEXT)
    lines = decode_signatures(body.decode())
    assert all(line.startswith("\u2014 witness.example/w1 ") for line in body.decode().splitlines())
    assert len(cosignatures(Note(log.note(7).text, lines), log.head(7), behind.keys)) == len(lines) == 2


def test_400_for_what_is_no_request(face: Served, log: ShownLog) -> None:
    note = encode_note(log.note(5))
    bodies = [
        b"",
        b"nonsense",
        b"old 00\n\n" + note,
        b"old -1\n\n" + note,
        b"old 0 \n\n" + note,
        b"new 0\n\n" + note,
        b"old 9223372036854775808\n\n" + note,
        b"old 0\nAAAA\n\n" + note,
        b"old 0\n" + b"A" * 44 + b"\n\n" + note,
        b"old 0\r\n\r\n" + note,
        b"old 0\n" + 64 * (b"A" * 43 + b"=\n") + b"\n" + note,
        b"old 0\n\n" + note[:-1],
        b"old 0\n\n" + note.replace(b"\n5\n", b"\n05\n"),
    ]
    for body in bodies:
        status, headers, _ = face.submit(body)
        assert (status, headers["content-type"]) == (400, TEXT), body[:60]


def test_400_for_an_old_size_beyond_the_checkpoints(face: Served, log: ShownLog) -> None:
    assert face.submit(encode_request(6, [], encode_note(log.note(5))))[0] == 400


def test_403_for_a_signature_that_is_not_the_logs(face: Served, log: ShownLog) -> None:
    stranger = ShownLog(5, signers=[ed25519_signer(ORIGIN)])
    only_ml_dsa = Note(log.note(5).text, log.note(5).signatures[1:])
    for note in (stranger.note(), only_ml_dsa):
        status, headers, _ = face.submit(encode_request(0, [], encode_note(note)))
        assert (status, headers["content-type"]) == (403, TEXT)


def test_404_for_a_log_that_is_not_listed(face: Served) -> None:
    assert face.submit(ShownLog(5, origin="other.example/2026").request(0))[0] == 404


def test_409_names_the_size_to_prove_from(face: Served, log: ShownLog) -> None:
    status, headers, body = face.submit(log.request(3, 5))
    assert (status, headers["content-type"], body) == (409, "text/x.tlog.size", b"0\n")

    assert face.submit(log.request(0, 5))[0] == 200
    for request in (log.request(0, 9), log.request(7, 9), log.request(0, 4)):
        status, headers, body = face.submit(request)
        assert (status, headers["content-type"], body) == (409, "text/x.tlog.size", b"5\n")


def test_422_for_a_wrong_proof_and_for_another_root(face: Served, log: ShownLog) -> None:
    assert face.submit(encode_request(0, [bytes(32)], encode_note(log.note(5))))[0] == 422
    assert face.submit(log.request(0, 5))[0] == 200
    fork = log.forked(3, 9, "other")
    for body in (
        encode_request(5, [bytes(32)], encode_note(log.note(9))),
        encode_request(5, [], encode_note(fork.note(5))),
        fork.request(5, 9),
    ):
        status, headers, _ = face.submit(body)
        assert (status, headers["content-type"]) == (422, TEXT)
    assert face.submit(log.request(5, 9))[0] == 200


def test_a_heartbeat_is_cosigned_anew(face: Served, log: ShownLog, time_of_day: FakeClock) -> None:
    first = face.submit(log.request(0))[2]
    time_of_day.advance(600)
    status, _, again = face.submit(log.request(20))
    assert status == 200
    times = [
        int.from_bytes(decode_signatures(body.decode())[0].signature[:8], "big") for body in (first, again)
    ]
    assert times[1] - times[0] == 600


def test_monitors_get_the_last_cosigned_note(face: Served, behind: Witness, log: ShownLog) -> None:
    assert face.call("GET", LAST)[0] == 404
    face.submit(log.request(0, 8))
    face.submit(log.request(8, 9))

    status, headers, body = face.call("GET", LAST)

    assert (status, headers["content-type"]) == (200, TEXT)
    assert headers["access-control-allow-origin"] == "*"
    assert "max-age=0" in headers["cache-control"]
    note = decode_note(body)
    assert decode_checkpoint(note.text) == log.head(9)
    assert len(cosignatures(note, log.head(9), behind.keys)) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/witness/checkpoint",
        f"/witness/{origin_hash('other.example')}/checkpoint",
        LAST.upper().replace("/WITNESS", "/witness").replace("/CHECKPOINT", "/checkpoint"),
        LAST.replace("/checkpoint", "//checkpoint"),
        "/witness/../witness/add-checkpoint",
    ],
)
def test_every_other_address_is_not_there(face: Served, log: ShownLog, path: str) -> None:
    face.submit(log.request(0, 8))
    assert face.call("GET", path)[0] == 404


def test_only_post_submits(face: Served) -> None:
    status, headers, _ = face.call("GET", "/witness/add-checkpoint")
    assert status == 405
    assert "POST" in headers["allow"]


def test_a_body_that_is_too_long_is_not_read(face: Served) -> None:
    assert face.submit(b"x" * (MAX_READ_BYTES + 1))[0] == 413


def test_a_log_may_send_others_cosignatures_along(face: Served, behind: Witness, log: ShownLog) -> None:
    """Some do: what C2SP lets them send is read, well beyond 16 KiB."""
    note = log.note(5)
    many = Note(note.text, note.signatures + 9 * note.signatures[1:])
    body = b"old 0\n\n" + encode_note(many)
    assert 32_000 < len(body) < MAX_READ_BYTES
    assert face.submit(body)[0] == 200


def test_a_caller_that_goes_away_in_the_middle_harms_nobody(face: Served, log: ShownLog) -> None:
    body = log.request(0, 5)
    head = f"POST /witness/add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", face.port)) as half:
        half.sendall(head.encode() + body[: len(body) // 2])
    assert face.submit(body)[0] == 200


# ----------------------------------------------------------------- our own faults


@pytest.fixture
def ill(time_of_day: FakeClock) -> Iterator[Served]:
    def lost() -> Witness:
        raise ConfigurationError("/secret/place/witness.sqlite is missing")

    yield from serve(create_witness_app(WitnessFace(lost, time_of_day)))


def test_a_witness_that_lost_its_state_answers_503_without_detail(ill: Served, log: ShownLog) -> None:
    for status, headers, body in (
        ill.submit(log.request(0)),
        ill.call("GET", LAST),
        ill.call("GET", "/readyz"),
    ):
        assert (status, headers["content-type"]) == (503, "application/problem+json")
        assert b"secret" not in body
    assert ill.call("GET", "/healthz")[0] == 200


def test_state_that_vanishes_under_a_running_witness_stops_it(
    face: Served, state: Path, log: ShownLog
) -> None:
    assert face.submit(log.request(0, 5))[0] == 200
    assert face.call("GET", "/readyz")[0] == 200
    state.unlink()
    assert face.submit(log.request(5, 6))[0] == 503
    assert face.call("GET", "/readyz")[0] == 503
    assert not state.exists()


def test_an_unexpected_fault_is_a_bare_500(behind: Witness, log: ShownLog) -> None:
    def broken() -> float:
        raise ZeroDivisionError("about the caller")

    for served in serve(create_witness_app(WitnessFace(lambda: behind, broken))):
        status, headers, body = served.submit(log.request(0))
        assert (status, headers["content-type"]) == (500, "application/problem+json")
        assert b"caller" not in body
