"""Polling: fetch proof and index (`newest`), then what is new (`files`). Step 5 of a key's life.

The cursor is a set of content hashes and moves over a file only in the transaction that stores its matches.
Must never send anything that another phone would not send too: no parameters, no header of the registry's
own choosing.
"""

from dataclasses import dataclass, replace

from registry.client.failures import Throttled
from registry.client.files import NewFiles, Progress
from registry.client.match import Exposure
from registry.client.newest import NewestIndex
from registry.client.pinned import PinnedTrust
from registry.client.proof import IndexProof
from registry.client.store import PhoneStore
from registry.client.transport import LONGEST_PAUSE_SECONDS, RandomBytes, Transport
from registry.client.trust import KeyChange
from registry.errors import Distrusted, FetchFailed, Malformed, RegistryError
from registry.protocol.index import TRUST_NOTE_PATH, Index
from registry.protocol.intervals import Clock

PERIOD_SECONDS = 4 * 3600
JITTER = 0.25
FIRST_RETRY_SECONDS = 30

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
    the proof lacks nothing. What is lacking, while that is borne with, stands in `warnings`, and
    so does a file that was bad and for which others of the same keys stood in.
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
        run.files.read(index)
    return run.finish(random_bytes)


class _Run:
    """One poll under way."""

    def __init__(self, store: PhoneStore, transport: Transport, now: float, progress: Progress) -> None:
        self._store = store
        self._now = now
        self._failures: list[Failure] = []
        self._warnings: list[Failure] = []
        self._pinned = PinnedTrust(store, transport, now=now, fail=self.fail, warn=self._warn)
        self.newest = NewestIndex(store, transport, self._pinned, now=now, warn=self._warn)
        self.files = NewFiles(
            store,
            transport,
            self._pinned,
            self.newest,
            now=now,
            fail=self.fail,
            warn=self._warn,
            progress=progress,
        )
        self._proof: IndexProof | None = None

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
        return index

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
            files_read=self.files.files_read,
            files_unread=self.files.files_unread,
            keys_read=self.files.keys_read,
            exposures=tuple(self.files.exposures),
            withdrawn=self.files.withdrawn,
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
