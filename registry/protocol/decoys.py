"""Decoy users: whole made-up uploads, drawn from a batch's seed and the published population model.

They keep a file from telling how many people are in it. The same seed gives the same users on every machine:
HMAC-SHA256 and whole numbers, no other chance. Whoever lacks the seed cannot tell their keys from people's;
whoever is shown it once the file is retired can name every one. Must never look at a real upload: decoys that
copy people count them.
"""

import hmac
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import count

from registry.errors import Malformed
from registry.protocol.intervals import INTERVALS_PER_DAY, day_start, interval_at
from registry.protocol.keys import KEY_BYTES, MAX_ROLLING_PERIOD, ReportType, TemporaryExposureKey
from registry.protocol.population import WHOLE, DecoyPolicy, NewestKey, PopulationModel
from registry.protocol.regions import check_region

SEED_BYTES = 32
MAX_ONSET_DAYS = 14
"""A key whose day lies further from the onset is not stored."""
MAX_AGE_INTERVALS = 15 * INTERVALS_PER_DAY
ASSUMED_ONSET_DAYS = 4
"""These three as `lifecycle/upload_rules` judges people's keys; a test holds both against each other."""

_COUNT_LABEL = b"positive-key-registry decoy users v1\n"
_USER_LABEL = b"positive-key-registry decoy user v1\n"
_KEY_LABEL = b"positive-key-registry decoy key v1\n"
_COMPANION_LABEL = b"positive-key-registry decoy companion v1\n"


@dataclass(frozen=True, slots=True)
class DecoyRevision:
    """That a decoy user is revised at interval `at`, and its keys as they then go out as revised keys."""

    at: int
    keys: tuple[TemporaryExposureKey, ...]


@dataclass(frozen=True, slots=True)
class DecoyUser:
    """A made-up upload, as if it had come in at interval `uploaded`: what the server would have stored of it.

    Keys newest first, at least one; the newest may be valid still and waits as a person's would.
    """

    uploaded: int
    keys: tuple[TemporaryExposureKey, ...]
    traveler: bool
    revision: DecoyRevision | None


def window_intervals(window_start: int, window_end: int) -> range:
    """The intervals in which uploads between these unix seconds, [start, end), came in. Raises Malformed."""
    if window_end <= window_start:
        raise Malformed("the window must end after it starts")
    return range(interval_at(window_start), interval_at(window_end - 1) + 1)


def decoy_count(seed: bytes, regions: Collection[str], real: int, policy: DecoyPolicy) -> int:
    """How many decoy users join `real` users whose keys go to exactly these `regions`.

    max(0, floor - real), and the seed's draw of `extra_users`, which does not depend on `real`. Raises
    Malformed for a seed of another length, no region or one that is no region's code.
    """
    scope = _scope(seed, regions)
    drawn = _numbers(hmac.digest(seed, _COUNT_LABEL + scope, "sha256"))[0]
    return max(0, policy.floor - real) + policy.model.extra_users.at(drawn)


def draw_decoys(
    seed: bytes, count: int, *, regions: Collection[str], uploaded: range, model: PopulationModel
) -> list[DecoyUser]:
    """The first `count` decoy users of the seed and regions; more of them begin with the same ones.

    `uploaded` are the intervals (`window_intervals`) since the last file with keys of just these regions.
    Raises Malformed for a seed of another length, no region or one that is no region's code, no interval.

    User n (from 0) is HMAC-SHA256(seed, label, regions, n, attempt): its sixteen numbers of 16 bits say, in
    this order, number of keys, newest key, report type, risk, whether the onset is given, onset, traveler,
    interval of the upload, revision, day of the revision, interval in that day. An attempt that leaves no key
    is followed by the next. Key i, counted from the newest, is the first 16 bytes of HMAC-SHA256(seed, label,
    regions, n, i). All numbers in four bytes, regions ascending, joined by commas, ended by a line feed.
    """
    scope = _scope(seed, regions)
    if not uploaded:
        raise Malformed("decoy users need an interval to be uploaded in")
    return [_user(seed, scope + number.to_bytes(4, "big"), uploaded, model) for number in range(count)]


def decoy_keys(
    seed: bytes, count: int, *, regions: Collection[str], uploaded: range, model: PopulationModel
) -> frozenset[bytes]:
    """The bytes of all keys of these decoy users: for an auditor who is shown the seed. Raises Malformed."""
    users = draw_decoys(seed, count, regions=regions, uploaded=uploaded, model=model)
    return frozenset(key.key_data for user in users for key in user.keys)


