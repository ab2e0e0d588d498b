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
from registry.client.monitor.visit import FILES_AGAIN_SECONDS, Demands, Looking, Visit, finish, visit_again
from registry.errors import FetchFailed
from registry.protocol.note import KeyKind
from registry.protocol.trust import trust_key_name
from registry.protocol.trust_note import encode_trust_note
from tests.client.monitor.conftest import kinds, publish_one
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
    tree.root = note_signer(trust_key_name(ORIGIN), KeyKind.ED25519, "another")
    tree.change_trust()
    tree.checkpoint()
    visit, _ = come(tree, state)

    assert FaultKind.SIGNATURE in kinds(visit)


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
    visit, _ = come(tree, state)

    assert {FaultKind.INDEX, FaultKind.FILE} <= kinds(visit), name


def test_files_that_vanish_before_their_time_are_missed(tree: PublicTree, state: Path) -> None:
    come(tree, state)
    tree.clock.advance(10 * DAY)
    tree.batches["XA"][3].newest_key_end = 0
    tree.next_window({"XA": tree.keys(1)})
    visit, _ = come(tree, state)

    assert kinds(visit) == {FaultKind.INDEX}


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
