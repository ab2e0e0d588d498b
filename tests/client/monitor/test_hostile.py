"""Whatever is served, an auditor's tool finds faults of known classes, or says that it cannot tell."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.client.monitor.bundle import Bundle, check_sums
from registry.client.monitor.compare import compare, log_keys_of, open_vantage
from registry.client.monitor.kept_receipts import read_kept_receipts
from registry.client.monitor.one_file import prove_file
from registry.client.monitor.rebuild import rebuild_shard
from registry.client.monitor.source import FolderSource
from registry.client.monitor.view import LogView
from registry.client.monitor.visit import Demands, Looking, finish, look, visit_again
from registry.client.monitor.witnesses import compare_witness
from registry.errors import RegistryError
from registry.protocol.encoding import encode_json
from registry.protocol.index import LOG_CHECKPOINT_PATH
from tests.client.monitor.conftest import flipped, publish_one
from tests.client.monitor.web import Web
from tests.clock import FakeClock
from tests.public_tree import DAY, PublicTree, TreeSource


@pytest.fixture(scope="module")
def honest() -> PublicTree:
    """With a withdrawal, a key change and a turned year in it."""
    tree = PublicTree(FakeClock(), regions=["XA"], monitoring=True)
    for number in range(1, 5):
        publish_one(tree, number)
    tree.withdraw("XA", 2)
    tree.clock.advance(200 * DAY)
    publish_one(tree, 6)
    tree.rotate_exporter()
    publish_one(tree, 8)
    return tree


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0, 2**31, 2**53 - 1, 2**63, 10**18])
    | st.text(max_size=8)
    | st.sampled_from(["A" * 44, "\x1b[31m", "../../etc/passwd", "XA", "9999", "registry.example/keys/9999"])
)


@st.composite
def bent_json(draw: st.DrawFn, content: bytes) -> bytes:
    """The JSON with one member somewhere replaced or taken out; bytes that are none come back as they are."""
    try:
        document = json.loads(content)
    except ValueError:
        return content
    where = document
    for _ in range(draw(st.integers(0, 3))):
        inner = list(where.values()) if isinstance(where, dict) else list(where)
        inner = [one for one in inner if isinstance(one, dict | list) and one]
        if not inner:
            break
        where = draw(st.sampled_from(inner))
    keys = list(where) if isinstance(where, dict) else list(range(len(where)))
    key = draw(st.sampled_from(keys))
    if draw(st.booleans()):
        where[key] = draw(SCALARS)
    else:
        del where[key]
    return encode_json(document) if isinstance(document, dict) else content


HOWS = ["gone", "cut", "flip", "more", "noise", "json", "line", "between"]
LINES = [b"", b"0", b"9223372036854775807", b"%d" % 2**64, "\u2014 x AAAAAAA=".encode()]


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes | None:
    """The file gone, cut, flipped, doubled, replaced, or with another value in its JSON or its lines."""
    how = draw(st.sampled_from([*HOWS, "json", "json"]))
    if how == "gone" or not content:
        return None
    if how == "cut":
        return content[: draw(st.integers(0, len(content) - 1))]
    if how == "flip":
        return flipped(content, draw(st.integers(0, len(content) - 1)))
    if how == "more":
        return content + draw(st.binary(min_size=1, max_size=40))
    if how == "noise":
        return draw(st.binary(max_size=200))
    if how == "json":
        return draw(bent_json(content))
    lines = content.split(b"\n")
    at = draw(st.integers(0, len(lines) - 1))
    other = draw(
        st.sampled_from(
            [b"", b"0", b"9223372036854775807", b"%d" % 2**64, "\u2014 x AAAAAAA=".encode(), *lines]
        )
    )
    return b"\n".join([*lines[:at], other, *lines[at + (how == "line") :]])


@settings(max_examples=80)
@given(st.data())
def test_a_mutated_tree_gives_typed_faults_only(honest: PublicTree, data: st.DataObject) -> None:
    tree = copy.copy(honest)
    tree.files = dict(honest.files)
    for name in data.draw(st.lists(st.sampled_from(sorted(tree.files)), min_size=1, max_size=3)):
        content = data.draw(mutated(honest.files[name]))
        if content is None:
            tree.files.pop(name, None)
        else:
            tree.files[name] = content
    assert_only_typed(tree)


POINTERS = ["checkpoint", "exposure-registry.json", "exposure-registry.json.note", "index.json", "tlog-proof"]


@settings(max_examples=60)
@given(st.data())
def test_mutated_pointers_give_typed_faults_only(honest: PublicTree, data: st.DataObject) -> None:
    tree = copy.copy(honest)
    tree.files = dict(honest.files)
    names = [name for name in tree.files if name.endswith(tuple(POINTERS))]
    name = data.draw(st.sampled_from(sorted(names)))
    content = data.draw(mutated(honest.files[name]))
    tree.files[name] = content if content is not None else b""
    assert_only_typed(tree)


def assert_only_typed(tree: PublicTree) -> None:
    """Every command's core ends in a result, or in an error of our own that is told in one line."""
    now = tree.clock()
    source = TreeSource(tree)
    zips = [tree.files[name] for name in tree.names(".zip")]
    acts: list[Callable[[], object]] = [
        lambda: look(source, Demands(), now, Looking(lambda url: None)),
        lambda: rebuild_shard(tree.read, 2026, tree.log_keys(), look_for_old_tiles=True),
        lambda: rebuild_shard(tree.read, 2027, tree.log_keys()),
        *(lambda one=one: prove_file(one, tree.read, Demands(), now) for one in zips[:1]),
        lambda: compared(tree),
        lambda: visited_twice(tree),
    ]
    for act in acts:
        try:
            act()
        except RegistryError:
            continue


