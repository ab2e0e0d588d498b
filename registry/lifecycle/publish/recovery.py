"""The rule of every run's beginning: whatever was published must be in the database, or nothing is signed.

Where our own public files are ahead, an older backup of the database was restored or it was lost. Then what
is missing comes back from our own tiles, and the run ends; the next one goes on. Where the two cannot be one
log nothing is done at all: to sign on would be to fork it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select

from registry.errors import (
    BadSignature,
    LogForked,
    LogSetBack,
    Malformed,
    StorageConflict,
    UntrustedKey,
)
from registry.lifecycle.publish.reimport import Missing, bring_back
from registry.lifecycle.publish.run import Run
from registry.models import LogShard
from registry.protocol.checkpoint import Checkpoint, decode_checkpoint, open_checkpoint
from registry.protocol.index import (
    LOG_CHECKPOINT_PATH,
    shard_checkpoint_path,
    shard_signed_path,
    shard_tile_path,
)
from registry.protocol.intervals import utc_date
from registry.protocol.leaves import Leaf, OpenLeaf, decode_leaf
from registry.protocol.merkle import CompactRange, leaf_hash
from registry.protocol.note import Note, decode_note, encode_note, verifier_key
from registry.protocol.tiles import WIDTH, Tile, decode_bundle, tiles_at
from registry.protocol.trust import shard_year
from registry.transparency.heads import adopt_signed, lay_out_again
from registry.transparency.layout import first_of_bundle, stored_nodes, stored_root, tile_fetcher
from registry.transparency.notes import write_changed
from registry.transparency.witnessing import check_not_halted

EARLIEST_YEAR = 2020
"""No log is older: before it there was nothing to publish."""


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that lies among our public files, signed by our own keys of its year.

    Phones need not have been pointed to it: what was signed counts, whoever has seen it.
    """

    year: int
    checkpoint: Checkpoint
    own_note: bytes
    """With the log's own signatures alone."""

    @property
    def position(self) -> tuple[int, int]:
        """Year and size: the order in which a log grows."""
        return self.year, self.checkpoint.size


def check_not_set_back(run: Run) -> None:
    """Compare the database's head with what was published; mend what can be mended.

    Raises LogSetBack, after the missing leaves were brought back, if the public files are ahead; LogForked if
    they are another log's or another tree's; StorageConflict if they cannot be read; and what
    `check_not_halted` raises while a witness stops the log. Public files that are behind are laid out again
    from the database, and nothing is raised.
    """
    shard = run.shard()
    found = _all_published(run, shard)
    published = max(found, key=lambda one: one.position, default=None)
    if published is not None and published.position > _position(shard):
        if not _adopt(run, shard, published):
            _bring_back(run, shard, published)
        shard = run.shard()
    if shard is None:
        return
    for one in found:
        _refuse_another_tree(run, shard, one)
    if published is not None and published.year < shard.year:
        _restore_past_shards(run, shard)
    if shard.size:
        _restore_right_edge(run, shard, published)
    check_not_halted(run)


def _position(shard: LogShard | None) -> tuple[int, int]:
    return (shard.year, shard.size) if shard else (0, 0)


def _all_published(run: Run, shard: LogShard | None) -> list[Published]:
    """Every checkpoint that lies where one of ours would, of years that there can be more of than we know.

    One that is damaged counts as not there.
    """
    this_year = utc_date(run.now).year
    known = shard.year if shard is not None else EARLIEST_YEAR
    # Years may have been skipped, and the clock may be wrong either way.
    years = range(min(known, this_year), max(known, this_year) + 2)
    paths = [LOG_CHECKPOINT_PATH, *(path for year in years for path in _paths_of(year))]
    return [one for path in paths if (one := _published_at(run, path)) is not None]


def _paths_of(year: int) -> tuple[str, str]:
    return shard_checkpoint_path(year), shard_signed_path(year)


