"""Setting a phone up: which registry, whose root key, which region. Once, and again to renew what was given.

The first root key is believed because somebody compared its fingerprint; only a demonstration's may go
without. Stores nothing itself: what is refused leaves the phone as it was.
"""

from dataclasses import dataclass

from registry.client.failures import TrustRefused
from registry.client.remembered import Registration
from registry.client.transport import Transport
from registry.client.trust import (
    Confirm,
    KeyChange,
    SignedTrust,
    check_address,
    check_first_trust,
    check_in_time,
    check_next_trust,
    check_same_log,
    compare_fingerprint,
    fetch_signed_trust,
    is_by_root_of,
    is_of_the_future,
    key_change,
    open_signed_trust,
)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a person says when setting a phone up. `region` may be left out if the registry has only one.

    `demonstration` allows a registry that is not for real people; `staged` makes 14 days of past keys, in a
    demonstration only. `device_url` takes uploads, by default where it was before, at first at `base_url`.
    `fingerprint` is that of the registry's root key as the person was told it, for comparison.
    """

    base_url: str
    region: str | None = None
    device_url: str | None = None
    health_authority_id: str | None = None
    device_api_key: str | None = None
    demonstration: bool = False
    staged: bool = False
    fingerprint: str | None = None

    def __repr__(self) -> str:
        return f"Enrolment({self.base_url!r}, {self.region!r})"


@dataclass(frozen=True, slots=True)
class SetUp:
    """What became of setting up. `change` is None if nothing had been pinned before.

    `fingerprint` is that of the root key which is pinned now; `compared` says whether somebody compared it,
    and is None if that key, or the one that signed for it, was pinned before.
    """

    fingerprint: str
    compared: bool | None
    change: KeyChange | None


def prepare(
    before: Registration | None, enrolment: Enrolment, transport: Transport, *, now: float, confirm: Confirm
) -> tuple[Registration, SetUp]:
    """What to remember, and what to tell; `before` is what was remembered until now.

    If no fingerprint is given, and the root key is not pinned already, `confirm` is shown it and answers for
    the person. Raises `TrustRefused`, `TrustExpired`, `FetchFailed`, `Malformed`, `UntrustedKey` or
    `BadSignature`.
    """
    base_url, device_url = _addresses(before, enrolment)
    offered = fetch_signed_trust(transport, base_url, now=now)
    region = _region(before, enrolment, offered)
    demonstration = enrolment.demonstration or bool(before and before.demonstration)
    check_first_trust(
        offered.trust,
        addresses=(base_url, device_url),
        region=region,
        demonstration=demonstration,
        staged=enrolment.staged,
    )
    if is_of_the_future(offered.note, now=now):
        raise TrustRefused("the registry's trust material is of the future: check this phone's clock")
    check_in_time(offered.note, now=now)
    result = _compare(_pinned(before), offered, region, enrolment.fingerprint, confirm)
    registration = Registration(
        base_url=base_url,
        device_url=device_url,
        region=region,
        trust=offered.content,
        health_authority_id=enrolment.health_authority_id or (before.health_authority_id if before else None),
        device_api_key=enrolment.device_api_key or (before.device_api_key if before else None),
        demonstration=demonstration,
        staged=enrolment.staged or bool(before and before.staged),
        trust_note=offered.note_content,
    )
    return registration, result


def _addresses(before: Registration | None, enrolment: Enrolment) -> tuple[str, str]:
    base_url = check_address(enrolment.base_url)
    device_url = check_address(enrolment.device_url or (before.device_url if before else base_url))
    if before and before.base_url != base_url:
        raise TrustRefused(
            f"this phone belongs to {before.base_url}: use another --store for another registry"
        )
    return base_url, device_url


def _region(before: Registration | None, enrolment: Enrolment, offered: SignedTrust) -> str:
    region = enrolment.region or (before.region if before else _only_region(offered.trust.regions))
    if before and before.region != region:
        raise TrustRefused(f"this phone belongs to {before.region}: use another --store for another region")
    return region


def _only_region(regions: tuple[str, ...]) -> str:
    if len(regions) != 1:
        raise TrustRefused(
            f"say which region this phone belongs to with --region: {', '.join(regions) or 'none'}"
        )
    return regions[0]


def _pinned(before: Registration | None) -> SignedTrust | None:
    """None also for a phone of a time when there were no notes."""
    if before is None or before.trust_note is None:
        return None
    return open_signed_trust(before.trust, before.trust_note)


def _compare(
    pinned: SignedTrust | None, offered: SignedTrust, region: str, given: str | None, confirm: Confirm
) -> SetUp:
    change, follows = None, False
    if pinned is not None:
        check_same_log(pinned.trust, offered.trust)
        follows = is_by_root_of(pinned, offered)
        change = (
            check_next_trust(pinned, offered, region=region)
            if follows
            else key_change(pinned.trust, offered.trust)
        )
    compared = None
    if given is not None or not follows:
        compared = compare_fingerprint(offered, given=given, is_first=pinned is None, confirm=confirm)
    return SetUp(offered.fingerprint, compared, change)
