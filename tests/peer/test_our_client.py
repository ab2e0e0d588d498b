"""Our witness client asks the second implementation, as the publisher would."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.protocol.checkpoint import cosignatures
from registry.protocol.note import Note, encode_note, verifier_key
from registry.protocol.witness_policy import PolicyWitness, WitnessPolicy
from registry.transparency.witness_http import send_to_witness
from registry.transparency.witnesses import WitnessReport, ask_witnesses
from tests.peer.peers import Peers, RunningWitness
from tests.witness.shown_log import ShownLog


@pytest.fixture
def log() -> ShownLog:
    return ShownLog(20)


@pytest.fixture
def peer(peers: Peers, log: ShownLog, tmp_path: Path) -> Iterator[RunningWitness]:
    with peers.start_witness(tmp_path, verifier_key(log.signers[0]).vkey) as running:
        yield running


def ask(peer: RunningWitness, log: ShownLog, **sizes: int) -> WitnessReport:
    [report] = ask_witnesses(
        note=encode_note(log.note()),
        policy=WitnessPolicy(witnesses=(PolicyWitness("second", peer.key, peer.url),)),
        sizes=sizes,
        prove=log.prove,
        send=send_to_witness,
        now=time.time(),
    )
    return report


def test_it_cosigns_what_we_send_and_we_count_what_it_cosigns(peer: RunningWitness, log: ShownLog) -> None:
    size = 0
    for leaves in (0, 1, 0, 30, 205):
        log.grow(leaves)
        report = ask(peer, log, second=size)
        assert (report.error, report.size) == (None, log.size)
        assert cosignatures(Note(log.note().text, report.lines), log.head(), [peer.key])
        size = log.size


def test_we_learn_its_size_where_we_do_not_know_it(peer: RunningWitness, log: ShownLog) -> None:
    ask(peer, log)
    log.grow(7)
    for sizes in ({}, {"second": 3}, {"second": 27}):
        assert ask(peer, log, **sizes).error is None


def test_we_are_told_that_it_is_ahead_and_that_we_forked(peer: RunningWitness, log: ShownLog) -> None:
    old = log.forked(20, 20, "")
    log.grow(5)
    ask(peer, log)
    assert (ask(peer, old).ahead, ask(peer, old).conflict) == (25, False)
    for fork in (old.forked(20, 25, "other"), old.forked(3, 40, "other")):
        assert (ask(peer, fork).ahead, ask(peer, fork).conflict) == (None, True)


def test_it_says_that_it_does_not_know_us(peer: RunningWitness) -> None:
    other = ask(peer, ShownLog(3, origin="other.example/2026"))
    assert "add its origin and key" in (other.error or "")
    stranger = ask(peer, ShownLog(3))
    assert "add this shard's key" in (stranger.error or "")
