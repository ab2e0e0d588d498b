"""The body of add-checkpoint: what is written is read back, and nothing else is read."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.merkle import MAX_SIZE
from registry.protocol.witness_request import (
    MAX_PROOF_LINES,
    MAX_READ_BYTES,
    MAX_SENT_BYTES,
    WitnessRequest,
    decode_request,
    decode_size,
    encode_request,
    encode_size,
    origin_hash,
)

EXAMPLE = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
""".encode()  # noqa: E501  # the specification's own example
NOTE = EXAMPLE.partition(b"\n\n")[2]

hashes = st.binary(min_size=32, max_size=32)


def test_the_specifications_example_is_read_and_written() -> None:
    request = decode_request(EXAMPLE)
    assert (request.old_size, len(request.path), request.note) == (20852014, 4, NOTE)
    assert encode_request(request.old_size, request.path, request.note) == EXAMPLE


@given(
    st.integers(0, MAX_SIZE),
    st.lists(hashes, max_size=MAX_PROOF_LINES),
    st.binary(max_size=4000),
)
def test_a_request_is_read_back(old_size: int, path: list[bytes], note: bytes) -> None:
    request = WitnessRequest(old_size, tuple(path), note)
    assert decode_request(encode_request(old_size, path, note)) == request


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_malformed(body: bytes) -> None:
    try:
        request = decode_request(body)
    except Malformed:
        return
    assert encode_request(request.old_size, request.path, request.note) == body


@given(st.integers(0, len(EXAMPLE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_seen_or_changes_what_is_read(at: int, octet: int) -> None:
    changed = EXAMPLE[:at] + bytes([octet]) + EXAMPLE[at + 1 :]
    try:
        request = decode_request(changed)
    except Malformed:
        return
    assert encode_request(request.old_size, request.path, request.note) == changed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 1",
        b"old 1\n",
        b"\n\n",
        b"old\n\n",
        b"old 01\n\n",
        b"old +1\n\n",
        b"old 1 \n\n",
        b" old 1\n\n",
        b"Old 1\n\n",
        b"old  1\n\n",
        b"old\t1\n\n",
        b"old 1\r\n\r\n",
        b"old 9223372036854775808\n\n",
        b"old " + b"9" * 5000 + b"\n\n",
        "old \u0661\n\n".encode(),
        b"old 1\nAAAA\n\n",
        b"old 1\n" + b"A" * 43 + b"\n\n",
        b"old 1\n" + b"A" * 43 + b"=" + b" \n\n",
        b"old 1\n" + b"A" * 42 + b"B=\n\n",
        b"old 1\n" + b"-" + b"A" * 42 + b"=\n\n",
        b"old 1\n" + (b"A" * 43 + b"=\n") * (MAX_PROOF_LINES + 1) + b"\n",
        b"old 1\n\n" + b"x" * MAX_READ_BYTES,
    ],
)
def test_what_is_no_request_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode_request(body)


def test_nothing_is_sent_that_witnesses_do_not_read() -> None:
    with pytest.raises(Malformed, match="63"):
        encode_request(1, [bytes(32)] * 64, b"")
    with pytest.raises(Malformed, match=str(MAX_SENT_BYTES)):
        encode_request(1, [], bytes(MAX_SENT_BYTES))


@given(st.integers(0, MAX_SIZE))
def test_a_size_is_read_back(size: int) -> None:
    assert decode_size(encode_size(size)) == decode_size(encode_size(size).rstrip()) == size


@pytest.mark.parametrize(
    "body",
    [b"", b"\n", b"x", b"01\n", b"-1\n", b"1\n\n", b" 1\n", b"1\r\n", b"9223372036854775808", b"1" * 50],
)
def test_what_is_no_size_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode_size(body)


def test_an_origin_is_addressed_by_its_hash() -> None:
    assert origin_hash("example.com/log") == sha256(b"example.com/log").hexdigest()
