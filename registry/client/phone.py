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
from registry.client.failures import TrustRefused
from registry.client.poll import PollReport, Progress, poll
from registry.client.remembered import Registration
from registry.client.risk import assess
from registry.client.sightings import Sighting
from registry.client.store import OWN_KEY_DAYS, SIGHTING_DAYS, PhoneStore
from registry.client.transport import RandomBytes, Transport
from registry.client.trust import KeyChange, check_address, check_first_trust, fetch_trust, key_change
from registry.client.upload import (
    SharedDay,
    UploadReceipt,
    agree,
    carry_on,
    check_can_upload,
    days_to_share,
)
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
from registry.protocol.trust import decode_trust

STAGED_DAYS = 14
NEAR_RSSI = -60
"""dBm: what a phone receives from one on the same desk."""
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a person says when setting a phone up. `region` may be left out if the registry has only one.

    `demonstration` allows a registry that is not for real people; `staged` makes 14 days of past keys, in a
    demonstration only. `device_url` takes uploads, by default where it was before, at first at `base_url`.
    """

    base_url: str
    region: str | None = None
    device_url: str | None = None
    health_authority_id: str | None = None
    device_api_key: str | None = None
    demonstration: bool = False
    staged: bool = False

    def __repr__(self) -> str:
        return f"Enrolment({self.base_url!r}, {self.region!r})"


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

    def set_up(self, enrolment: Enrolment) -> KeyChange | None:
        """Fetches and pins the trust material, makes today's key. Returns what changed if some was pinned.

        May be repeated with the same address: to renew the API key, or to pin anew when the registry has
        none of the pinned keys left. Raises `TrustRefused`, `FetchFailed` or `Malformed`; then nothing has
        changed.
        """
        before = self.store.registration() if self.store.is_set_up() else None
        base_url = check_address(enrolment.base_url)
        device_url = check_address(enrolment.device_url or (before.device_url if before else base_url))
        if before and before.base_url != base_url:
            raise TrustRefused(
                f"this phone belongs to {before.base_url}: use another --store for another registry"
            )
        content, trust = fetch_trust(self._transport, base_url, now=self._clock())
        region = enrolment.region or (before.region if before else _only_region(trust.regions))
        if before and before.region != region:
            raise TrustRefused(
                f"this phone belongs to {before.region}: use another --store for another region"
            )
        demonstration = enrolment.demonstration or bool(before and before.demonstration)
        check_first_trust(
            trust,
            addresses=(base_url, device_url),
            region=region,
            demonstration=demonstration,
            staged=enrolment.staged,
        )
        registration = Registration(
            base_url=base_url,
            device_url=device_url,
            region=region,
            trust=content,
            health_authority_id=enrolment.health_authority_id
            or (before.health_authority_id if before else None),
            device_api_key=enrolment.device_api_key or (before.device_api_key if before else None),
            demonstration=demonstration,
            staged=enrolment.staged or bool(before and before.staged),
        )
        with self.store.all_or_nothing():
            self.store.put_registration(registration)
            if enrolment.staged:
                self._make_keys(STAGED_DAYS)
        self.own_keys()
        return key_change(decode_trust(before.trust), trust) if before else None

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

    def agree(self, code: str, *, leave_out: Collection[date] = ()) -> None:
        """The person agreed to share those days but for `leave_out`, with this code. Sends nothing yet."""
        self.own_keys()
        agree(self.store, code, clock=self._clock, random_bytes=self._random_bytes, leave_out=leave_out)

    def upload(self) -> UploadReceipt:
        """Finishes the upload agreed to, from wherever it stands (`registry.client.upload.carry_on`)."""
        return carry_on(self.store, self._transport, clock=self._clock, random_bytes=self._random_bytes)

    def abandon_upload(self) -> bool:
        """Forgets an upload under way, and says whether there was one. What the registry has stays there."""
        with self.store.all_or_nothing():
            there_was_one = self.store.pending_upload() is not None
            self.store.drop_pending_upload()
        return there_was_one

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


def _only_region(regions: tuple[str, ...]) -> str:
    if len(regions) != 1:
        raise TrustRefused(
            f"say which region this phone belongs to with --region: {', '.join(regions) or 'none'}"
        )
    return regions[0]
