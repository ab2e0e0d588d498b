"""What protoc, openssl and unzip, of which we wrote nothing, make of our export files."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.protocol import export_file as export_file_module
from registry.protocol.export_file import (
    ExportFile,
    SignatureInfo,
    encode_export,
    encode_signatures,
    pack,
    verify_signatures,
)
from registry.protocol.jwt import load_public_key
from registry.protocol.keys import ReportType, TemporaryExposureKey
from tests.protocol.made_signer import MadeSigner
from tests.protocol.test_published_files import SAMPLE_BIN, VECTORS

SystemTool = Callable[[str], str]

PROTO = Path(export_file_module.__file__).with_name("export_file.proto")
SIGNER = MadeSigner("xa_key", "2")
INFO = SignatureInfo("xa_key", "2")
FILE = ExportFile(
    1781517600,
    1781521200,
    "XA",
    (
        TemporaryExposureKey(b"A" * 16, 2969136, 144, 2, ReportType.CONFIRMED_TEST, -3),
        TemporaryExposureKey(b"B" * 16, 2969136, 90),
    ),
    (TemporaryExposureKey(b"C" * 16, 2968992, 144, 4, ReportType.REVOKED, 14),),
    (INFO,),
)

AS_PROTOC_SHOWS_IT = """\
start_timestamp: 1781517600
end_timestamp: 1781521200
region: "XA"
batch_num: 1
batch_size: 1
signature_infos {
  verification_key_version: "2"
  verification_key_id: "xa_key"
  signature_algorithm: "1.2.840.10045.4.3.2"
}
keys {
  key_data: "AAAAAAAAAAAAAAAA"
  transmission_risk_level: 2
  rolling_start_interval_number: 2969136
  report_type: CONFIRMED_TEST
  days_since_onset_of_symptoms: -3
}
keys {
  key_data: "BBBBBBBBBBBBBBBB"
  transmission_risk_level: 0
  rolling_start_interval_number: 2969136
  rolling_period: 90
}
revised_keys {
  key_data: "CCCCCCCCCCCCCCCC"
  transmission_risk_level: 4
  rolling_start_interval_number: 2968992
  report_type: REVOKED
  days_since_onset_of_symptoms: 14
}
"""

SAMPLE_AS_TEXT = r"""
start_timestamp: 1590159600 end_timestamp: 1590246000 region: "US" batch_num: 1 batch_size: 1
signature_infos {
  verification_key_version: "1" verification_key_id: "some_id" signature_algorithm: "1.2.840.10045.4.3.2"
}
keys {
  key_data: "\x17\x2f\xc4\x80\xe5\x98\x49\x0c\x34\x17\x76\x04\x33\x9b\x15\x43"
  transmission_risk_level: 8 rolling_start_interval_number: 2649980 rolling_period: 1
}
keys {
  key_data: "\x2b\x63\x05\x3a\xc4\x83\x23\x8d\xe1\x76\x16\x9e\x86\x1f\x3d\xcd"
  transmission_risk_level: 1 rolling_start_interval_number: 2649866 rolling_period: 114
}
"""


@pytest.fixture
def unpacked(tmp_path: Path, system_tool: SystemTool) -> Path:
    """A folder in which unzip has unpacked FILE, signed by SIGNER, beside SIGNER's public key."""
    export_bin = encode_export(FILE)
    zipped = tmp_path / "file.zip"
    zipped.write_bytes(pack(export_bin, encode_signatures([(INFO, SIGNER.sign(export_bin))])))
    (tmp_path / "public.pem").write_text(SIGNER.public_key_pem)
    subprocess.run([system_tool("unzip"), "-q", zipped], cwd=tmp_path, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        "file.zip",
        "public.pem",
        "export.bin",
        "export.sig",
    }
    return tmp_path


def protoc(system_tool: SystemTool, action: str, content: bytes) -> bytes:
    """What protoc answers on `content` with our .proto; `action` is an option like --decode=Message."""
    command = [system_tool("protoc"), f"--proto_path={PROTO.parent}", action, PROTO.name]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout


def openssl_verifies(system_tool: SystemTool, folder: Path, signature: bytes) -> bool:
    (folder / "signature.der").write_bytes(signature)
    verify = ["dgst", "-sha256", "-verify", "public.pem", "-signature", "signature.der", "export.bin"]
    command = [system_tool("openssl"), *verify]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.stdout.strip() in ("Verified OK", "Verification failure"), run.stderr
    return run.stdout.strip() == "Verified OK"


def test_protoc_reads_the_messages_behind_the_16_bytes_of_header(
    unpacked: Path, system_tool: SystemTool
) -> None:
    content = (unpacked / "export.bin").read_bytes()[16:]
    assert protoc(system_tool, "--decode=TemporaryExposureKeyExport", content).decode() == AS_PROTOC_SHOWS_IT


def test_protoc_and_we_write_the_same_bytes(system_tool: SystemTool) -> None:
    text = AS_PROTOC_SHOWS_IT.encode()
    assert encode_export(FILE)[16:] == protoc(system_tool, "--encode=TemporaryExposureKeyExport", text)
    text = SAMPLE_AS_TEXT.encode()
    assert SAMPLE_BIN[16:] == protoc(system_tool, "--encode=TemporaryExposureKeyExport", text)


def test_openssl_verifies_the_signature_that_protoc_finds(unpacked: Path, system_tool: SystemTool) -> None:
    export_sig = (unpacked / "export.sig").read_bytes()
    shown = protoc(system_tool, "--decode=TEKSignatureList", export_sig).decode()
    assert 'verification_key_id: "xa_key"' in shown
    assert "batch_num: 1\n  batch_size: 1\n" in shown
    # The signature is the last field, field 4, and shorter than 128 bytes: one byte of tag, one of length.
    at = export_sig.rindex(b"\x22", 0, len(export_sig) - 68)
    signature = export_sig[at + 2 :]
    assert export_sig[at + 1] == len(signature)

    assert openssl_verifies(system_tool, unpacked, signature)

    changed = bytearray((unpacked / "export.bin").read_bytes())
    changed[-1] ^= 1
    (unpacked / "export.bin").write_bytes(changed)
    assert not openssl_verifies(system_tool, unpacked, signature)


def test_openssl_signs_with_the_published_key_what_we_verify(tmp_path: Path, system_tool: SystemTool) -> None:
    (tmp_path / "export.bin").write_bytes(SAMPLE_BIN)
    (tmp_path / "public.pem").write_bytes((VECTORS / "sample_public_key.pem").read_bytes())
    sign = ["dgst", "-sha256", "-sign", str(VECTORS / "sample_signing_key.pem"), str(tmp_path / "export.bin")]
    signature = subprocess.run([system_tool("openssl"), *sign], capture_output=True, check=True).stdout
    public_key = load_public_key((tmp_path / "public.pem").read_text())
    verify_signatures(
        SAMPLE_BIN, [(SignatureInfo("some_id", "1"), signature)], {("some_id", "1"): public_key}
    )
    assert openssl_verifies(system_tool, tmp_path, signature)
