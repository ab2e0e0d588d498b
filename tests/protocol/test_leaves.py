"""What the log says for ever: one spelling a leaf, nothing that could hurt, and the tree over regions."""

import json
from base64 import b64encode
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed, WrongProof
from registry.protocol.leaves import (
    ActivityLeaf,
    BatchLeaf,
    CloseLeaf,
    IndexLeaf,
    KeyAction,
    KeyLeaf,
    KeyPurpose,
    Leaf,
    OpenLeaf,
    PolicyLeaf,
    RegionProof,
    WithdrawLeaf,
    check_region_proof,
    decode_leaf,
    decode_region_proof,
    encode_leaf,
    encode_region_proof,
    leaf_type,
    prove_region,
    region_leaf,
    regions_root,
)
from registry.protocol.merkle import leaf_hash
from tests.protocol.naive_tree import naive_inclusion, naive_root

hashes = st.binary(min_size=32, max_size=32)
regions = st.from_regex(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", fullmatch=True)
numbers = st.integers(0, 2**53 - 1)
sequences = st.integers(1, 2**53 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)

leaves = st.one_of(
    st.builds(
        BatchLeaf,
        region=regions,
        sequence=sequences,
        window_start=numbers,
        window_end=numbers,
        manifest=hashes,
        previous=st.none() | hashes,
    ),
    st.builds(
        IndexLeaf,
        issued_at=numbers,
        regions=st.integers(1, 10_000),
        root=hashes,
        previous=st.none() | numbers,
    ),
    st.builds(WithdrawLeaf, region=regions, sequence=sequences, reason=texts, reference=hashes),
    st.builds(
        KeyLeaf,
        action=st.sampled_from(get_args(KeyAction)),
        purpose=st.sampled_from(get_args(KeyPurpose)),
        name=texts,
        digest=hashes,
    ),
    st.builds(PolicyLeaf, sequence=sequences, digest=hashes, previous=st.none() | hashes),
    st.builds(ActivityLeaf, commitment=hashes),
    st.builds(CloseLeaf, next_origin=texts),
    st.builds(OpenLeaf, origin=texts, size=numbers, root=hashes),
)

BATCH = BatchLeaf("XA", 7, 1_781_524_800, 1_781_539_200, b"\x01" * 32, b"\x02" * 32)
INDEX = IndexLeaf(1_781_539_300, 3, b"\x03" * 32, 12)
ONE_OF_EACH: list[Leaf] = [
    BATCH,
    INDEX,
    WithdrawLeaf("XA", 7, "error", b"\x04" * 32),
    KeyLeaf("retired", "export", "v1", b"\x05" * 32),
    PolicyLeaf(2, b"\x06" * 32, None),
    ActivityLeaf(b"\x07" * 32),
    CloseLeaf("registry.example.org/keys/2027"),
    OpenLeaf("registry.example.org/keys/2026", 70_000, b"\x08" * 32),
]


# --------------------------------------------------------------- the bytes


@given(leaves)
def test_every_leaf_is_read_as_it_was_written(leaf: Leaf) -> None:
    assert decode_leaf(encode_leaf(leaf)) == leaf


@given(leaves)
def test_a_leaf_s_bytes_are_the_canonical_json_of_rfc_8785(leaf: Leaf) -> None:
    entry = encode_leaf(leaf)
    assert rfc8785.dumps(json.loads(entry)) == entry


def test_a_batch_leaf_to_the_letter() -> None:
    manifest, previous = b64encode(BATCH.manifest).decode(), b64encode(b"\x02" * 32).decode()
    assert encode_leaf(BATCH).decode() == (
        f'{{"manifest":"{manifest}","previous":"{previous}","region":"XA","sequence":7,"type":"batch",'
        '"v":1,"window_end":1781539200,"window_start":1781524800}'
    )
    assert len(encode_leaf(BATCH)) < 260
    assert b"previous" not in encode_leaf(replace(BATCH, previous=None))


def test_members_are_those_of_the_format_and_no_others() -> None:
    members = {leaf_type(leaf): " ".join(json.loads(encode_leaf(leaf))) for leaf in ONE_OF_EACH}
    assert members == {
        "batch": "manifest previous region sequence type v window_end window_start",
        "index": "issued_at previous regions root type v",
        "withdraw": "reason reference region sequence type v",
        "key": "action name purpose sha256 type v",
        "policy": "digest sequence type v",
        "activity": "commitment type v",
        "close": "next type v",
        "open": "origin root size type v",
    }


def test_no_leaf_holds_a_count_of_keys_or_of_people() -> None:
    names = {field.name for leaf in ONE_OF_EACH for field in fields(leaf)}
    assert not {name for name in names if "count" in name or name in ("keys", "users", "files")}


@pytest.mark.parametrize("leaf", ONE_OF_EACH, ids=leaf_type)
@given(data=st.data())
def test_no_other_spelling_is_read(leaf: Leaf, data: st.DataObject) -> None:
    entry = encode_leaf(leaf)
    members: dict[str, Any] = json.loads(entry)
    name = data.draw(st.sampled_from(sorted(members)))
    how = data.draw(st.sampled_from(["drop", "null", "more", "float", "space", "escape", "order", "twice"]))
    if how == "drop":
        del members[name]
    elif how == "null":
        members[name] = None
    elif how == "more":
        members["x" + name] = 1
    elif how == "float" and isinstance(members[name], int):
        members[name] = float(members[name])
    changed = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    if how == "space":
        changed = entry.replace(b":", b": ", 1)
    elif how == "escape":
        changed = entry.replace(b"type", b"\\u0074ype")
    elif how == "order":
        changed = json.dumps(dict(reversed(members.items())), separators=(",", ":")).encode()
    elif how == "twice":
        changed = entry[:-1] + b',"v":1}'
    if how == "drop" and name == "previous":  # then it is a first one
        assert decode_leaf(changed) != leaf
        return
    if changed != entry:
        with pytest.raises(Malformed):
            decode_leaf(changed)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"v": 1},
        {"type": "activity"},
        {"v": 1, "type": "upload"},
        {"v": 1, "type": ""},
        {"v": 1, "type": ["batch"]},
        {"v": 2, "type": "close", "next": "x"},
        {"v": 0, "type": "close", "next": "x"},
        {"v": True, "type": "close", "next": "x"},
        {"v": "1", "type": "close", "next": "x"},
        {"v": 1, "type": "close", "next": ""},
        {"v": 1, "type": "close", "next": 1},
        {"v": 1, "type": "activity", "commitment": b64encode(bytes(31)).decode()},
        {"v": 1, "type": "activity", "commitment": b64encode(bytes(33)).decode()},
        {"v": 1, "type": "activity", "commitment": "_" * 42 + "8"},
        {"v": 1, "type": "activity", "commitment": b64encode(b"\x01" * 32).decode().rstrip("=")},
    ],
)
def test_members_that_are_no_leaf_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        decode_leaf(json.dumps(members, separators=(",", ":"), sort_keys=True).encode())


