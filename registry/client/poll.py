"""Polling: fetch proof and index, then what is new, verify it, match it, remember it. Step 5 of a key's life.

The cursor is a set of content hashes and moves over a file only in the transaction that stores its matches.
A file that fails is left for the next poll and stops nothing else. Must never send anything that another
phone would not send too: no parameters, no header of the registry's own choosing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from registry.client.failures import NoAnswer, Throttled, TooLarge, UnloggedFile
from registry.client.match import Exposure, SightingTable, match_keys
from registry.client.newest import NewestIndex
from registry.client.pinned import PinnedTrust
from registry.client.proof import IndexProof
from registry.client.store import PhoneStore
from registry.client.transport import LONGEST_PAUSE_SECONDS, RandomBytes, Transport, unexpected
from registry.client.trust import KeyChange
from registry.client.verify import MAX_FILE_BYTES, trusted_keys, verify_file
from registry.errors import Distrusted, FetchFailed, Malformed, RegistryError, UntrustedKey
from registry.protocol.export_file import ExportFile
from registry.protocol.index import EXPOSURES, TRUST_NOTE_PATH, Index, IndexFile, IndexWindow
from registry.protocol.intervals import Clock

PERIOD_SECONDS = 4 * 3600
JITTER = 0.25
FIRST_RETRY_SECONDS = 30
MAX_SILENT_FILES = 3
"""After so many files in a row without any answer the network is gone, and the rest would only wait."""

Progress = Callable[[int, int], None]
"""Told how many files of how many have been dealt with; never told anything if there are none."""

_EXPECTED = (FetchFailed, Malformed, Distrusted)


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be had or believed: its path below the registry's address, and why."""

    path: str
    error: RegistryError


@dataclass(frozen=True, slots=True)
class PollReport:
    """What a poll brought. Times are unix seconds.

    `proof` is what proves the index that was believed, None if it was believed without; `is_proven` says that
    the proof lacks nothing. What is lacking, while that is borne with, stands in `warnings`.
    `index_changed` is False if the index is the one that was known. `exposures` are new matches that
    still count after the poll, `withdrawn` how many keys matched before it were revoked. `retry_at` is when
    the registry asks to be tried again at the earliest, `next_poll_at` when this phone should (never before
    `retry_at`).
    """

    index_changed: bool
    files_read: int
    files_unread: int
    keys_read: int
    exposures: tuple[Exposure, ...]
    withdrawn: int
    failures: tuple[Failure, ...]
    warnings: tuple[Failure, ...]
    proof: IndexProof | None
    is_proven: bool
    key_change: KeyChange | None
    retry_at: float | None
    next_poll_at: float

    @property
    def good(self) -> bool:
        """Whether everything that the registry offers is now read: only then is the card fresh."""
        return not self.failures


def poll(
    store: PhoneStore,
    transport: Transport,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
    progress: Progress = lambda done, total: None,
) -> PollReport:
    """Polls once. What the registry does wrong stands in the report; raises only `NotSetUp`.

    (Also for a phone that was set up before registries had a root key, and has to pin it first.) A crash at
    any point loses nothing: what was not stored is fetched again next time.
    """
    now = clock()
    store.forget(now)
    run = _Run(store, transport, now, progress)
    state = store.poll_state()
    # A pause that ends later than any can be asked for is left from a clock that was wrong.
    if state.retry_at is not None and now < state.retry_at <= now + LONGEST_PAUSE_SECONDS:
        pause = Throttled(
            "the registry asked for a pause that is not over", status=429, retry_at=state.retry_at
        )
        run.fail(run.newest.path, pause)
    elif (index := run.fetch_index()) is not None:
        run.read_files(index)
    return run.finish(random_bytes)


