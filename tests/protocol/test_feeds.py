"""Feeds take keys by sets of regions: none, one or many on either side, with bystanders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.feeds import Feed, check_feed, feeds_of, own_feed

REGIONS = ["CN", "CN-HB", "CN-HK", "MN", "XA"]
some = st.frozensets(st.sampled_from(REGIONS), max_size=4)
feeds = st.lists(
    st.builds(Feed, st.sampled_from(REGIONS), some, some, st.booleans()),
    unique_by=lambda feed: feed.region,
    max_size=5,
)


def test_without_a_word_every_region_takes_its_own_keys() -> None:
    assert feeds_of(["CN", "CN-HB"], [], traveler=False) == ("CN", "CN-HB")
    assert feeds_of(["CN"], [own_feed("MN")], traveler=True) == ("CN",)


def test_two_includes_take_either_and_no_third() -> None:
    """Existing servers applied a list of two as if it were none, and exported everybody."""
    both = Feed("XA", frozenset({"CN", "MN"}))
    assert feeds_of(["CN"], [both], traveler=False) == ("CN", "XA")
    assert feeds_of(["MN"], [both], traveler=False) == ("MN", "XA")
    assert feeds_of(["CN-HK"], [both], traveler=False) == ("CN-HK",)


def test_two_excludes_exclude_either() -> None:
    feed = Feed("CN", frozenset({"CN"}), frozenset({"CN-HB", "CN-HK"}))
    assert feeds_of(["CN", "CN-HB"], [feed], traveler=False) == ("CN-HB",)
    assert feeds_of(["CN", "CN-HK"], [feed], traveler=False) == ("CN-HK",)
    assert feeds_of(["CN"], [feed], traveler=False) == ("CN",)


def test_a_feed_that_includes_nothing_takes_nothing() -> None:
    assert feeds_of(["CN"], [Feed("CN", frozenset())], traveler=False) == ()


def test_travelers_go_where_they_are_asked_for_and_not_where_they_are_excluded() -> None:
    asked = Feed("MN", frozenset({"MN"}), frozenset({"CN-HK"}), include_travelers=True)
    assert feeds_of(["CN"], [asked], traveler=True) == ("CN", "MN")
    assert feeds_of(["CN"], [asked], traveler=False) == ("CN",)
    assert feeds_of(["CN-HK"], [asked], traveler=True) == ("CN-HK",)


@given(some, feeds, st.booleans())
def test_each_feed_is_judged_by_its_own_sets_alone(
    regions: frozenset[str], stated: list[Feed], traveler: bool
) -> None:
    found = feeds_of(regions, stated, traveler=traveler)
    by_region = {feed.region: feed for feed in stated}
    for region in REGIONS:
        feed = by_region.get(region) or own_feed(region)
        meets = bool(feed.include & regions) or (traveler and feed.include_travelers)
        assert (region in found) == (bool(regions) and meets and not feed.exclude & regions)
    assert list(found) == sorted(set(found))


@given(some, feeds, st.booleans())
def test_a_bystander_changes_nothing(regions: frozenset[str], stated: list[Feed], traveler: bool) -> None:
    bystander = Feed("ZZ", frozenset({"ZZ"}), frozenset(REGIONS))
    before = feeds_of(regions, stated, traveler=traveler)
    assert feeds_of(regions, [*stated, bystander], traveler=traveler) == before


def test_codes_that_are_none_are_refused() -> None:
    none = frozenset[str]()
    for feed in (Feed("../x", none), Feed("XA", frozenset({"cn"})), Feed("XA", none, frozenset({""}))):
        with pytest.raises(Malformed):
            check_feed(feed)
