"""Files that others published: our reader understands them, our writer would have written the same bytes.

What came from where: `tests/vectors/README.md`. The 135 bytes of the sample's `export.bin` were rebuilt by
protoc from the published keys and window; the signature here is ours, made with the published key, since
the published zip with its own signature is not kept in this repository.
"""

import json
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from registry.errors import BadSignature, Malformed, UntrustedKey
from registry.protocol.export_file import (
    ExportFile,
    SignatureInfo,
    check_export,
    decode_export,
    decode_signatures,
    encode_export,
    encode_signatures,
    pack,
    read_zip,
    verify_signatures,
)
from registry.protocol.jwt import load_public_key
from registry.protocol.keys import TemporaryExposureKey
from tests.protocol.made_signer import MadeSigner

VECTORS = Path(__file__).parent.parent / "vectors"
SAMPLE_BIN = bytes.fromhex((VECTORS / "sample_export.hex").read_text())
SAMPLE_INFO = SignatureInfo("some_id", "1")
SAMPLE_END = 1590246000


def sample_keys() -> list[TemporaryExposureKey]:
    return [
        TemporaryExposureKey(
            b64decode(key["key"]), key["rollingStartNumber"], key["rollingPeriod"], key["transmissionRisk"]
        )
        for key in json.loads((VECTORS / "sample_keys.json").read_text())["temporaryExposureKeys"]
    ]


def sample() -> ExportFile:
    """The published sample's content; its writer sorts by key."""
    keys = tuple(sorted(sample_keys(), key=lambda key: key.key_data))
    return ExportFile(1590159600, SAMPLE_END, "US", keys, signature_infos=(SAMPLE_INFO,))


@pytest.fixture
def sample_signer() -> MadeSigner:
    """Signs with the published sample's key."""
    key = load_pem_private_key((VECTORS / "sample_signing_key.pem").read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return MadeSigner("some_id", "1", key)


def test_our_writer_reproduces_the_sample_s_135_bytes() -> None:
    assert len(SAMPLE_BIN) == 135
    assert encode_export(sample()) == SAMPLE_BIN


def test_our_reader_understands_the_sample() -> None:
    assert decode_export(SAMPLE_BIN) == sample()
    check_export(sample(), now=SAMPLE_END)


def test_the_sample_s_signature_verifies_with_its_published_public_key(sample_signer: MadeSigner) -> None:
    trusted = {("some_id", "1"): load_public_key((VECTORS / "sample_public_key.pem").read_text())}
    signatures = [(SAMPLE_INFO, sample_signer.sign(SAMPLE_BIN))]
    verify_signatures(SAMPLE_BIN, signatures, trusted)
    for at in range(len(SAMPLE_BIN)):
        changed = SAMPLE_BIN[:at] + bytes([SAMPLE_BIN[at] ^ 1]) + SAMPLE_BIN[at + 1 :]
        with pytest.raises(BadSignature):
            verify_signatures(changed, signatures, trusted)


def test_export_sig_has_the_published_size(sample_signer: MadeSigner) -> None:
    """115 bytes with the commonest DER signature, of 72; the DER of small numbers is shorter."""
    signature = sample_signer.sign(SAMPLE_BIN)
    assert len(encode_signatures([(SAMPLE_INFO, signature)])) == 115 - 72 + len(signature)


def test_the_sample_as_a_zip(sample_signer: MadeSigner) -> None:
    signatures = [(SAMPLE_INFO, sample_signer.sign(SAMPLE_BIN))]
    assert read_zip(pack(SAMPLE_BIN, encode_signatures(signatures))) == (sample(), SAMPLE_BIN, signatures)


def test_a_file_as_another_system_wrote_it_in_2020() -> None:
    """It states a period of 144, no onset and a bundle id that the format has since retired."""
    vector = json.loads((VECTORS / "swisscovid_export.json").read_text())
    export_bin, export_sig = bytes.fromhex(vector["export_bin"]), bytes.fromhex(vector["export_sig"])
    info = SignatureInfo("228", "v1")
    key = TemporaryExposureKey(bytes.fromhex("9e170a4ead6589e6b621b32e1d28b453"), 2664000, 144, 0)

    export, signed, signatures = read_zip(pack(export_bin, export_sig))

    assert export == ExportFile(1598400000, 1598407200, "ch", (key,), signature_infos=(info,))
    assert signed == export_bin
    assert signatures == decode_signatures(export_sig)
    assert [name for name, _ in signatures] == [info]
    with pytest.raises(UntrustedKey):
        verify_signatures(signed, signatures, {})
    with pytest.raises(BadSignature):
        verify_signatures(signed, signatures, {("228", "v1"): MadeSigner().public_key})
    with pytest.raises(Malformed, match="region"):
        check_export(export, now=1598407200)
