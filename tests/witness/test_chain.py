"""Whatever a log sends, in whatever order, by however many ways in: what is cosigned is one growing tree."""

import multiprocessing
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.checkpoint import Checkpoint, cosignatures
from registry.protocol.note import Note, decode_signatures, encode_note
from registry.protocol.witness_request import encode_request
from registry.witness.beginning import begin_witness
from registry.witness.cosigner import Witness
from registry.witness.refusals import Inconsistent, NotCosigned, OtherSize
from registry.witness.state import EvidenceKind
from tests.clock import NOON_OF_JUNE_15 as NOON
from tests.protocol.note_signers import ed25519_signer, witness_signer
from tests.witness.conftest import NAME
from tests.witness.shown_log import ORIGIN, ShownLog

SIZE = 20
LOG_SEED, WITNESS_SEED = bytes(range(32)), bytes(range(32, 64))
LOG_SIGNER, WITNESS_SIGNER = ed25519_signer(ORIGIN, LOG_SEED), witness_signer(NAME, WITNESS_SEED)


@cache
def branches() -> tuple[ShownLog, ...]:
    """One log's true tree, and trees that leave it at several sizes."""
    true = ShownLog(SIZE, signers=[LOG_SIGNER])
    return (true, *(true.forked(at, SIZE, f"from {at}: ") for at in (0, 3, 7, 8, 15)))


def begun(folder: Path) -> Witness:
    path = folder / "witness.sqlite"
    witness = begin_witness(path, NAME, has_keys=path.exists(), make_keys=lambda: [WITNESS_SIGNER])
    witness.add_log(LOG_SIGNER.key)
    return witness


requests = st.tuples(
    st.integers(0, len(branches()) - 1),
    st.one_of(st.none(), st.integers(0, SIZE)),
    st.integers(0, SIZE),
    st.sampled_from(["own", "another's", "none"]),
)
"""(which tree, the old size or None for the one that is held, the size, whose proof)"""


def attempt(witness: Witness, request: tuple[int, int | None, int, str], held: int) -> Checkpoint | None:
    """Send it; the checkpoint if it was cosigned."""
    number, old, size, proof = request
    branch = branches()[number]
    prover = branch if proof == "own" else branches()[(number + 1) % len(branches())]
    begin = held if old is None else old
    path = [] if proof == "none" or begin > size else prover.prove(begin, size)
    try:
        lines = witness.add_checkpoint(encode_request(begin, path, encode_note(branch.note(size))), NOON)
    except (NotCosigned, Malformed):
        return None
    signed = Note(branch.note(size).text, decode_signatures(lines))
    assert len(cosignatures(signed, branch.head(size), [WITNESS_SIGNER.key])) == 1
    return branch.head(size)


def assert_one_chain(cosigned: Sequence[Checkpoint]) -> None:
    """Sizes never fall, and one of the log's trees has all of these roots."""
    assert [head.size for head in cosigned] == sorted(head.size for head in cosigned)
    assert any(all(branch.head(head.size) == head for head in cosigned) for branch in branches())


@settings(max_examples=60)
@given(st.lists(requests, max_size=30))
def test_whatever_is_sent_what_is_cosigned_is_one_chain(sent: list[tuple[int, int | None, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        witness = begun(Path(folder))
        cosigned: list[Checkpoint] = []
        for request in sent:
            head = attempt(witness, request, cosigned[-1].size if cosigned else 0)
            if head is not None:
                cosigned.append(head)
        assert_one_chain(cosigned)
        held = [head for _, head in witness.logs()]
        assert [(head.size, head.root) for head in held if head] == [
            (head.size, head.root) for head in cosigned[-1:]
        ]


def test_honest_growth_is_always_cosigned() -> None:
    """The property above would hold for a witness that never cosigns."""
    with tempfile.TemporaryDirectory() as folder:
        witness = begun(Path(folder))
        true = branches()[0]
        for size in range(1, SIZE + 1):
            witness.add_checkpoint(true.request(size - 1, size), NOON)
        assert_one_chain([true.head(SIZE)])


def push(folder: Path, number: int, start: Any, found: Any) -> None:
    """A process of its own that serves the same witness to one of the trees, and grows it step by step."""
    witness = begun(folder)
    branch = branches()[number]
    start.wait()
    cosigned, held = [], 0
    while held < SIZE:
        try:
            witness.add_checkpoint(branch.request(held, held + 1), NOON)
        except OtherSize as other:
            if other.held in (held, SIZE):
                break
            held = other.held
        except Inconsistent:
            break
        else:
            held += 1
            cosigned.append((number, held))
    found.put(cosigned)


def test_processes_that_serve_one_witness_never_cosign_two_trees(tmp_path: Path) -> None:
    begun(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    start, found = spawn.Event(), spawn.Queue()
    numbers = [0, 0, 1, 3]
    pushers = [spawn.Process(target=push, args=(tmp_path, number, start, found)) for number in numbers]
    for pusher in pushers:
        pusher.start()
    start.set()
    cosigned = [pair for _ in pushers for pair in found.get(timeout=60)]
    for pusher in pushers:
        pusher.join(60)

    heads = [branches()[number].head(size) for number, size in cosigned]
    assert_one_chain(sorted(heads, key=lambda head: head.size))
    assert len({head.size for head in heads}) == len(heads), "each step was cosigned for one of them alone"
    assert max(head.size for head in heads) == SIZE
    kinds = {one.kind for one in begun(tmp_path).evidence()}
    assert kinds <= {EvidenceKind.FORK, EvidenceKind.UNPROVEN}