def companion_draws(seed: bytes, regions: Collection[str]) -> Iterator[tuple[int, int]]:
    """Numbers of 16 bits, two for each decoy user that is to be revoked beside a person, without end.

    The first says how long after its upload, the second which of those there are. The first four bytes of
    HMAC-SHA256(seed, label, regions, number), numbers from 0. Raises Malformed as `draw_decoys` does.
    """
    scope = _scope(seed, regions)
    for number in count():
        block = hmac.digest(seed, _COMPANION_LABEL + scope + number.to_bytes(4, "big"), "sha256")
        day, place = _numbers(block[:4])
        yield day, place


def _scope(seed: bytes, regions: Collection[str]) -> bytes:
    if len(seed) != SEED_BYTES:
        raise Malformed(f"the seed of a batch is {SEED_BYTES} bytes")
    if not regions:
        raise Malformed("decoy users need a region")
    for region in regions:
        check_region(region)
    return ",".join(sorted(set(regions))).encode() + b"\n"


def _numbers(block: bytes) -> list[int]:
    return [int.from_bytes(block[at : at + 2], "big") for at in range(0, len(block), 2)]


def _user(seed: bytes, name: bytes, uploaded: range, model: PopulationModel) -> DecoyUser:
    attempt = 0
    while True:
        block = hmac.digest(seed, _USER_LABEL + name + attempt.to_bytes(4, "big"), "sha256")
        draws = _numbers(block)
        at = uploaded[draws[7] * len(uploaded) // WHOLE]
        keys = _keys(seed, name, draws, at, model)
        if keys:
            revision = _revision(keys, draws, at, model)
            return DecoyUser(at, keys, draws[6] < model.travelers, revision)
        attempt += 1


def _keys(
    seed: bytes, name: bytes, draws: list[int], uploaded: int, model: PopulationModel
) -> tuple[TemporaryExposureKey, ...]:
    newest = model.newest_key.at(draws[1])
    report_type = ReportType(model.report_types.at(draws[2]))
    risk = model.transmission_risk[report_type].at(draws[3])
    onset = _onset(draws, uploaded, model)
    today = day_start(uploaded)
    first = today - INTERVALS_PER_DAY if newest == NewestKey.YESTERDAY else today
    keys = []
    for number in range(model.daily_keys.at(draws[0])):
        start = first - number * INTERVALS_PER_DAY
        days = _days_between(onset, start)
        if abs(days) > MAX_ONSET_DAYS:
            continue
        # The interval of the upload is used up, however little of it has passed.
        is_cut = number == 0 and newest == NewestKey.TODAY_CUT
        period = uploaded - today + 1 if is_cut else MAX_ROLLING_PERIOD
        block = hmac.digest(seed, _KEY_LABEL + name + number.to_bytes(4, "big"), "sha256")
        keys.append(TemporaryExposureKey(block[:KEY_BYTES], start, period, risk, report_type, days))
    return tuple(keys)


def _onset(draws: list[int], uploaded: int, model: PopulationModel) -> int:
    """Interval of the onset, as the server would take it."""
    if draws[4] >= model.onset_not_given:
        stated = day_start(uploaded) - model.onset_days_before_upload.at(draws[5]) * INTERVALS_PER_DAY
        # Phones state the midnight of a day; one that has not passed counts as not stated.
        if stated < uploaded:
            return stated
    return uploaded - ASSUMED_ONSET_DAYS * INTERVALS_PER_DAY


def _revision(
    keys: tuple[TemporaryExposureKey, ...], draws: list[int], uploaded: int, model: PopulationModel
) -> DecoyRevision | None:
    """A recall changes all keys; another result comes as an upload, which is judged by the rules for one."""
    to = ReportType(model.revisions[keys[0].report_type].at(draws[8]))
    if to == ReportType.UNKNOWN:
        return None
    day = model.revision_delay_days.at(draws[9]) - 1
    at = uploaded + 1 + day * INTERVALS_PER_DAY + draws[10] * INTERVALS_PER_DAY // WHOLE
    revised = tuple(replace(key, report_type=to) for key in keys)
    if to != ReportType.REVOKED:
        if draws[4] < model.onset_not_given:
            onset = at - ASSUMED_ONSET_DAYS * INTERVALS_PER_DAY
            revised = tuple(_since(key, onset) for key in revised)
        revised = tuple(
            key
            for key in revised
            if key.end_interval_number >= at - MAX_AGE_INTERVALS
            and abs(key.days_since_onset_of_symptoms or 0) <= MAX_ONSET_DAYS
        )
    return DecoyRevision(at, revised) if revised else None


def _since(key: TemporaryExposureKey, onset: int) -> TemporaryExposureKey:
    days = _days_between(onset, key.rolling_start_interval_number)
    return replace(key, days_since_onset_of_symptoms=days)


def _days_between(onset: int, start: int) -> int:
    return start // INTERVALS_PER_DAY - onset // INTERVALS_PER_DAY
