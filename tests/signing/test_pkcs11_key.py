"""What a token signs verifies with openssl and cryptography; a registry with a token finds all its keys."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.errors import ConfigurationError, Unavailable
from registry.protocol.checkpoint import Checkpoint, sign_checkpoint
from registry.protocol.export_file import (
    ExportFile,
    SignatureInfo,
    encode_export,
    encode_signatures,
    pack,
    unpack,
)
from registry.protocol.note import sign_text, verifier_key
from registry.signing import KeyRing, NoteSigner, Signer
from registry.signing.keyring import FilesKeyRing
from registry.signing.pkcs11_key import TokenExportKey, TokenKeyRing, TokenNoteKey
from registry.signing.pkcs11_token import EDWARDS25519, P256, Pkcs11Token
from tests.clock import NOON_OF_JUNE_15
from tests.softhsm import SoftToken

ORIGIN = "registry.example/keys"
NOON = int(NOON_OF_JUNE_15)
WITH_KEY = settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)


@pytest.fixture
def export_key(open_token: Pkcs11Token) -> Signer:
    open_token.create_key("export-XA_export-3", P256)
    return TokenExportKey(open_token, "export-XA_export-3", "XA_export", "3")


@pytest.fixture
def log_key(open_token: Pkcs11Token) -> NoteSigner:
    open_token.create_key("log-2026", EDWARDS25519)
    return TokenNoteKey(open_token, "log-2026", f"{ORIGIN}/2026", 1)


@pytest.fixture
def files(tmp_path: Path) -> FilesKeyRing:
    return FilesKeyRing(tmp_path / "keys")


@pytest.fixture
def ring(open_token: Pkcs11Token, files: FilesKeyRing) -> TokenKeyRing:
    return TokenKeyRing(open_token, files)


class ErringToken:
    """A token whose answers have one bit wrong."""

    def __init__(self, token: Pkcs11Token) -> None:
        self._token = token
        self.label = token.label

    def public_point(self, *asked: object) -> bytes:
        return self._token.public_point(*asked)

    def sign(self, *asked: object) -> bytes:
        answer = bytearray(self._token.sign(*asked))
        answer[40] ^= 1
        return bytes(answer)


# ------------------------------------------------------------------ the keys


def test_openssl_verifies_an_export_file_that_a_token_signed(
    export_key: Signer, tmp_path: Path, system_tool: Callable[[str], str]
) -> None:
    export_bin = encode_export(ExportFile(NOON - 3600, NOON, "XA", ()))
    info = SignatureInfo(export_key.key_id, export_key.key_version)
    signature = export_key.sign(export_bin)
    content, _ = unpack(pack(export_bin, encode_signatures([(info, signature)])))
    (tmp_path / "export.bin").write_bytes(content)
    (tmp_path / "signature.der").write_bytes(signature)
    (tmp_path / "public.pem").write_text(export_key.public_key_pem)
    command = [system_tool("openssl"), "dgst", "-sha256", "-verify", "public.pem"]
    command += ["-signature", "signature.der", "export.bin"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout == b"Verified OK\n"
    (tmp_path / "export.bin").write_bytes(content[:-1] + b"?")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_a_checkpoint_that_a_token_signed_verifies(log_key: NoteSigner) -> None:
    checkpoint = Checkpoint(f"{ORIGIN}/2026", 7, bytes(range(32)))
    note = sign_checkpoint(checkpoint, [log_key], now=NOON_OF_JUNE_15)
    line = sign_text(note.text, log_key)
    public_key = ed25519.Ed25519PublicKey.from_public_bytes(log_key.public_key)
    public_key.verify(line.signature, note.text.encode())
    assert verifier_key(log_key).name == f"{ORIGIN}/2026"


@WITH_KEY
@given(message=st.binary(max_size=500))
def test_every_message_is_signed_in_both_ways(
    message: bytes, export_key: Signer, log_key: NoteSigner
) -> None:
    # `sign` itself verifies; seen here is that no message and no short number in a signature stops it.
    assert export_key.sign(message).startswith(b"\x30")
    assert len(log_key.sign(message)) == 64


def test_the_public_half_is_the_tokens(
    open_token: Pkcs11Token, export_key: Signer, log_key: NoteSigner
) -> None:
    again = TokenExportKey(open_token, "export-XA_export-3", "XA_export", "3")
    assert again.public_key_pem == export_key.public_key_pem
    assert export_key.public_key_pem.endswith("-----END PUBLIC KEY-----\n")
    assert len(log_key.public_key) == 32


def test_a_token_that_errs_publishes_nothing(
    open_token: Pkcs11Token, export_key: Signer, log_key: NoteSigner
) -> None:
    erring: Pkcs11Token = ErringToken(open_token)  # type: ignore[assignment]
    keys: tuple[Signer | NoteSigner, ...] = (
        TokenExportKey(erring, "export-XA_export-3", "XA_export", "3"),
        TokenNoteKey(erring, "log-2026", "name", 1),
    )
    for key in keys:
        with pytest.raises(Unavailable, match="not by the key"):
            key.sign(b"message")


# ------------------------------------------------------------------ the ring


def test_export_and_log_keys_are_made_in_the_token_and_the_rest_in_files(
    ring: KeyRing, files: FilesKeyRing, open_token: Pkcs11Token
) -> None:
    made = ring.create_export_key("XA_export", "1")
    ring.create_log_keys(2026)
    ring.create_trust_key()
    ring.create_witness_keys()
    assert open_token.labels() == ["export-XA_export-1", "log-2026"]
    assert sorted(files.places()) == ["log-2026-mldsa44", "trust", "witness", "witness-mldsa44"]
    assert ring.places()["log-2026"] == "token registry"
    assert ring.places()["trust"].startswith("file ")
    assert [s.public_key_pem for s in ring.export_signers()] == [made.public_key_pem]
    assert (ring.has_log_keys(2026), ring.has_log_keys(2027)) == (True, False)


def test_a_shards_checkpoint_carries_the_tokens_and_the_files_signature(ring: KeyRing) -> None:
    ring.create_log_keys(2026)
    signers = ring.log_signers(2026, ORIGIN)
    assert [(s.name, s.kind) for s in signers] == [(f"{ORIGIN}/2026", 1), (f"{ORIGIN}/2026", 6)]
    keys = [verifier_key(signer) for signer in signers]
    note = sign_checkpoint(Checkpoint(f"{ORIGIN}/2026", 1, bytes(32)), signers, now=NOON_OF_JUNE_15)
    assert [any(line.is_by(key) for line in note.signatures) for key in keys] == [True, True]
    with pytest.raises(ConfigurationError):
        ring.log_signers(2027, ORIGIN)


def test_making_twice_changes_nothing(ring: KeyRing) -> None:
    first = ring.create_export_key("XA_export", "1").public_key_pem
    ring.create_log_keys(2026)
    logs = [signer.public_key for signer in ring.log_signers(2026, ORIGIN)]
    assert ring.create_export_key("XA_export", "1").public_key_pem == first
    ring.create_log_keys(2026)
    assert [signer.public_key for signer in ring.log_signers(2026, ORIGIN)] == logs


def test_a_start_that_was_cut_off_between_file_and_token_goes_on(ring: KeyRing, files: FilesKeyRing) -> None:
    files.create_ml_dsa_log_key(2026)
    assert not ring.has_log_keys(2026)
    ring.create_log_keys(2026)
    assert ring.has_log_keys(2026)


def test_keys_of_files_sign_on_after_the_move_to_a_token(ring: KeyRing, files: FilesKeyRing) -> None:
    old = files.create_export_key("XA_export", "1").public_key_pem
    files.create_log_keys(2026)
    this_year = [signer.public_key for signer in files.log_signers(2026, ORIGIN)]
    new = ring.create_export_key("XA_export", "2").public_key_pem
    ring.create_log_keys(2026)
    ring.create_log_keys(2027)
    assert {(s.key_version, s.public_key_pem) for s in ring.export_signers()} == {("1", old), ("2", new)}
    assert ring.create_export_key("XA_export", "1").public_key_pem == old
    assert [signer.public_key for signer in ring.log_signers(2026, ORIGIN)] == this_year
    assert {label: place.split()[0] for label, place in ring.places().items()} == {
        "export-XA_export-1": "file", "export-XA_export-2": "token",
        "log-2026": "file", "log-2026-mldsa44": "file",
        "log-2027": "token", "log-2027-mldsa44": "file",
    }  # fmt: skip


def test_one_name_in_two_places_is_refused(
    ring: KeyRing, files: FilesKeyRing, open_token: Pkcs11Token
) -> None:
    files.create_export_key("XA_export", "1")
    files.create_log_keys(2026)
    open_token.create_key("export-XA_export-1", P256)
    open_token.create_key("log-2026", EDWARDS25519)
    with pytest.raises(ConfigurationError, match="take the file away"):
        ring.export_signers()
    with pytest.raises(ConfigurationError, match="take the file away"):
        ring.create_export_key("XA_export", "1")
    with pytest.raises(ConfigurationError, match="take the file away"):
        ring.log_signers(2026, ORIGIN)


def test_without_its_token_a_registry_signs_nothing(ring: KeyRing, soft_token: SoftToken) -> None:
    signer = ring.create_export_key("XA_export", "1")
    soft_token.folder.rename(soft_token.folder.with_name("away"))
    with pytest.raises(Unavailable):
        signer.sign(b"export.bin")
    with pytest.raises(Unavailable):
        ring.export_signers()
