"""A signing key lives in a file that nobody else can read, and is made once."""

import stat
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from registry.errors import ConfigurationError
from registry.protocol.certificate import CertificateSigner, encode_jwt, load_public_key, verify_jwt
from registry.signing import Signer
from registry.signing.file_key import FileKey, create_key_file


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    path = tmp_path / "export.pem"
    create_key_file(path)
    return path


def test_a_key_that_was_made_signs_what_its_public_half_verifies(key_path: Path) -> None:
    signer: Signer = FileKey.load(key_path, "310", "v1")
    public_key = load_public_key(signer.public_key_pem)
    signature = signer.sign(b"export.bin")
    public_key.verify(signature, b"export.bin", ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        public_key.verify(signature, b"export.bim", ec.ECDSA(hashes.SHA256()))
    assert (signer.key_id, signer.key_version) == ("310", "v1")


def test_loading_twice_gives_the_same_key(key_path: Path) -> None:
    first, second = (FileKey.load(key_path, "310", "v1") for _ in range(2))
    assert first.public_key_pem == second.public_key_pem


def test_it_signs_certificates_too(key_path: Path) -> None:
    signer: CertificateSigner = FileKey.load(key_path, "certificates-1", "1")
    token = encode_jwt({"iss": "us"}, signer)
    public_key = load_public_key(FileKey.load(key_path, "certificates-1", "1").public_key_pem)
    assert verify_jwt(token, public_key)["iss"] == "us"


def test_the_file_is_for_its_owner_only_and_nothing_lies_beside_it(key_path: Path) -> None:
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert list(key_path.parent.iterdir()) == [key_path]


def test_a_key_is_never_made_over_another(key_path: Path) -> None:
    before = key_path.read_bytes()
    with pytest.raises(ConfigurationError, match="never written over"):
        create_key_file(key_path)
    assert key_path.read_bytes() == before
    assert list(key_path.parent.iterdir()) == [key_path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o602, 0o610])
def test_a_key_that_others_can_touch_is_refused(key_path: Path, mode: int) -> None:
    key_path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        FileKey.load(key_path, "310", "v1")


def test_what_is_no_p256_key_is_refused_and_never_quoted(key_path: Path) -> None:
    foreign = [
        ec.generate_private_key(ec.SECP384R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key_path.read_bytes()[:100],
        b"a passphrase that somebody saved here",
        b"",
    ]
    for content in foreign:
        key_path.write_bytes(content)
        with pytest.raises(ConfigurationError) as refusal:
            FileKey.load(key_path, "310", "v1")
        assert "passphrase" not in str(refusal.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        FileKey.load(tmp_path / "none.pem", "310", "v1")
    with pytest.raises(ConfigurationError, match="cannot read"):
        FileKey.load(tmp_path, "310", "v1")
