"""The list of batches: all of them, a page at a time, each with its state, files, leaf and proof."""

import re

from tests.clock import FakeClock
from tests.faces.audit.conftest import Reading
from tests.public_tree import DAY, PublicTree


def states(page: str) -> list[str]:
    """What became of each batch on the page, in its order."""
    return re.findall(r'<span class="state state-([a-z]+)">', page)


def test_every_window_of_every_region_is_there_with_its_files(reading: Reading, tree: PublicTree) -> None:
    page = reading.get("/audit/batches")
    assert states(page) == ["empty"] * 4 + ["live"] * 2 + ["empty"] * 2
    for batches in tree.batches.values():
        for batch in batches:
            for file in batch.files:
                assert f'href="/exposures/{file.path}"' in page
                assert file.sha256 in page
    for number, entry in enumerate(tree.shard.entries):
        assert (f'href="/audit/leaf/2026/{number}"' in page) == (b'"type":"batch"' in entry)


def test_it_can_be_narrowed_to_a_region_and_a_state(reading: Reading) -> None:
    assert states(reading.get("/audit/batches?region=XA")) == ["empty", "empty", "live", "empty"]
    assert states(reading.get("/audit/batches?region=XA&state=live")) == ["live"]
    assert "There is no such batch" in reading.get("/audit/batches?state=withdrawn")
    assert reading.status("/audit/batches?region=ZZ") == 404
    assert reading.status("/audit/batches?state=lost") == 404


def test_a_withdrawn_batch_is_marked_and_leads_to_the_leaf_that_says_so(
    reading: Reading, tree: PublicTree
) -> None:
    tree.withdraw("XA", 2)
    page = reading.get("/audit/batches?state=withdrawn")
    assert states(page) == ["withdrawn"]
    (number,) = [n for n, entry in enumerate(tree.shard.entries) if b'"type":"withdraw"' in entry]
    assert f'href="/audit/leaf/2026/{number}"' in page
    assert f'href="/audit/leaf/2026/{number}"' in reading.get("/audit/changes")


def test_what_is_past_its_retention_is_expired(clock: FakeClock) -> None:
    tree = PublicTree(clock, window=DAY, regions=("XA",))
    tree.pass_days(26)
    found = states(Reading(tree).get("/audit/batches"))
    assert found[0] == "live"
    assert found[-1] == "expired"
    assert set(found) == {"live", "expired"}


def test_pages_hold_fifty_and_lead_on(clock: FakeClock) -> None:
    tree = PublicTree(clock, regions=("XA",))
    for _ in range(60):
        tree.next_window()
    reading = Reading(tree)
    first, second = reading.get("/audit/batches?region=XA"), reading.get("/audit/batches?region=XA&page=2")
    assert (len(states(first)), len(states(second))) == (50, 10)
    assert 'rel="next" href="/audit/batches?page=2&amp;region=XA"' in first
    assert 'rel="prev" href="/audit/batches?page=1&amp;region=XA"' in second
    for nowhere in ("0", "3", "-1", "x", "١", "9" * 30):
        assert reading.status(f"/audit/batches?page={nowhere}") == 404
