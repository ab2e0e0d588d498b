"""Which feeds take a key: sets of regions on both sides, nothing where they do not meet.

A key carries the regions of the authority that certified it; a feed is what phones poll, named by a region
too. Each set may have no member, one or many, and every member counts (existing servers looked at lists of
exactly one).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from registry.protocol.regions import check_region


@dataclass(frozen=True, slots=True)
class Feed:
    """Takes keys of any region in `include`, but of none in `exclude`.

    With `include_travelers` also keys whose person has travelled, wherever they are from, unless a region of
    theirs is in `exclude`.
    """

    region: str
    include: frozenset[str]
    exclude: frozenset[str] = field(default=frozenset())
    include_travelers: bool = False


def own_feed(region: str) -> Feed:
    """The feed that a region has if nobody says otherwise: its own keys, all of them."""
    return Feed(region, frozenset({region}))


def check_feed(feed: Feed) -> None:
    """Raises Malformed unless every code in it is spelled like a region."""
    for region in (feed.region, *sorted(feed.include), *sorted(feed.exclude)):
        check_region(region)


def feeds_of(regions: Collection[str], feeds: Iterable[Feed], *, traveler: bool) -> tuple[str, ...]:
    """The feeds, sorted, that a key with these regions goes out in.

    A region that no feed is named after has its own feed. No regions, no feeds, whoever has travelled.
    """
    own = frozenset(regions)
    if not own:
        return ()
    stated = {feed.region: feed for feed in feeds}
    offered = {**{region: own_feed(region) for region in own}, **stated}
    return tuple(sorted(region for region, feed in offered.items() if _takes(feed, own, traveler=traveler)))


def _takes(feed: Feed, regions: frozenset[str], *, traveler: bool) -> bool:
    if regions & feed.exclude:
        return False
    return bool(regions & feed.include) or (traveler and feed.include_travelers)
