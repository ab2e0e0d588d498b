"""People who upload, made without the decoys' code: phones hold keys, and our server's rules judge them.

Its numbers are set apart from the published model on purpose, in shares and by other means, so that the one
cannot be wrong as the other is.
"""

import random
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from registry.errors import Refusal
from registry.lifecycle.upload_rules import (
    CollectionPolicy,
    Upload,
    UploadedKey,
    check_together,
    judge_keys,
    onset_of,
)
from registry.protocol.certificate import VerificationCertificate
from registry.protocol.export_file import ExportFile
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.protocol.keys import REPORT_TYPES, TemporaryExposureKey

POLICY = CollectionPolicy()
DAY = 86_400


@dataclass(frozen=True)
class World:
    """Shares of real people. The defaults are those of the published model, said in other words."""

    fourteen_keys: float = 0.85
    """Others have 1 to 13, each as likely."""
    cut_today: float = 0.30
    whole_today: float = 0.20
    tests: Mapping[str, float] = field(
        default_factory=lambda: {"confirmed": 0.97, "likely": 0.025, "user-report": 0.005}
    )
    sends_no_risk: float = 0.10
    onset_unknown: float = 0.20
    onset_shape: float = 3.0
    onset_scale: float = 1.4
    """Days from onset to upload, gamma, rounded."""
    revised: Mapping[str, Mapping[str, float]] = field(
        default_factory=lambda: {
            "confirmed": {"negative": 0.002},
            "likely": {"confirmed": 0.5, "negative": 0.1},
            "user-report": {"confirmed": 0.3, "negative": 0.05},
        }
    )


@dataclass(frozen=True)
class Person:
    """What the server stored of one, and its keys as they come again, from an interval on.

    `uploaded_at` is in unix seconds.
    """

    keys: tuple[TemporaryExposureKey, ...]
    revised: tuple[TemporaryExposureKey, ...] = ()
    revised_at: int = 0
    uploaded_at: float = 0.0


def people(world: World, count: int, chance: random.Random, *, start: float, end: float) -> list[Person]:
    """`count` people who uploaded in the window [start, end), unix seconds, and had a key taken in."""
    found: list[Person] = []
    while len(found) < count:
        person = _person(world, chance, start + chance.random() * (end - start))
        if person is not None:
            found.append(person)
    return found


def _person(world: World, chance: random.Random, now: float) -> Person | None:
    test = chance.choices(list(world.tests), list(world.tests.values()))[0]
    onset = _onset(world, chance, now)
    risk = 0 if chance.random() < world.sends_no_risk else 1
    uploaded = _phone_keys(world, chance, now, risk)
    try:
        keys = _stored(uploaded, test, onset, now)
    except Refusal:
        return None
    if not keys:
        return None
    later = _later_test(world, chance, test)
    if later is None:
        return Person(keys, uploaded_at=now)
    days = chance.choices(range(7), (25, 25, 20, 12.5, 8, 5, 4.5))[0]
    then = now + 600 + (days + chance.random()) * DAY
    revised = _as_revised(keys, later, _stored(uploaded, later, onset, then))
    return Person(keys, revised, interval_at(then), now)


def _as_revised(
    keys: tuple[TemporaryExposureKey, ...], later: str, uploaded: tuple[TemporaryExposureKey, ...]
) -> tuple[TemporaryExposureKey, ...]:
    """A revised key goes out with the risk it had. A negative result is taken for a recall: of all keys."""
    if later == "negative":
        return tuple(replace(key, report_type=REPORT_TYPES[later]) for key in keys)
    judged = {key.key_data: key for key in uploaded}
    return tuple(
        replace(judged[key.key_data], transmission_risk_level=key.transmission_risk_level)
        for key in keys
        if key.key_data in judged
    )


def _onset(world: World, chance: random.Random, now: float) -> int | None:
    if chance.random() < world.onset_unknown:
        return None
    days = round(chance.gammavariate(world.onset_shape, world.onset_scale))
    return int(now // DAY - days) * 144


def _phone_keys(world: World, chance: random.Random, now: float, risk: int) -> list[UploadedKey]:
    today = int(now // DAY) * 144
    count = 14 if chance.random() < world.fourteen_keys else chance.randint(1, 13)
    kind = chance.random()
    keys = []
    if kind < world.cut_today:
        keys.append((today, interval_at(now) + 1 - today))
    elif kind < world.cut_today + world.whole_today:
        keys.append((today, 144))
    keys += [(today - 144 * back, 144) for back in range(1, count + 1 - len(keys))]
    return [
        UploadedKey(b64encode(chance.randbytes(16)).decode(), begin, period, risk) for begin, period in keys
    ]


def _stored(
    uploaded: list[UploadedKey], test: str, onset: int | None, now: float
) -> tuple[TemporaryExposureKey, ...]:
    upload = Upload("authority", tuple(uploaded), "", "", onset, False, "")
    certificate = VerificationCertificate("", "", test, "", None, None, None, now)
    findings = judge_keys(
        uploaded,
        report_type=REPORT_TYPES[test],
        onset=onset_of(upload, certificate, POLICY, now),
        policy=POLICY,
        now=now,
    )
    check_together(findings.accepted, POLICY)
    return findings.accepted


def _later_test(world: World, chance: random.Random, test: str) -> str | None:
    targets = world.revised.get(test, {})
    draw = chance.random()
    for target, share in targets.items():
        if draw < share:
            return target
        draw -= share
    return None


def export(
    keys: Iterable[TemporaryExposureKey],
    *,
    start: float,
    end: float,
    region: str = "XA",
    revised: Iterable[TemporaryExposureKey] = (),
) -> ExportFile:
    """The file of the window [start, end), of those keys whose embargo has ended by its end."""
    at = interval_at(end)
    released = tuple(key for key in keys if key.end_interval_number + EMBARGO_INTERVALS <= at)
    return ExportFile(int(start), int(end), region, released, tuple(revised))