def compared(tree: PublicTree) -> None:
    web = Web({"https://here.example": tree.read})
    one, other = (open_vantage("https://here.example", web, tree.clock) for _ in range(2))
    compare(one, other, log_keys_of(one, other, Demands()).keys, web, tree.clock)


def visited_twice(tree: PublicTree) -> None:
    with TemporaryDirectory() as folder:
        for _ in range(2):
            visit, memory = visit_again(TreeSource(tree), Path(folder), Demands(), tree.clock(), Looking())
            finish(Path(folder), memory, visit)


@given(
    st.lists(
        st.binary(max_size=60) | bent_json(b'{"type":"index","v":1,"regions":1,"issued_at":5}'), max_size=4
    )
)
def test_leaves_that_a_hostile_log_signs_give_typed_faults_only(entries: list[bytes]) -> None:
    tree = PublicTree(FakeClock(), regions=["XA"])
    tree.bend["leaves"] = lambda leaves: [*entries, *leaves]
    tree.next_window()
    visit = look(TreeSource(tree), Demands(), tree.clock(), Looking())

    assert len(visit.faults) >= len(entries)
    for act in (lambda: rebuild_shard(tree.read, 2026, tree.log_keys()),):
        assert act().faults == []


@settings(max_examples=60)
@given(st.sampled_from(["trust", "index_bytes", "manifest_bytes"]), st.data())
def test_what_a_hostile_registry_signs_and_logs_gives_typed_faults_only(
    step: str, data: st.DataObject
) -> None:
    tree = PublicTree(FakeClock(), regions=["XA"], witnesses=1, quorum=1)
    publish_one(tree, 2)
    tree.bend[step] = lambda content: data.draw(bent_json(content))
    if step == "trust":
        tree.change_trust()
    publish_one(tree, 4)
    assert_only_typed(tree)


def test_a_log_that_signs_more_leaves_than_can_be_read(honest: PublicTree) -> None:
    tree = copy.deepcopy(honest)
    tree.bend["checkpoint"] = lambda head: type(head)(head.origin, 2**62, head.root)
    tree.bend["proof"] = lambda proof: proof
    tree.heartbeat()
    assert_only_typed(tree)
    assert look(TreeSource(tree), Demands(), tree.clock(), Looking()).faults


@given(st.binary(max_size=300))
def test_what_a_witness_shows_gives_typed_faults_only(honest_view: LogView, content: bytes) -> None:
    witness = honest_view.policy.witnesses[0]
    for one in (content, honest_view.current.signed + content, content + honest_view.current.signed):
        compare_witness(one, honest_view, witness)


@pytest.fixture(scope="module")
def honest_view(honest: PublicTree) -> LogView:
    view = look(TreeSource(honest), Demands(), honest.clock(), Looking()).view
    assert view is not None
    return view


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_receipts_that_are_none_are_refused_in_our_words(content: bytes) -> None:
    try:
        read_kept_receipts(content)
    except RegistryError:
        return
    raise AssertionError("nothing passes for a receipt by chance")


@given(st.binary(max_size=200))
def test_sums_that_are_none_are_faults(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "sha256sums").write_bytes(content)
        check_sums(FolderSource(Path(folder)).read)


def test_a_bundle_of_a_damaged_registry_can_be_made(honest: PublicTree, honest_view: LogView) -> None:
    files = dict.fromkeys(honest.files, b"")
    assert dict(Bundle(files.get, honest_view, None).files())[LOG_CHECKPOINT_PATH]
