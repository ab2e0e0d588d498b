"""A phone: its store, a transport, a clock, random bytes, and all that a card app does with them.

Joins the modules beside it and decides nothing itself. Keys rotate at UTC midnight by themselves, and what
is past its time is forgotten, whenever any of this is used.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self

from registry.client.advertise import advertise
from registry.client.card import Card, draw_card
from registry.client.enrolment import Enrolment, SetUp, prepare
from registry.client.files import Progress
from registry.client.poll import PollReport, poll
from registry.client.remembered import Evidence, KeptReceipt
from registry.client.risk import assess
from registry.client.sightings import Sighting
from registry.client.store import OWN_KEY_DAYS, SIGHTING_DAYS, PhoneStore
from registry.client.texts import Language
from registry.client.transport import RandomBytes, Transport
from registry.client.trust import Confirm, nobody
from registry.client.upload import (
    SharedDay,
    UploadReceipt,
    agree,
    carry_on,
    check_can_upload,
    days_to_share,
)
from registry.client.withdraw import withdraw
from registry.protocol.identifiers import rolling_proximity_identifiers
from registry.protocol.intervals import (
    INTERVALS_PER_DAY,
    Clock,
    day_start,
    interval_at,
    interval_of_date,
    seconds_at,
)
from registry.protocol.keys import KEY_BYTES, TemporaryExposureKey

STAGED_DAYS = 14
NEAR_RSSI = -60
"""dBm: what a phone receives from one on the same desk."""
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Observed:
    """What became of sightings: `kept` are new here, `own` were this phone's own identifiers, `too_old` lay
    beyond the 21 days, `known` were there already. `staged` says that they turned this into a staged phone.
    """

    kept: int
    own: int
    too_old: int
    known: int
    staged: bool


class Phone:
    """An open phone. Use as a context manager; not shared between threads."""

    def __init__(
        self, store: PhoneStore, transport: Transport, *, clock: Clock, random_bytes: RandomBytes
    ) -> None:
        self.store = store
        self._transport = transport
        self._clock = clock
        self._random_bytes = random_bytes

    @classmethod
    def open(cls, path: Path, transport: Transport, *, clock: Clock, random_bytes: RandomBytes) -> Self:
        """Opens or creates the store at `path` (mode 0600). Raises `NotSetUp` if it is something else."""
        store = PhoneStore.open(path, now=clock())
        return cls(store, transport, clock=clock, random_bytes=random_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.__exit__(kind, error, trace)

    def set_up(self, enrolment: Enrolment, *, confirm: Confirm = nobody) -> SetUp:
        """Fetches and pins the trust material and the root key that signs for it; makes today's key.

        May be repeated with the same address: to renew the API key, or to pin another root key. Raises what
        `registry.client.enrolment.prepare` raises; then nothing has changed.
        """
        before = self.store.registration() if self.store.is_set_up() else None
        now = self._clock()
        registration, result = prepare(before, enrolment, self._transport, now=now, confirm=confirm)
        with self.store.all_or_nothing():
            self.store.put_registration(registration)
            # The time of a quorum depends on the policy, and that may be another one now.
            self.store.forget_cosignature_time()
            if enrolment.staged:
                self._make_keys(STAGED_DAYS)
        self.own_keys()
        return result

    def own_keys(self) -> list[TemporaryExposureKey]:
        """This phone's keys of the last 14 days and today's, oldest first."""
        self.store.forget(self._clock())
        with self.store.all_or_nothing():
            self._make_keys(0)
        return self.store.own_keys()

    def _make_keys(self, past_days: int) -> None:
        today = day_start(interval_at(self._clock()))
        for days_ago in range(min(past_days, OWN_KEY_DAYS), -1, -1):
            self.store.add_own_key(today - days_ago * INTERVALS_PER_DAY, self._random_bytes(KEY_BYTES))

    def advertise(self, *, at: float, minutes: int, rssi: int = NEAR_RSSI) -> list[Sighting]:
        """What a phone beside this one receives for `minutes` from `at` (unix seconds) on."""
        return advertise(self.own_keys(), first_minute=int(at // 60), minutes=minutes, rssi=rssi)

    def staged_noon(self) -> float | None:
        """12:00 UTC of the day before yesterday if this phone is staged: when demonstrations meet."""
        if not self.store.registration().staged:
            return None
        return seconds_at(day_start(interval_at(self._clock()))) - 2 * _DAY_SECONDS + _DAY_SECONDS / 2

    @staticmethod
    def noon_of(day: date) -> float:
        """12:00 UTC of `day`, in unix seconds."""
        return seconds_at(interval_of_date(day)) + _DAY_SECONDS / 2

    def observe(self, sightings: Iterable[Sighting]) -> Observed:
        """Takes in what was received. This phone's own identifiers and what is too old are left out.

        Files that were read already but could hold a key for them are read again with the next poll.
        """
        now = self._clock()
        registration = self.store.registration()
        own = {
            rpi
            for key in self.own_keys()
            for rpi in rolling_proximity_identifiers(key.key_data, key.rolling_start_interval_number)
        }
        given = list(sightings)
        oldest_minute = (now - SIGHTING_DAYS * _DAY_SECONDS) // 60
        recent = [sighting for sighting in given if sighting.minute >= oldest_minute]
        others = [sighting for sighting in recent if sighting.rpi not in own]
        oldest = min((sighting.minute * 60 for sighting in others), default=now)
        # A day-old sighting in a demonstration is a meeting that was staged: both screens must say so.
        staged = registration.demonstration and oldest < now - _DAY_SECONDS and not registration.staged
        with self.store.all_or_nothing():
            kept = self.store.add_sightings(others)
            if kept:
                # A key ends at the earliest two hours before it is seen and is published two hours after
                # its end, so no window that ended before the sighting can hold it.
                self.store.forget_files(ending_after=oldest)
            if staged:
                self.store.put_registration(replace(registration, staged=True))
        return Observed(
            kept=kept,
            own=len(recent) - len(others),
            too_old=len(given) - len(recent),
            known=len(others) - kept,
            staged=staged,
        )

    def poll(self, progress: Progress = lambda done, total: None) -> PollReport:
        """Fetches, verifies and matches what is new (`registry.client.poll`)."""
        self.own_keys()
        return poll(
            self.store,
            self._transport,
            clock=self._clock,
            random_bytes=self._random_bytes,
            progress=progress,
        )

    def check_can_upload(self) -> None:
        """Raises `NothingToUpload`, naming what was not given at set-up: ask before a person is asked."""
        check_can_upload(self.store.registration())

    def days_to_share(self) -> list[SharedDay]:
        """What an upload would share: show it before asking."""
        return days_to_share(self.own_keys(), now=self._clock())

    def agree(self, code: str, *, leave_out: Collection[date] = (), language: Language = "en") -> None:
        """The person agreed to share those days but for `leave_out`, with this code. Sends nothing yet.

        `language` is that of the texts that were shown; the consent record says so.
        """
        self.own_keys()
        agree(
            self.store,
            code,
            clock=self._clock,
            random_bytes=self._random_bytes,
            leave_out=leave_out,
            language=language,
        )

    def upload(self) -> UploadReceipt:
        """Finishes the upload agreed to, from wherever it stands (`registry.client.upload.carry_on`)."""
        return carry_on(self.store, self._transport, clock=self._clock, random_bytes=self._random_bytes)

    def abandon_upload(self) -> bool:
        """Forgets an upload under way, and says whether there was one. What the registry has stays there."""
        with self.store.all_or_nothing():
            there_was_one = self.store.pending_upload() is not None
            self.store.drop_pending_upload()
        return there_was_one

    def withdraw(self) -> None:
        """Takes back all that this phone uploaded (`registry.client.withdraw`): the person said so."""
        withdraw(self.store, self._transport, clock=self._clock, random_bytes=self._random_bytes)

    def receipts(self) -> list[KeptReceipt]:
        """What this phone can show of its uploads of the last weeks, the newest first."""
        self.store.forget(self._clock())
        return self.store.receipts()

    def forget_receipts(self) -> int:
        """Forgets them for good, because the person wants it, and says how many there were."""
        with self.store.all_or_nothing():
            return self.store.forget_receipts()

    def evidence(self) -> list[Evidence]:
        """What this phone was shown that must not be, in the order in which it was found."""
        return self.store.evidence()

    def card(self) -> Card:
        """The card as it is now."""
        now = self._clock()
        self.store.forget(now)
        registration = self.store.registration()
        return draw_card(
            assess(self.store.exposures(), now=now),
            last_good_poll=self.store.poll_state().last_good_poll,
            now=now,
            region=registration.region,
            demonstration=registration.demonstration,
            staged=registration.staged,
        )