def _newest_of(run: Run, year: int) -> Published:
    """The farthest checkpoint of the shard. Raises StorageConflict if there is none."""
    found = [one for path in _paths_of(year) if (one := _published_at(run, path)) and one.year == year]
    if not found:
        raise StorageConflict(f"{shard_checkpoint_path(year)} is gone or damaged")
    return max(found, key=lambda one: one.position)


def _adopt(run: Run, shard: LogShard | None, published: Published) -> bool:
    """Whether the note is of leaves that this very database has sequenced: a crash kept it from knowing."""
    if shard is None or shard.year != published.year:
        return False
    return adopt_signed(run, shard, published.checkpoint, published.own_note)


def _published_at(run: Run, path: str) -> Published | None:
    content = run.storage.read(path)
    if content is None:
        return None
    try:
        origin = decode_checkpoint(decode_note(content).text).origin
    except Malformed:
        return None
    try:
        year = shard_year(run.log.origin, origin)
    except Malformed as error:
        raise LogForked(
            f"{path} in the public folder is of the log {origin}, ours is {run.log.origin}: nothing is "
            "signed over another log's files"
        ) from error
    keys = [verifier_key(signer) for signer in run.log.signers(year)]
    try:
        note, checkpoint = open_checkpoint(content, keys)
    except BadSignature:
        return None
    except UntrustedKey as error:
        raise LogForked(
            f"{path} is signed by other keys than ours of {year}: bring back the keys that began the shard"
        ) from error
    own = tuple(line for line in note.signatures if any(line.is_by(key) for key in keys))
    return Published(year, checkpoint, encode_note(Note(note.text, own)))


def _refuse_another_tree(run: Run, shard: LogShard, published: Published) -> None:
    """Raises LogForked unless what was published is what the database has signed, or is a part of it."""
    if published.year == shard.year:
        known: LogShard | None = shard
    else:
        known = run.session.scalars(select(LogShard).where(LogShard.year == published.year)).one_or_none()
        run.session.expunge_all()
        run.session.rollback()
    theirs = published.checkpoint
    if known is None or theirs.size > known.size:
        raise LogForked(
            f"{theirs.origin} was published with {theirs.size} leaves; the database closed that year with "
            f"{known.size if known else 0}. Nothing is signed: one of the two is not this log's"
        )
    if theirs.size == known.size and theirs.root != known.root:
        raise LogForked(
            f"two roots of {theirs.origin} at size {theirs.size}: {theirs.root.hex()} was published, "
            f"{known.root.hex()} stands in the database. Nothing is signed; keep both as evidence"
        )


# ------------------------------------------------------------ public files behind


def _restore_right_edge(run: Run, shard: LogShard, published: Published | None) -> None:
    """Let the tiles and the newest bundle of the signed head be there, from the database if need be."""
    full, width = tiles_at(None, shard.size)
    newest = Tile(None, full, width) if width else Tile(None, full - 1)
    try:
        is_whole = stored_root(run.storage, shard.year, shard.size) == shard.root
        is_whole = is_whole and run.storage.read(shard_tile_path(shard.year, newest)) is not None
    except StorageConflict:
        is_whole = False
    if is_whole:
        return
    lay_out_again(run, shard, _sound_size(run, shard, published))


def _sound_size(run: Run, shard: LogShard, published: Published | None) -> int:
    """How many leaves lie in public as they were signed, below the head; 0 if that cannot be told."""
    if published is None or published.year != shard.year or published.checkpoint.size >= shard.size:
        return 0
    try:
        root = stored_root(run.storage, shard.year, published.checkpoint.size)
    except StorageConflict:
        return 0
    return published.checkpoint.size if root == published.checkpoint.root else 0


def _restore_past_shards(run: Run, shard: LogShard) -> None:
    """Let every closed shard lie in public as it ended. Its witnesses' lines are lost if its file was."""
    past = run.session.scalars(select(LogShard).where(LogShard.year < shard.year, LogShard.is_closed)).all()
    run.session.expunge_all()
    run.session.rollback()
    for one in past:
        published = _published_at(run, shard_checkpoint_path(one.year))
        if published is not None and published.checkpoint.size == one.size:
            continue
        _restore_right_edge(run, one, published)
        with run.fenced():
            write_changed(run.storage, shard_checkpoint_path(one.year), one.checkpoint)


