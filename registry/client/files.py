"""The files of one poll: fetch what is new, verify it, match it, remember it. The second half of a poll.

The cursor moves over a file only in the transaction that stores its matches, and with it over all that the
index, if it is proven, says to hold the same. A file that fails is left for the next poll, or others are read
in its place, and stops nothing else. Which files are fetched depends on index and cursor alone.
"""

from collections import deque
from collections.abc import Callable, Mapping

from registry.client.failures import NoAnswer, Throttled, TooLarge, UnloggedFile
from registry.client.match import Exposure, SightingTable, keys_of, match_keys
from registry.client.newest import NewestIndex
from registry.client.pinned import PinnedTrust, Tell
from registry.client.store import PhoneStore
from registry.client.transport import Transport, unexpected
from registry.client.unread import Reading, readings
from registry.client.verify import MAX_FILE_BYTES, Span, VerifiedFile, trusted_keys, verify_file
from registry.errors import Distrusted, FetchFailed, Malformed, RegistryError, UntrustedKey
from registry.protocol.index import EXPOSURES, Index, IndexFile
from registry.protocol.key_rows import KeyRows

MAX_SILENT_FILES = 3
"""After so many files in a row without any answer the network is gone, and the rest would only wait."""

Progress = Callable[[int, int], None]
"""Told how many files of how many have been dealt with; never told anything if there are none."""

_EXPECTED = (FetchFailed, Malformed, Distrusted)

_SAYS_NOTHING = (NoAnswer, Throttled)
"""Then nothing is known to be wrong with the file: it is asked for again another time."""


class NewFiles:
    """What one poll reads; all zero and empty before `read`.

    `exposures` are new matches that still count, `withdrawn` is how many keys that matched before were
    revoked, `files_unread` how many files are left that this phone needs.
    """

    def __init__(
        self,
        store: PhoneStore,
        transport: Transport,
        pinned: PinnedTrust,
        newest: NewestIndex,
        *,
        now: float,
        fail: Tell,
        warn: Tell,
        progress: Progress,
    ) -> None:
        self._store = store
        self._transport = transport
        self._pinned = pinned
        self._newest = newest
        self._now = now
        self._fail = fail
        self._warn = warn
        self._progress = progress
        self._silent = self._done = self._total = 0
        self._is_over = False
        self.exposures: list[Exposure] = []
        self.withdrawn = self.files_read = self.files_unread = self.keys_read = 0

    def read(self, index: Index) -> None:
        """Reads all that was not read before, oldest first, each file on its own.

        Tells `fail` of every file that is left, and `warn` of those for which others stood in.
        """
        plan = deque(readings(index, self._store.read_files()))
        if not plan:
            return
        self._look_up()
        self._total = sum(len(reading.files) for reading in plan)
        while plan and not self._is_over:
            reading = plan.popleft()
            before = self.files_read
            failures = self._read(reading)
            left = len(reading.files) - (self.files_read - before)
            was_answered = not any(isinstance(error, _SAYS_NOTHING) for _, error in failures)
            if failures and reading.otherwise and was_answered:
                plan.extendleft(reversed(reading.otherwise))
                self._total += sum(len(instead.files) for instead in reading.otherwise)
                tell = self._warn
            else:
                self.files_unread += left
                tell = self._fail
            for path, error in failures:
                tell(path, error)
        self.files_unread += sum(len(reading.files) for reading in plan)
        self._progress(self._total - self.files_unread, self._total)

    def _look_up(self) -> None:
        self._table = SightingTable(self._store.sightings())
        self._known = self._store.known_keys()
        self._matched = {exposure.key_data for exposure in self._store.exposures() if not exposure.withdrawn}
        self._own = {key.key_data for key in self._store.own_keys()}

    def _read(self, reading: Reading) -> list[tuple[str, RegistryError]]:
        """What failed of it, by path."""
        failures: list[tuple[str, RegistryError]] = []
        for place, file in enumerate(reading.files, start=1):
            self._progress(self._done, self._total)
            is_last = place == len(reading.files) and not failures
            try:
                self._read_file(reading.span, file, reading.covers if is_last else {})
            except _EXPECTED as error:
                failures.append((f"{EXPOSURES}/{file.path}", error))
                if isinstance(error, UnloggedFile):
                    self._newest.keep_evidence(error)
                self._silent = self._silent + 1 if isinstance(error, NoAnswer) else 0
                asked_to_wait = isinstance(error, Throttled) and error.retry_at is not None
                if self._silent >= MAX_SILENT_FILES or asked_to_wait:
                    self._is_over = True
                    break
            else:
                self._silent = 0
                self.files_read += 1
            self._done += 1
        return failures

    def _read_file(self, span: Span, file: IndexFile, covers: Mapping[str, int]) -> None:
        if file.size > MAX_FILE_BYTES:
            raise TooLarge(f"{file.path} has {file.size} bytes; no honest file needs so many")
        url = f"{self._pinned.base_url}/{EXPOSURES}/{file.path}"
        answer = self._transport.get(url, {}, file.size)
        if answer.status != 200:
            raise unexpected(answer, file.path, self._now)
        found = self._verify(answer.body, file, span)
        outcome = match_keys(
            keys_of(found.keys),
            keys_of(found.revised_keys),
            self._table,
            known=self._known,
            matched=self._matched,
            own=self._own,
        )
        # A crash before this line: the file is fetched again. After it: never, nor what holds the same. An
        # index without a proof may say so of files that do not: then only what was read counts as read.
        is_proven = self._newest.is_proven
        self._store.keep_outcome(
            outcome,
            sha256=file.sha256,
            window_end=span.end,
            covers=covers if is_proven else {},
            is_proven=is_proven,
        )
        self.keys_read += found.key_count + found.revised_key_count
        # Matched and revoked within one poll: nobody has been warned, so there is nothing to take back.
        unannounced = {exposure.key_data for exposure in self.exposures}
        self.withdrawn += len(outcome.withdrawn & self._matched - unannounced)
        self.exposures = [one for one in self.exposures if one.key_data not in outcome.withdrawn]
        self.exposures += outcome.exposures
        self._known.update((key.key_data, key) for key in outcome.known)
        self._matched |= {exposure.key_data for exposure in outcome.exposures}
        self._matched -= outcome.withdrawn

    def _verify(self, content: bytes, file: IndexFile, span: Span) -> VerifiedFile:
        changed_by = self._known.keys() | self._matched

        def wanted(rows: KeyRows) -> KeyRows:
            return self._table.worth_matching(rows, changed_by)

        def verify() -> VerifiedFile:
            trusted = trusted_keys(self._pinned.trust, span, now=self._now)
            return verify_file(
                content,
                file,
                span,
                region=self._pinned.region,
                trusted=trusted,
                now=self._now,
                wanted=wanted,
            )

        try:
            return verify()
        except UntrustedKey:
            # The registry's keys may have been changed: ask once in a poll, whatever the number of files.
            if not self._pinned.refresh():
                raise
            return verify()