class _Run:
    """One poll under way."""

    def __init__(self, store: PhoneStore, transport: Transport, now: float, progress: Progress) -> None:
        self._store = store
        self._transport = transport
        self._now = now
        self._progress = progress
        self._failures: list[Failure] = []
        self._warnings: list[Failure] = []
        self._pinned = PinnedTrust(store, transport, now=now, fail=self.fail, warn=self._warn)
        self.newest = NewestIndex(store, transport, self._pinned, now=now, warn=self._warn)
        self._look_up()
        self._proof: IndexProof | None = None
        self._exposures: list[Exposure] = []
        self._withdrawn = self._files_read = self._files_unread = self._keys_read = 0

    def fail(self, path: str, error: RegistryError) -> None:
        self._failures.append(Failure(path, error))

    def _warn(self, path: str, error: RegistryError) -> None:
        self._warnings.append(Failure(path, error))

    def fetch_index(self) -> Index | None:
        """The newest index, or None if there is none to be believed."""
        try:
            self._pinned.keep_fresh()
        except Distrusted as error:
            self.fail(TRUST_NOTE_PATH, error)
            return None
        try:
            index = self.newest.fetch()
        except _EXPECTED as error:
            self.fail(self.newest.path, error)
            return None
        self._proof = self.newest.proof
        # What an unproven file said may just have been forgotten.
        self._look_up()
        return index

    def _look_up(self) -> None:
        self._known = self._store.known_keys()
        self._matched = {exposure.key_data for exposure in self._store.exposures() if not exposure.withdrawn}
        self._own = {key.key_data for key in self._store.own_keys()}

    def read_files(self, index: Index) -> None:
        """Reads every file that was not read before, oldest first, each on its own."""
        read = self._store.read_files()
        unread = [
            (window, file) for window in index.windows for file in window.files if file.sha256 not in read
        ]
        self._files_unread = len(unread)
        table = SightingTable(self._store.sightings()) if unread else SightingTable(())
        silent = 0
        for done, (window, file) in enumerate(unread):
            self._progress(done, len(unread))
            try:
                self._read_file(window, file, table)
                silent = 0
            except _EXPECTED as error:
                self.fail(f"{EXPOSURES}/{file.path}", error)
                if isinstance(error, UnloggedFile):
                    self.newest.keep_evidence(error)
                silent = silent + 1 if isinstance(error, NoAnswer) else 0
                if silent >= MAX_SILENT_FILES or (isinstance(error, Throttled) and error.retry_at):
                    break
            else:
                self._files_read += 1
                self._files_unread -= 1
        if unread:
            self._progress(len(unread) - self._files_unread, len(unread))

    def _read_file(self, window: IndexWindow, file: IndexFile, table: SightingTable) -> None:
        if file.size > MAX_FILE_BYTES:
            raise TooLarge(f"{file.path} has {file.size} bytes; no honest file needs so many")
        url = f"{self._pinned.base_url}/{EXPOSURES}/{file.path}"
        answer = self._transport.get(url, {}, file.size)
        if answer.status != 200:
            raise unexpected(answer, file.path, self._now)
        export = self._verify(answer.body, file, window)
        outcome = match_keys(
            export.keys,
            export.revised_keys,
            table,
            known=self._known,
            matched=self._matched,
            own=self._own,
        )
        # A crash before this line: the file is fetched again. After it: never.
        self._store.keep_outcome(
            outcome, sha256=file.sha256, window_end=window.end, is_proven=self.newest.is_proven
        )
        self._keys_read += len(export.keys) + len(export.revised_keys)
        # Matched and revoked within one poll: nobody has been warned, so there is nothing to take back.
        unannounced = {exposure.key_data for exposure in self._exposures}
        self._withdrawn += len(outcome.withdrawn & self._matched - unannounced)
        self._exposures = [one for one in self._exposures if one.key_data not in outcome.withdrawn]
        self._exposures += outcome.exposures
        self._known.update((key.key_data, key) for key in outcome.known)
        self._matched |= {exposure.key_data for exposure in outcome.exposures}
        self._matched -= outcome.withdrawn

    def _verify(self, content: bytes, file: IndexFile, window: IndexWindow) -> ExportFile:
        def verify() -> ExportFile:
            trusted = trusted_keys(self._pinned.trust, window, now=self._now)
            region = self._pinned.region
            return verify_file(content, file, window, region=region, trusted=trusted, now=self._now)

        try:
            return verify()
        except UntrustedKey:
            # The registry's keys may have been changed: ask once in a poll, whatever the number of files.
            if not self._pinned.refresh():
                raise
            return verify()

    def finish(self, random_bytes: RandomBytes) -> PollReport:
        """Remembers how it went, and says when to come again."""
        pauses = [
            failure.error.retry_at
            for failure in (*self._failures, *self._warnings)
            if isinstance(failure.error, Throttled) and failure.error.retry_at is not None
        ]
        retry_at = max(pauses, default=None)
        good = not self._failures
        state = self._store.poll_state()
        failed_polls = 0 if good else state.failed_polls + 1
        with self._store.all_or_nothing():
            self._store.put_poll_state(
                replace(
                    state,
                    last_good_poll=self._now if good else state.last_good_poll,
                    retry_at=retry_at,
                    failed_polls=failed_polls,
                )
            )
        next_poll_at = self._now + _pause(failed_polls, int.from_bytes(random_bytes(4), "big") / 2**32)
        return PollReport(
            index_changed=self.newest.has_changed,
            files_read=self._files_read,
            files_unread=self._files_unread,
            keys_read=self._keys_read,
            exposures=tuple(self._exposures),
            withdrawn=self._withdrawn,
            failures=tuple(self._failures),
            warnings=tuple(self._warnings),
            proof=self._proof,
            is_proven=self._proof is not None and self.newest.is_proven,
            key_change=self._pinned.key_change,
            retry_at=retry_at,
            next_poll_at=max(next_poll_at, retry_at or 0.0),
        )


def _pause(failed_polls: int, share: float) -> float:
    """Seconds until the next poll; `share` is a random number in [0, 1), so that phones do not come at once.

    After success the period, plus or minus a quarter; after failure full-jitter exponential back-off.
    """
    if failed_polls == 0:
        return PERIOD_SECONDS * (1 - JITTER + 2 * JITTER * share)
    ceiling = min(PERIOD_SECONDS, FIRST_RETRY_SECONDS << min(failed_polls, 20))
    return FIRST_RETRY_SECONDS + share * (ceiling - FIRST_RETRY_SECONDS)