# ------------------------------------------------------------ the database behind


def _bring_back(run: Run, shard: LogShard | None, published: Published) -> None:
    """Raises LogSetBack when all that is missing is back; LogForked or StorageConflict when it cannot be."""
    where = f"{published.checkpoint.origin} has {published.checkpoint.size} published leaves"
    known = f"the database has {shard.size} of {shard.origin}" if shard else "the database has none"
    try:
        missing = list(_missing(run, shard, published))
        bring_back(run, shard, missing)
    except (Malformed, StorageConflict) as error:
        raise StorageConflict(
            f"{where}, {known}: an older backup was restored, or the database was lost. What is missing "
            f"cannot be read from our own tiles, so nothing is signed: {error}"
        ) from error
    raise LogSetBack(
        f"{where}, {known}: an older backup was restored, or the database was lost. The missing leaves, "
        "windows and files are back from our own tiles. Nothing was signed in this run; the next goes on. "
        "Uploads that only the lost database held are gone"
    )


def _missing(run: Run, shard: LogShard | None, target: Published) -> Iterator[Missing]:
    """Leaves that the database lacks, shard by shard up to the published one, each led to its signed root."""
    for year in _years(run, shard, target):
        published = target if year == target.year else _newest_of(run, year)
        known = shard if shard is not None and shard.year == year else None
        yield _missing_of(run, known, published)


def _missing_of(run: Run, known: LogShard | None, published: Published) -> Missing:
    year, checkpoint = published.year, published.checkpoint
    size = known.size if known else 0
    if size > checkpoint.size:
        raise LogForked(f"{checkpoint.origin} went on from {checkpoint.size} leaves, the database has {size}")
    frontier = CompactRange.at(size, stored_nodes(run.storage, year, checkpoint.size))
    if known is not None and frontier.root() != known.root:
        raise LogForked(
            f"two roots of {checkpoint.origin} at size {size}: {frontier.root().hex()} lies under what was "
            f"published at {checkpoint.size}, {known.root.hex()} stands in the database. Nothing is signed; "
            "keep both as evidence"
        )
    entries = _read_entries(run, year, size, checkpoint.size)
    if frontier.extended(leaf_hash(entry) for entry in entries).root() != checkpoint.root:
        raise StorageConflict(f"the bundles of log/{year} do not lead to the root that was published")
    shown = _published_at(run, shard_checkpoint_path(year))
    shown_size = shown.checkpoint.size if shown is not None and shown.year == year else 0
    return Missing(year, checkpoint, published.own_note, size, tuple(entries), shown_size)


def _years(run: Run, shard: LogShard | None, target: Published) -> list[int]:
    """From the shard that the database is in, or from the log's first, to the published one."""
    years = [target.year]
    while shard is None or years[0] > shard.year:
        first = _first_leaf(run, years[0])
        if not isinstance(first, OpenLeaf):
            break
        years.insert(0, shard_year(run.log.origin, first.origin))
    if shard is not None and years[0] != shard.year:
        raise LogForked(f"the published log does not lead back to {shard.origin}, which the database has")
    return years


def _first_leaf(run: Run, year: int) -> Leaf:
    return decode_leaf(_read_entries(run, year, 0, 1, _newest_of(run, year).checkpoint.size)[0])


def _read_entries(run: Run, year: int, first: int, end: int, size: int | None = None) -> list[bytes]:
    """Leaves [first, end) of a published shard of `size` leaves, by its bundles."""
    fetch = tile_fetcher(run.storage, year)
    full, width = tiles_at(None, size or end)
    entries: list[bytes] = []
    for number in range(first // WIDTH, -(-end // WIDTH)):
        tile = Tile(None, number, WIDTH if number < full else width)
        entries += decode_bundle(fetch(tile), tile.width)
    at = first_of_bundle(first)
    return entries[first - at : end - at]
