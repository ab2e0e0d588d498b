"""A monitor comes back: what only a memory can see, and what a crash or a damaged memory leaves."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry.client.failures import NoAnswer
from registry.client.monitor.faults import Fault, FaultKind
from registry.client.monitor.memory import STATE_NAME, load_memory
from registry.client.monitor.rebuild import rebuild_shard
from registry.client.monitor.source import FolderSource
from registry.client.monitor.visit import (
    FILES_AGAIN_SECONDS,
    Demands,
    Looking,
    Visit,
    finish,
    look,
    visit_again,
)
from registry.errors import FetchFailed
from registry.protocol.index import TRUST_PATH
from registry.protocol.note import KeyKind
from registry.protocol.trust import trust_key_name
from registry.protocol.trust_note import encode_trust_note
from tests.client.monitor.conftest import kinds, publish_one
from tests.clock import FakeClock
from tests.public_tree import DAY, ORIGIN, PublicTree, TreeSource, note_signer


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def come(tree: PublicTree, state: Path, **looking: object) -> tuple[Visit, list[Fault]]:
    """A visit; returns it and the faults that are new."""
    visit, memory = visit_again(
        TreeSource(tree, is_live=True),
        state,
        Demands(),
        tree.clock(),
        Looking(**looking),  # type: ignore[arg-type]
    )
    return visit, finish(state, memory, visit)


def test_each_visit_goes_on_from_the_last(tree: PublicTree, state: Path) -> None:
    first, _ = come(tree, state)
    publish_one(tree, 6)
    second, _ = come(tree, state)

    assert (first.faults, second.faults) == ([], [])
    assert (first.since, second.since) == (None, first.at)
    assert second.new_leaves == 3
    assert (first.contents.files_read, second.contents.files_read) == (4, 2)
    memory = load_memory(state)
    assert memory.sequences == {"CN-HB": 6, "XA": 6}
    assert memory.checkpoints == {"2026": tree.shard.note.decode()}
    assert memory.trust_sequence == 1


def test_nothing_is_read_twice_but_files_after_a_day(tree: PublicTree, state: Path) -> None:
    come(tree, state)
    again, _ = come(tree, state)
    tree.clock.advance(FILES_AGAIN_SECONDS)
    tree.heartbeat()
    publish_one(tree, 7)
    a_day_later, _ = come(tree, state)

    assert again.contents.files_read == 0
    assert a_day_later.contents.files_read == 4
    assert a_day_later.faults == []


def test_the_mirror_is_an_archive_of_the_log(tree: PublicTree, state: Path) -> None:
    for number in range(6, 140):
        publish_one(tree, number)
        if number % 31 == 0:
            come(tree, state)
    tree.clock.advance(200 * DAY)
    publish_one(tree, 140)
    come(tree, state)

    for year in (2026, 2027):
        mirror = FolderSource(state / "mirror")
        rebuilt = rebuild_shard(mirror.read, year, tree.log_keys(), look_for_old_tiles=True)
        assert rebuilt.faults == []
        assert rebuilt.entries == tree.shards[year].size
        assert rebuilt.partial_tiles == 0, "what is superseded goes"
    there = {path.relative_to(state / "mirror").as_posix() for path in (state / "mirror").rglob("*.p/*")}
    assert {name for name in there if "entries" in name} <= set(tree.files)


def test_a_year_that_turns_between_two_visits(tree: PublicTree, state: Path) -> None:
    come(tree, state)
    tree.clock.advance(200 * DAY)
    publish_one(tree, 6)
    visit, _ = come(tree, state)

    assert visit.faults == []
    assert sorted(load_memory(state).checkpoints) == ["2026", "2027"]


# ---------------------------------------------------------------- what only a memory sees


def forked(tree: PublicTree) -> PublicTree:
    """Another branch of the same history, signed by the same keys."""
    return copy.deepcopy(tree)


def test_a_log_that_went_back_is_rolled_back(tree: PublicTree, state: Path) -> None:
    older = forked(tree)
    publish_one(tree, 6)
    come(tree, state)
    older.clock = tree.clock
    visit, _ = come(older, state)

    assert FaultKind.ROLLED_BACK in kinds(visit)
    fault = next(fault for fault in visit.faults if fault.where == "log/2026/checkpoint")
    assert fault.evidence == (tree.shard.note, older.shard.note)
    assert load_memory(state).checkpoints["2026"] == tree.shard.note.decode(), "the newer one is kept"


def test_two_roots_at_one_size_are_a_split_view(tree: PublicTree, state: Path) -> None:
    other = forked(tree)
    publish_one(tree, 6)
    other.next_window({"XA": other.keys(7)})
    come(tree, state)
    visit, _ = come(other, state)

    fault = next(fault for fault in visit.faults if fault.kind is FaultKind.SPLIT_VIEW)
    assert fault.evidence == (tree.shard.note, other.shard.note)


def test_a_rewritten_history_is_inconsistent_at_any_later_size(tree: PublicTree, state: Path) -> None:
    other = forked(tree)
    publish_one(tree, 6)
    come(tree, state)
    for number in (7, 8, 9):
        publish_one(other, number)
    visit, _ = come(other, state)

    assert FaultKind.INCONSISTENT in kinds(visit)


def test_a_year_that_went_back(tree: PublicTree, state: Path) -> None:
    older = forked(tree)
    tree.clock.advance(200 * DAY)
    publish_one(tree, 6)
    come(tree, state)
    older.clock = tree.clock
    visit, _ = come(older, state)

    assert FaultKind.ROLLED_BACK in kinds(visit)


def test_cosignatures_that_are_older_than_those_seen(tree: PublicTree, state: Path) -> None:
    older = forked(tree)
    tree.clock.advance(3600)
    tree.heartbeat()
    come(tree, state)
    older.clock = tree.clock
    visit, _ = come(older, state)

    assert kinds(visit) == {FaultKind.TIMES}


def test_trust_material_that_went_back(tree: PublicTree, state: Path) -> None:
    older = forked(tree)
    tree.change_trust()
    tree.checkpoint()
    come(tree, state)
    older.change_trust(publication={"floor": 9, "retention_days": 21})
    older.checkpoint()
    older.clock = tree.clock
    visit, _ = come(older, state)

    assert FaultKind.SPLIT_VIEW in kinds(visit), "two materials were signed as number 2"


def test_another_root_key_is_refused(tree: PublicTree, state: Path) -> None:
    come(tree, state)
    right = tree.root.key.vkey
    tree.root = note_signer(trust_key_name(ORIGIN), KeyKind.ED25519, "another")
    tree.change_trust()
    tree.checkpoint()

    for _ in range(2):
        assert FaultKind.SIGNATURE in kinds(come(tree, state)[0]), "it is not taken over"
    assert load_memory(state).trust_vkey == right


def test_trust_material_that_names_another_predecessor(tree: PublicTree, state: Path) -> None:
    come(tree, state)
    tree.trust_bytes = b"what was never shown"
    tree.change_trust()
    tree.checkpoint()

    for _ in range(2):
        said = [fault.what for fault in come(tree, state)[0].faults if fault.kind is FaultKind.TRUST]
        assert any("does not name the material that was seen" in what for what in said)
    assert load_memory(state).trust_sequence == 1


def test_a_root_key_that_the_old_one_signs_in_is_taken(tree: PublicTree, state: Path) -> None:
    come(tree, state)
    old = tree.root
    tree.root = note_signer(trust_key_name(ORIGIN), KeyKind.ED25519, "another")
    tree.change_trust()
    tree.checkpoint()
    assert tree.trust_note is not None
    note = encode_trust_note(tree.trust_note, old, tree.root)
    tree.files[".well-known/exposure-registry.json.note"] = note
    visit, _ = come(tree, state)

    # No leaf added the new root in this story, which is another fault; but its signature is good.
    assert kinds(visit) == {FaultKind.UNLOGGED}
    assert load_memory(state).trust_vkey == tree.root.key.vkey


def test_a_file_that_was_changed_in_a_window_that_was_read(tree: PublicTree, state: Path) -> None:
    come(tree, state)
    name = next(name for name in tree.names(".zip") if "XA" in name)
    batch = tree.batches["XA"][1]
    other = replace(batch.files[0], sha256="0" * 64)
    batch.files = (other,)
    tree.checkpoint()

    for _ in range(2):
        visit, _ = come(tree, state)
        assert {FaultKind.INDEX, FaultKind.FILE} <= kinds(visit), name
        assert any("was changed after it was published" in fault.what for fault in visit.faults)


def test_files_that_vanish_before_their_time_are_missed_until_it_has_come(
    clock: FakeClock, state: Path
) -> None:
    tree = PublicTree(clock, window=DAY)
    tree.pass_days(12)
    come(tree, state)
    gone = tree.batches["XA"][3]
    gone.newest_key_end = 0
    tree._drop(gone)
    missed = []
    for _ in range(20):
        tree.pass_days(1)
        visit, _ = come(tree, state)
        assert kinds(visit) <= {FaultKind.INDEX}
        missed.append([fault.what for fault in visit.faults])

    # Its keys had ended a day before its window, and files are listed for 20 days after that.
    assert [len(faults) for faults in missed] == [1] * 10 + [0] * 10
    assert all(gone.files[0].path in faults[0] for faults in missed[:10])
    assert load_memory(state).vanished == {}
    assert load_memory(state).sequences["XA"] == 32, "all else was remembered meanwhile"


def test_a_file_that_was_missed_and_is_back_or_withdrawn_is_missed_no_more(
    clock: FakeClock, state: Path
) -> None:
    tree = PublicTree(clock, window=DAY)
    tree.pass_days(12)
    come(tree, state)
    files = dict(tree.files)
    for region in tree.regions:
        tree.batches[region][3].newest_key_end = 0
    tree.pass_days(1)
    assert len(come(tree, state)[0].faults) == 2
    tree.batches["XA"][3].newest_key_end = 10**9
    tree.files.update({name: one for name, one in files.items() if name not in tree.files})
    tree.withdraw("CN-HB", 4)

    assert kinds(come(tree, state)[0]) == {FaultKind.INDEX}, "it was added to a window that was complete"
    assert load_memory(state).vanished == {}


@pytest.mark.parametrize("how", ["unreadable", "gone", "expired"])
def test_an_index_that_cannot_be_used_for_once_hides_nothing(tree: PublicTree, state: Path, how: str) -> None:
    come(tree, state)
    tree.clock.advance(10 * DAY)
    tree.batches["XA"][3].newest_key_end = 0
    if how == "unreadable":
        tree.bend["index_bytes"] = lambda content: b"{" if b'"XA"' in content else content
    if how == "expired":
        tree.bend["index"] = lambda index: replace(index, expires_at=index.issued_at + 1)
    publish_one(tree, 7)
    if how == "gone":
        del tree.files["exposures/XA/index.json"]
    if how == "expired":
        tree.clock.advance(2)
    come(tree, state)
    tree.bend.clear()
    publish_one(tree, 9)
    visit, _ = come(tree, state)

    assert any("XA" in fault.where and "no more" in fault.what for fault in visit.faults)


def test_files_of_a_region_that_is_given_up_are_missed(tree: PublicTree, state: Path) -> None:
    come(tree, state)
    tree.regions = ["CN-HB"]
    tree.change_trust()
    publish_one(tree, 6)

    for _ in range(2):
        faults = [fault for fault in come(tree, state)[0].faults if fault.kind is FaultKind.INDEX]
        assert {fault.where for fault in faults} == {"exposures/XA/index.json"}
        assert len(faults) == 2


def test_a_batch_that_was_back_dated_is_told_at_every_visit(tree: PublicTree, state: Path) -> None:
    tree.clock.advance(3600)
    tree.heartbeat()
    come(tree, state)
    tree.bend["index_leaf"] = lambda leaf: replace(leaf, issued_at=leaf.issued_at - 5000)
    publish_one(tree, 6)

    for _ in range(2):
        assert any("claims to have been issued" in fault.what for fault in come(tree, state)[0].faults)


# ---------------------------------------------------------------- telling, crashing


def test_a_fault_is_new_once_and_new_again_when_it_comes_back(tree: PublicTree, state: Path) -> None:
    name = tree.names(".zip")[0]
    content = tree.files.pop(name)
    first = come(tree, state)[1]
    second = come(tree, state)[1]
    tree.files[name] = content
    mended = come(tree, state)[1]
    del tree.files[name]
    tree.clock.advance(FILES_AGAIN_SECONDS)
    publish_one(tree, 7)
    again = come(tree, state)[1]

    assert [fault.where for fault in first] == [name]
    assert (second, mended) == ([], [])
    assert [fault.where for fault in again] == [name]


def test_a_crash_between_mirror_and_memory_is_mended_by_the_next_visit(tree: PublicTree, state: Path) -> None:
    come(tree, state)
    before = (state / STATE_NAME).read_bytes()
    publish_one(tree, 6)
    come(tree, state)
    (state / STATE_NAME).write_bytes(before)
    publish_one(tree, 7)
    visit, _ = come(tree, state)

    assert visit.faults == []
    assert load_memory(state).sequences["XA"] == 7


def test_a_mirror_that_is_damaged_is_fetched_anew(tree: PublicTree, state: Path) -> None:
    come(tree, state)
    for path in (state / "mirror" / "log").rglob("*"):
        if path.is_file() and "entries" in str(path):
            path.write_bytes(b"nothing")
    publish_one(tree, 6)
    visit, _ = come(tree, state)
    assert visit.faults == []

    shutil.rmtree(state / "mirror")
    publish_one(tree, 7)
    assert come(tree, state)[0].faults == []


NO_STATES = ["", "{", "[]", '{"v":9}', '{"v":1,"x":2}', '{"v":1,"ends":[]}', '{"v":1,"checkpoints":{"x":""}}']


@pytest.mark.parametrize("content", [text.encode() for text in NO_STATES])
def test_a_memory_that_cannot_be_read_is_not_overwritten(
    content: bytes, tree: PublicTree, state: Path
) -> None:
    come(tree, state)
    (state / STATE_NAME).write_bytes(content)

    with pytest.raises(FetchFailed, match="state"):
        come(tree, state)
    assert (state / STATE_NAME).read_bytes() == content


def test_without_an_answer_nothing_is_remembered(tree: PublicTree, state: Path) -> None:
    class Silent(TreeSource):
        def read(self, path: str) -> bytes | None:
            raise NoAnswer("no answer")

    with pytest.raises(NoAnswer):
        visit_again(Silent(tree), state, Demands(), tree.clock(), Looking())
    assert not (state / STATE_NAME).exists()


# ---------------------------------------------------------------- a registry at work


class AtWork(TreeSource):
    """Publishes a window while it is being read for the first time."""

    is_live = True

    def __init__(self, tree: PublicTree, act: Callable[[], None], when: str) -> None:
        super().__init__(tree)
        self.is_live = True
        self._act: Callable[[], None] | None = act
        self._when = when

    def read(self, path: str) -> bytes | None:
        if path.endswith(self._when) and self._act is not None:
            act, self._act = self._act, None
            act()
        return super().read(path)


@pytest.mark.parametrize(
    "when", ["log/checkpoint", "index.json", "tlog-proof", "exposure-registry.json.note", ".zip", "index.txt"]
)
def test_a_registry_that_publishes_meanwhile_is_not_blamed(tree: PublicTree, state: Path, when: str) -> None:
    pauses: list[float] = []
    source = AtWork(tree, lambda: publish_one(tree, 6), when)
    looking = Looking(pause=pauses.append)
    visit, _ = visit_again(source, state, Demands(), tree.clock() + 3600, looking)

    assert visit.faults == []
    assert len(pauses) <= 1


class InTurn(TreeSource):
    """Several servers behind one address: each look meets the next of them, the last one for ever."""

    def __init__(self, *trees: PublicTree) -> None:
        super().__init__(trees[0], is_live=True)
        self._trees = [*trees]

    def read(self, path: str) -> bytes | None:
        if path == TRUST_PATH:  # what every look begins with
            self.tree = self._trees.pop(0) if len(self._trees) > 1 else self._trees[0]
        return super().read(path)


def look_in_turn(state: Path | None, *trees: PublicTree) -> Visit:
    source, looking = InTurn(*trees), Looking(pause=lambda seconds: None)
    now = max(tree.clock() for tree in trees)
    if state is None:
        return look(source, Demands(), now, looking)
    visit, memory = visit_again(source, state, Demands(), now, looking)
    finish(state, memory, visit)
    return visit


def test_what_two_notes_prove_is_not_undone_by_a_better_answer(tree: PublicTree, state: Path) -> None:
    other = forked(tree)
    publish_one(tree, 6)
    other.next_window({"XA": other.keys(7)})
    come(tree, state)
    visit = look_in_turn(state, other, tree)
    (fault,) = visit.faults

    assert (fault.kind, set(fault.evidence)) == (FaultKind.SPLIT_VIEW, {tree.shard.note, other.shard.note})
    assert load_memory(state).checkpoints["2026"] == tree.shard.note.decode()


@pytest.mark.parametrize("more", [0, 1, -1])
def test_two_histories_within_one_visit_are_evidence_without_a_memory(tree: PublicTree, more: int) -> None:
    other = forked(tree)
    publish_one(tree, 6)
    other.next_window({"XA": other.keys(7)})
    for _ in range(abs(more)):
        (other if more > 0 else tree).next_window()
    # Something passing makes the tool look again: whatever it meets then is held against the first answer.
    del other.files[other.names(".zip")[0]]
    visit = look_in_turn(None, other, tree)
    (fault,) = visit.faults

    assert fault.kind in (
        (FaultKind.SPLIT_VIEW,) if not more else (FaultKind.INCONSISTENT, FaultKind.ROLLED_BACK)
    )
    assert set(fault.evidence) == {tree.shard.note, other.shard.note}


def test_a_signed_checkpoint_whose_log_could_not_be_read_is_held_against_the_next(tree: PublicTree) -> None:
    other = forked(tree)
    publish_one(tree, 6)
    other.next_window({"XA": other.keys(7)})
    for name in [name for name in other.files if "entries" in name]:
        del other.files[name]

    for trees in ((other, tree), (tree, other)):
        if trees[0] is tree:
            tree.files[tree.names(".zip")[0]] = b"other"
        kinds_seen = kinds(look_in_turn(None, *trees))
        assert FaultKind.SPLIT_VIEW in kinds_seen


def test_a_fault_that_stays_is_believed_after_three_looks(tree: PublicTree, state: Path) -> None:
    del tree.files[tree.names(".zip")[0]]
    pauses: list[float] = []
    source = TreeSource(tree, is_live=True)
    visit, _ = visit_again(source, state, Demands(), tree.clock(), Looking(pause=pauses.append))

    assert kinds(visit) == {FaultKind.FILE}
    assert len(pauses) == 2


# ---------------------------------------------------------------- witnesses at their own addresses


def asking(tree: PublicTree) -> Callable[[str], bytes | None]:
    def fetch(url: str) -> bytes | None:
        for witness in tree.witnesses:
            if url.startswith(f"https://{witness.name}/"):
                return witness.read(url.removeprefix(f"https://{witness.name}/"))
        raise AssertionError(url)

    return fetch


@pytest.fixture
def watched(tree: PublicTree) -> PublicTree:
    """The tree, with witnesses that have addresses."""
    tree.monitoring = True
    tree.change_trust()
    tree.checkpoint()
    return tree


def test_witnesses_are_asked_themselves(watched: PublicTree, state: Path) -> None:
    watched.witnesses[2].awake = False
    publish_one(watched, 6)
    visit, _ = come(watched, state, fetch_checkpoint=asking(watched))

    assert visit.faults == []
    assert [report.lag for report in visit.witnesses] == [0, 0, 3]


def test_a_witness_that_was_shown_another_history_gives_it_away(watched: PublicTree, state: Path) -> None:
    other = forked(watched)
    publish_one(watched, 6)
    other.next_window({"XA": other.keys(9)})
    watched.witnesses[1].latest = other.witnesses[1].latest
    visit, _ = come(watched, state, fetch_checkpoint=asking(watched))

    fault = next(fault for fault in visit.faults if fault.kind is FaultKind.SPLIT_VIEW)
    assert fault.where == "witness w2"
    assert len(fault.evidence) == 2


def test_what_is_held_back_from_us_a_witness_has_seen(watched: PublicTree, state: Path) -> None:
    files = dict(watched.files)
    publish_one(watched, 6)
    watched.files = files
    visit, _ = come(watched, state, fetch_checkpoint=asking(watched))

    assert kinds(visit) == {FaultKind.FROZEN}


def test_a_witness_that_does_not_answer_is_no_fault(watched: PublicTree, state: Path) -> None:
    def fetch(url: str) -> bytes | None:
        raise NoAnswer("no answer from it")

    visit, _ = come(watched, state, fetch_checkpoint=fetch)

    assert visit.faults == []
    assert {report.error for report in visit.witnesses} == {"no answer from it"}
