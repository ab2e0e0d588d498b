"""A note key lives in a file that nobody else can read, is of the kind asked for, and is made once."""

import stat
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from dilithium_py.ml_dsa import ML_DSA_44

from registry.errors import ConfigurationError
from registry.signing import NoteSigner
from registry.signing.note_key import NoteAlgorithm, NoteKey, create_note_key_file

NAME = "keys.example/2026"


@pytest.fixture
def log_key(tmp_path: Path) -> Path:
    path = tmp_path / "2026.pem"
    create_note_key_file(path, NoteAlgorithm.ED25519)
    return path


@pytest.fixture
def ml_dsa_key(tmp_path: Path) -> Path:
    path = tmp_path / "2026-mldsa44.pem"
    create_note_key_file(path, NoteAlgorithm.ML_DSA_44)
    return path


@pytest.mark.parametrize("kind", [1, 4])
def test_an_ed25519_key_signs_what_its_raw_public_half_verifies(log_key: Path, kind: int) -> None:
    signer: NoteSigner = NoteKey.load(log_key, NAME, kind)
    signature = signer.sign(b"checkpoint")
    public_key = ed25519.Ed25519PublicKey.from_public_bytes(signer.public_key)
    public_key.verify(signature, b"checkpoint")
    with pytest.raises(InvalidSignature):
        public_key.verify(signature, b"checkpoinT")
    assert (signer.name, signer.kind, len(signer.public_key), len(signature)) == (NAME, kind, 32, 64)


def test_an_ml_dsa_key_signs_what_another_implementation_verifies(ml_dsa_key: Path) -> None:
    signer: NoteSigner = NoteKey.load(ml_dsa_key, NAME, 6)
    signature = signer.sign(b"subtree/v1")
    assert ML_DSA_44.verify(signer.public_key, b"subtree/v1", signature)
    assert not ML_DSA_44.verify(signer.public_key, b"subtree/v2", signature)
    assert (len(signer.public_key), len(signature)) == (1312, 2420)


def test_loading_twice_gives_the_same_key(log_key: Path, ml_dsa_key: Path) -> None:
    for path, kind in ((log_key, 1), (ml_dsa_key, 6)):
        assert NoteKey.load(path, NAME, kind).public_key == NoteKey.load(path, "other", kind).public_key


@pytest.mark.parametrize("algorithm", NoteAlgorithm)
def test_the_file_is_for_its_owner_only_and_is_never_made_over(
    tmp_path: Path, algorithm: NoteAlgorithm
) -> None:
    path = tmp_path / "log" / "2026.pem"
    create_note_key_file(path, algorithm)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="never written over"):
        create_note_key_file(path, algorithm)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_key_that_others_can_touch_is_refused(log_key: Path) -> None:
    log_key.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        NoteKey.load(log_key, NAME, 1)


def test_a_key_of_another_kind_is_refused_and_never_quoted(log_key: Path, ml_dsa_key: Path) -> None:
    with pytest.raises(ConfigurationError, match="another kind; ml-dsa-44 is needed"):
        NoteKey.load(log_key, NAME, 6)
    with pytest.raises(ConfigurationError, match="another kind; ed25519 is needed"):
        NoteKey.load(ml_dsa_key, NAME, 1)
    foreign = [
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
        mldsa.MLDSA65PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        log_key.read_bytes()[:60],
        b"a passphrase that somebody saved here",
        b"",
    ]
    for content in foreign:
        log_key.write_bytes(content)
        for kind in (1, 4, 6):
            with pytest.raises(ConfigurationError) as refusal:
                NoteKey.load(log_key, NAME, kind)
            assert "passphrase" not in str(refusal.value)


def test_a_machine_without_ml_dsa_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ml_dsa_key: Path
) -> None:
    def unsupported(_seed: bytes) -> None:
        raise UnsupportedAlgorithm("ML-DSA-44 is not supported by this build")

    class OldBuild:
        from_seed_bytes = staticmethod(unsupported)

    monkeypatch.setattr("registry.signing.note_key.mldsa.MLDSA44PrivateKey", OldBuild)
    with pytest.raises(ConfigurationError, match="cryptography 48"):
        NoteKey.load(ml_dsa_key, NAME, 6)
    with pytest.raises(ConfigurationError, match="cryptography 48"):
        create_note_key_file(tmp_path / "new.pem", NoteAlgorithm.ML_DSA_44)
    assert not (tmp_path / "new.pem").exists()
