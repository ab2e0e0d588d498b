"""Proofs that stand by themselves: what is written is read, everything else is refused."""

from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.checkpoint import open_checkpoint
from registry.protocol.merkle import MAX_SIZE, check_inclusion, inclusion_path, leaf_hash
from registry.protocol.note import encode_note
from registry.protocol.proof import (
    MAX_PATH,
    MAX_PROOF_BYTES,
    LogProof,
    decode_proof,
    encode_proof,
)
from tests.protocol.log_vectors import load
from tests.protocol.made_log import MadeLog
from tests.protocol.note_signers import ed25519_signer

EXAMPLE: str = load("c2sp/examples.json")["proof"]
MALFORMED: dict[str, str] = load("formats/malformed.json")["proofs"]

hashes = st.binary(min_size=32, max_size=32)
proofs = st.builds(
    LogProof,
    index=st.integers(0, MAX_SIZE) | st.integers(0, 300),
    path=st.lists(hashes, max_size=MAX_PATH).map(tuple),
    checkpoint=st.binary(max_size=300),
    extra=st.none() | st.binary(max_size=100),
)
HASH = b64encode(bytes(range(32))).decode()
HEADER = "c2sp.org/tlog-proof@v1"


@given(proofs)
def test_every_proof_is_read_as_it_was_written(proof: LogProof) -> None:
    assert decode_proof(encode_proof(proof)) == proof


@given(
    st.lists(
        st.sampled_from(
            [HEADER, "index 0", "index 7", "index 07", "extra AAAA", "extra ", HASH, "", "text", HASH + "="]
        ),
        max_size=8,
    )
)
def test_whatever_is_read_has_one_spelling(lines: list[str]) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    try:
        proof = decode_proof(content)
    except Malformed:
        return
    assert encode_proof(proof) == content


def test_the_specification_s_example_is_read() -> None:
    proof = decode_proof(EXAMPLE.encode())
    assert proof.index == 73894
    assert [b64encode(one).decode()[:4] for one in proof.path] == ["gSKy", "B95l", "EKNz", "Roop", "AHCi"]
    assert proof.extra is not None
    assert proof.extra.startswith(b"age-v1.2.1-darwin-arm64.tar.gz")
    assert proof.checkpoint.startswith(b"example.com/fancylog\n109482\n")
    assert encode_proof(proof) == EXAMPLE.encode()


def test_known_spellings() -> None:
    first, second = bytes(32), b"\x01" * 32
    one, two = b64encode(first).decode(), b64encode(second).decode()
    assert encode_proof(LogProof(5, (first, second), b"checkpoint\n")) == (
        f"{HEADER}\nindex 5\n{one}\n{two}\n\ncheckpoint\n".encode()
    )
    assert encode_proof(LogProof(10, (first,), b"checkpoint\n", b"more")) == (
        f"{HEADER}\nextra bW9yZQ==\nindex 10\n{one}\n\ncheckpoint\n".encode()
    )
    assert encode_proof(LogProof(0, (), b"checkpoint\n")) == f"{HEADER}\nindex 0\n\ncheckpoint\n".encode()


@pytest.mark.parametrize("content", list(MALFORMED.values()), ids=list(MALFORMED))
def test_published_malformed_proofs_are_refused(content: str) -> None:
    with pytest.raises(Malformed):
        decode_proof(content.encode())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n\n",
        f"{HEADER}\n",
        f"{HEADER}\n\nindex 0\n\ncheckpoint\n",
        f"{HEADER}\nindex 0\ncheckpoint\n",
        f"{HEADER}\nindex 0\n",
        f"{HEADER}\r\nindex 0\r\n\r\ncheckpoint\r\n",
        f"{HEADER}\r\nindex 0\r\n\n\ncheckpoint\n",
        f"{HEADER} \nindex 0\n\ncheckpoint\n",
        f" {HEADER}\nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v2\nindex 0\n\ncheckpoint\n",
        f"{HEADER}\nindex 00\n\ncheckpoint\n",
        f"{HEADER}\nindex 01\n\ncheckpoint\n",
        f"{HEADER}\nindex +1\n\ncheckpoint\n",
        f"{HEADER}\nindex  1\n\ncheckpoint\n",
        f"{HEADER}\nindex 1 \n\ncheckpoint\n",
        f"{HEADER}\nindex\n\ncheckpoint\n",
        f"{HEADER}\nindex \n\ncheckpoint\n",
        f"{HEADER}\nindex ١\n\ncheckpoint\n",
        f"{HEADER}\nindex {MAX_SIZE + 1}\n\ncheckpoint\n",
        f"{HEADER}\nindex {'9' * 10_000}\n\ncheckpoint\n",
        f"{HEADER}\nindex 0\nindex 0\n\ncheckpoint\n",
        f"{HEADER}\nindex 0\nextra AAAA\n\ncheckpoint\n",
        f"{HEADER}\nextra AAAA\nextra AAAA\nindex 0\n\ncheckpoint\n",
        f"{HEADER}\nextra\nindex 0\n\ncheckpoint\n",
        f"{HEADER}\nextra AAA\nindex 0\n\ncheckpoint\n",
        f"{HEADER}\nextra AB==\nindex 0\n\ncheckpoint\n",
        f"{HEADER}\nextra -_-_\nindex 0\n\ncheckpoint\n",
        f"{HEADER}\nEXTRA AAAA\nindex 0\n\ncheckpoint\n",
        f"{HEADER}\nindex 0\n{HASH[:-1]}\n\ncheckpoint\n",
        f"{HEADER}\nindex 0\n{HASH} \n\ncheckpoint\n",
        f"{HEADER}\nindex 0\nAAAA\n\ncheckpoint\n",
        f"{HEADER}\nindex 0\n{HASH}\n" + f"{HASH}\n" * MAX_PATH + "\ncheckpoint\n",
        f"{HEADER}\nindex 0\n" + "a" * 65 * 1024 + "\n\ncheckpoint\n",
        f"{HEADER}\nindex 0\n\n" + "c" * MAX_PROOF_BYTES,
    ],
)
def test_malformed_proofs_are_refused(content: str) -> None:
    with pytest.raises(Malformed):
        decode_proof(content.encode())


def test_bytes_that_are_no_text_are_refused_above_the_checkpoint_and_kept_in_it() -> None:
    with pytest.raises(Malformed):
        decode_proof(b"c2sp.org/tlog-proof@v1\nindex \xff\n\ncheckpoint\n")
    assert decode_proof(b"c2sp.org/tlog-proof@v1\nindex 1\n\n\xff\n\n\xfe").checkpoint == b"\xff\n\n\xfe"


def test_extra_that_is_empty_is_not_extra_that_is_absent() -> None:
    proof = LogProof(1, (), b"checkpoint\n", b"")
    assert decode_proof(encode_proof(proof)) == proof != replace(proof, extra=None)


def test_a_proof_of_a_log_proves_its_leaf() -> None:
    signer = ed25519_signer("registry.example.org/keys/2026")
    log = MadeLog(signer.name, [signer])
    log.append(b"entry %d" % number for number in range(1000))
    path = tuple(inclusion_path(999, 1000, log.node()))
    content = encode_proof(LogProof(999, path, encode_note(log.checkpoint(now=0))))

    proof = decode_proof(content)
    _, head = open_checkpoint(proof.checkpoint, [signer.key])
    check_inclusion(
        index=proof.index, size=head.size, leaf=leaf_hash(b"entry 999"), path=proof.path, root=head.root
    )