@pytest.mark.parametrize(
    ("leaf", "changes"),
    [
        (BATCH, {"region": "x"}),
        (BATCH, {"region": "XA/.."}),
        (BATCH, {"sequence": 0}),
        (BATCH, {"sequence": -1}),
        (BATCH, {"window_start": -1}),
        (BATCH, {"window_end": 2**53}),
        (BATCH, {"manifest": b"short"}),
        (BATCH, {"previous": b""}),
        (INDEX, {"regions": 0}),
        (INDEX, {"regions": 10_001}),
        (INDEX, {"previous": -1}),
        (ONE_OF_EACH[2], {"sequence": 0}),
        (ONE_OF_EACH[2], {"reason": ""}),
        (ONE_OF_EACH[3], {"action": "changed"}),
        (ONE_OF_EACH[3], {"purpose": "all"}),
        (ONE_OF_EACH[4], {"sequence": 0}),
        (ONE_OF_EACH[7], {"size": -1}),
        (ONE_OF_EACH[7], {"root": bytes(20)}),
    ],
)
def test_values_that_no_leaf_has_are_not_read(leaf: Leaf, changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        decode_leaf(encode_leaf(replace(leaf, **changes)))


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,v1typeclos\\ud8', max_size=40).map(str.encode))
def test_whatever_is_read_has_one_spelling(entry: bytes) -> None:
    try:
        leaf = decode_leaf(entry)
    except Malformed:
        return
    assert encode_leaf(leaf) == entry


# ------------------------------------------------- the tree over all regions

digests_of_regions = st.dictionaries(regions, hashes, min_size=1, max_size=45)


def index_leaf_over(digests: dict[str, bytes]) -> bytes:
    return encode_leaf(IndexLeaf(1_781_539_300, len(digests), regions_root(digests), None))


def hashes_in_order(digests: dict[str, bytes]) -> list[bytes]:
    return [leaf_hash(region.encode() + b"\x00" + digests[region]) for region in sorted(digests)]


@given(digests_of_regions, st.data())
def test_every_region_is_proven_and_nothing_else_is(digests: dict[str, bytes], data: st.DataObject) -> None:
    region = data.draw(st.sampled_from(sorted(digests)))
    leaf = index_leaf_over(digests)
    proof = prove_region(leaf, digests, region)
    in_order = hashes_in_order(digests)
    assert regions_root(digests) == naive_root(in_order)
    assert proof.position == sorted(digests).index(region)
    assert list(proof.path) == naive_inclusion(proof.position, in_order)
    assert decode_region_proof(encode_region_proof(proof)) == proof

    assert proof.index_digest == digests[region]
    assert check_region_proof(proof, region=region) == decode_leaf(leaf)
    lies = [
        (replace(proof, index_digest=leaf_hash(proof.index_digest)), region),
        (proof, region + "X"),
        (replace(proof, position=proof.position + 1), region),
        (replace(proof, path=(*proof.path, bytes(32))), region),
        (replace(proof, path=(bytes(32), *proof.path[1:])), region),
    ]
    for lie, about in lies:
        with pytest.raises(WrongProof):
            check_region_proof(lie, region=about)


def test_the_order_in_which_regions_are_given_does_not_matter() -> None:
    digests = {"XB": b"\x01" * 32, "XA": b"\x02" * 32, "CN-HB": b"\x03" * 32}
    assert regions_root(digests) == regions_root(dict(sorted(digests.items())))
    assert region_leaf("CN-HB", b"\x03" * 32) == b"CN-HB\x00" + b"\x03" * 32


def test_only_an_index_leaf_speaks_for_regions() -> None:
    digests = {"XA": b"\x01" * 32}
    for leaf in ONE_OF_EACH:
        if not isinstance(leaf, IndexLeaf):
            proof = prove_region(encode_leaf(leaf), digests, "XA")
            with pytest.raises(WrongProof):
                check_region_proof(proof, region="XA")
    with pytest.raises(Malformed):
        check_region_proof(RegionProof(b"{}", bytes(32), 0, ()), region="XA")


def test_the_number_of_regions_is_part_of_the_leaf() -> None:
    digests = {"XA": b"\x01" * 32, "XB": b"\x02" * 32}
    # Says one region more than the root is over: the path then ends too soon.
    leaf = encode_leaf(IndexLeaf(1, 3, regions_root(digests), None))
    with pytest.raises(WrongProof):
        check_region_proof(prove_region(leaf, digests, "XA"), region="XA")


@given(st.binary(max_size=200))
def test_whatever_region_proof_is_read_has_one_spelling(content: bytes) -> None:
    try:
        proof = decode_region_proof(content)
    except Malformed:
        return
    assert encode_region_proof(proof) == content


def test_a_region_proof_that_is_cut_or_too_long_is_refused() -> None:
    content = encode_region_proof(RegionProof(b"leaf", bytes(32), 1, (bytes(32), bytes(32))))
    for end in range(len(content)):
        with pytest.raises(Malformed):
            decode_region_proof(content[:end])
    with pytest.raises(Malformed):
        decode_region_proof(content + b"\x00")


@pytest.mark.parametrize(
    "proof",
    [
        RegionProof(b"l" * 2**16, bytes(32), 0, ()),
        RegionProof(b"leaf", bytes(31), 0, ()),
        RegionProof(b"leaf", bytes(32), 2**16, ()),
        RegionProof(b"leaf", bytes(32), -1, ()),
        RegionProof(b"leaf", bytes(32), 0, (bytes(31),)),
        RegionProof(b"leaf", bytes(32), 0, (bytes(32),) * 256),
    ],
    ids=["leaf", "digest", "position", "negative", "hash", "path"],
)
def test_a_region_proof_that_has_no_room_is_not_written(proof: RegionProof) -> None:
    with pytest.raises(Malformed):
        encode_region_proof(proof)


def test_forty_regions_cost_a_phone_little() -> None:
    digests = {f"X{letter}-{number}": bytes(32) for letter in "ABCD" for number in range(10)}
    leaf = encode_leaf(IndexLeaf(1_781_539_300, 40, regions_root(digests), 999_990))
    assert len(encode_region_proof(prove_region(leaf, digests, "XA-0"))) <= 380
