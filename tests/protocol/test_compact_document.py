"""`docs/compact-format.md` says what is so: its example is a file, byte for byte."""

import ast
import io
import re
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from registry.protocol.compact_block import BLOCK_KEYS
from registry.protocol.compact_file import (
    MAGIC,
    MAX_KEYS,
    STATEMENT,
    CompactHeader,
    write_compact,
    write_signatures,
)
from registry.protocol.export_signatures import SignatureInfo
from registry.protocol.key_rows import key_rows
from registry.protocol.keys import ReportType, TemporaryExposureKey
from tests.protocol import independent_compact_reader as independent

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs/compact-format.md").read_text()

FIRST_DAY = 2_966_400
KEYS = [
    TemporaryExposureKey(
        b"\x1a\x2b\x3c" + bytes(range(13)), FIRST_DAY, 144, 8, ReportType.CONFIRMED_TEST, None
    ),
    TemporaryExposureKey(
        b"\x1a\x2b\x3c" + bytes(range(1, 14)), FIRST_DAY + 144, 144, 6, ReportType.CONFIRMED_TEST, -1
    ),
    TemporaryExposureKey(
        b"\x1a\x2c\x3e" + bytes(range(2, 15)), FIRST_DAY + 144, 144, 7, ReportType.CONFIRMED_TEST, -1
    ),
]
REVISED = [TemporaryExposureKey(b"\xff\xff\xff" + bytes(range(13)), FIRST_DAY, 144, 0, ReportType.REVOKED)]


def example() -> bytes:
    """The bytes of the document's example, put together from its lines."""
    (listing,) = re.findall(r"```hex\n(.*?)```", DOCUMENT, re.S)
    content = b""
    for line in listing.splitlines():
        offset, spelled = line.split()[:2]
        assert int(offset) == len(content)
        content += bytes.fromhex(spelled)
    return content


def signing_key() -> EllipticCurvePrivateKey:
    key = load_pem_private_key((ROOT / "tests/vectors/sample_signing_key.pem").read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


def test_the_example_is_what_the_writer_writes() -> None:
    file = io.BytesIO()
    header = CompactHeader("XA", 1_780_016_400, 1_780_020_000, 7, 7, 3, 1)
    message = write_compact(file, header, [key_rows(KEYS)], [key_rows(REVISED)])
    # Signed as RFC 6979 says, so that there is one signature.
    signature = signing_key().sign(message, ECDSA(SHA256(), deterministic_signing=True))
    write_signatures(file, [(SignatureInfo("XA_export", "1"), signature)])
    assert file.getvalue() == example()
    assert f"`{message.split()[-1].decode()}`" in DOCUMENT


def test_a_reader_who_has_the_document_alone_reads_the_example() -> None:
    public_key: EllipticCurvePublicKey = signing_key().public_key()
    found = independent.read(example(), {("XA_export", "1"): public_key})
    assert [key.data for key in found.keys] == [key.key_data for key in KEYS]
    assert [key.level for key in found.keys] == [8, 6, 7]
    assert [(key.report_type, key.onset) for key in found.revised] == [(5, None)]


def test_the_document_names_what_the_code_names() -> None:
    assert MAGIC.decode() in DOCUMENT
    assert STATEMENT.format("<64 hexadecimal digits>") in DOCUMENT
    assert f"{BLOCK_KEYS:,} keys" in DOCUMENT
    assert f"at most 2^{MAX_KEYS.bit_length() - 1}" in DOCUMENT


def test_the_independent_reader_shares_nothing_with_the_registry() -> None:
    tree = ast.parse(Path(independent.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= {*sys.stdlib_module_names, "cryptography"}
