"""A registry's keys in files: where each lies and what it is called; making one twice changes nothing."""

import stat
from pathlib import Path

import pytest

from registry.errors import ConfigurationError
from registry.protocol.checkpoint import Checkpoint, sign_checkpoint
from registry.protocol.note import verifier_key
from registry.signing import KeyRing
from registry.signing.keyring import FilesKeyRing
from tests.clock import NOON_OF_JUNE_15

ORIGIN = "registry.example/keys"


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return FilesKeyRing(tmp_path / "keys")


def test_an_empty_folder_has_no_keys(ring: KeyRing) -> None:
    assert ring.export_signers() == []
    assert not ring.has_log_keys(2026)
    assert ring.places() == {}
    for ask in (lambda: ring.log_signers(2026, ORIGIN), lambda: ring.trust_signer(ORIGIN)):
        with pytest.raises(ConfigurationError, match="cannot read the secret"):
            ask()


def test_every_key_lies_where_the_documents_say(ring: KeyRing, tmp_path: Path) -> None:
    ring.create_export_key("CN_HB_export", "1")
    ring.create_log_keys(2026)
    ring.create_trust_key()
    ring.create_witness_keys()
    keys = tmp_path / "keys"
    expected = {
        "export-CN_HB_export-1": keys / "export" / "CN_HB_export-1.pem",
        "log-2026": keys / "log" / "2026.pem",
        "log-2026-mldsa44": keys / "log" / "2026-mldsa44.pem",
        "trust": keys / "trust" / "root.pem",
        "witness": keys / "witness" / "ed25519.pem",
        "witness-mldsa44": keys / "witness" / "mldsa44.pem",
    }
    assert ring.places() == {label: f"file {path}" for label, path in expected.items()}
    assert sorted(path for path in keys.rglob("*") if path.is_file()) == sorted(expected.values())
    assert {stat.S_IMODE(path.stat().st_mode) for path in expected.values()} == {0o600}


def test_names_and_kinds_are_those_of_the_notes(ring: KeyRing) -> None:
    ring.create_log_keys(2026)
    ring.create_trust_key()
    ring.create_witness_keys()
    assert [(s.name, s.kind) for s in ring.log_signers(2026, ORIGIN)] == [
        (f"{ORIGIN}/2026", 1),
        (f"{ORIGIN}/2026", 6),
    ]
    trust = ring.trust_signer(ORIGIN)
    assert (trust.name, trust.kind) == (f"{ORIGIN}/trust", 1)
    assert [(s.name, s.kind) for s in ring.witness_signers("witness.example")] == [
        ("witness.example", 4),
        ("witness.example", 6),
    ]


def test_both_signatures_stand_under_a_checkpoint(ring: KeyRing) -> None:
    ring.create_log_keys(2026)
    signers = ring.log_signers(2026, ORIGIN)
    note = sign_checkpoint(Checkpoint(f"{ORIGIN}/2026", 1, bytes(32)), signers, now=NOON_OF_JUNE_15)
    assert all(any(line.is_by(verifier_key(signer)) for line in note.signatures) for signer in signers)


def test_each_year_has_its_own_keys_and_making_twice_changes_none(ring: KeyRing) -> None:
    for year in (2026, 2027, 2026):
        ring.create_log_keys(year)
    first = [s.public_key for s in ring.log_signers(2026, ORIGIN)]
    ring.create_log_keys(2026)
    assert [s.public_key for s in ring.log_signers(2026, ORIGIN)] == first
    assert {s.public_key for s in ring.log_signers(2027, ORIGIN)}.isdisjoint(first)
    export = ring.create_export_key("XA_export", "1").public_key_pem
    assert ring.create_export_key("XA_export", "1").public_key_pem == export


def test_a_crash_between_two_files_is_mended_by_making_again(ring: KeyRing, tmp_path: Path) -> None:
    ring.create_log_keys(2026)
    kept = ring.log_signers(2026, ORIGIN)[1].public_key
    (tmp_path / "keys" / "log" / "2026.pem").unlink()
    assert not ring.has_log_keys(2026)
    ring.create_log_keys(2026)
    assert ring.has_log_keys(2026)
    assert ring.log_signers(2026, ORIGIN)[1].public_key == kept


def test_export_keys_are_read_anew_each_time(ring: KeyRing) -> None:
    ring.create_export_key("XA_export", "1")
    assert [(s.key_id, s.key_version) for s in ring.export_signers()] == [("XA_export", "1")]
    ring.create_export_key("XA_export", "2")
    assert [(s.key_id, s.key_version) for s in ring.export_signers()] == [
        ("XA_export", "1"),
        ("XA_export", "2"),
    ]
