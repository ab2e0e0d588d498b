"""The feeds: what a reader needs to know an item again, and to check it without us."""

from xml.etree.ElementTree import Element

from registry.faces.audit.atom import NAMESPACE
from registry.protocol.checkpoint import cosignatures, open_checkpoint
from registry.protocol.leaves import decode_leaf
from registry.protocol.merkle import leaf_hash
from tests.clock import FakeClock
from tests.faces.audit.conftest import BASE_URL, Reading
from tests.public_tree import DAY, PublicTree, log_signers

ATOM = {"a": NAMESPACE}


def texts(feed: Element, name: str) -> list[str]:
    """The text of that element of every entry."""
    return [entry.findtext(f"a:{name}", "", ATOM) for entry in feed.findall("a:entry", ATOM)]


def test_every_batch_is_an_item_with_its_leaf_and_a_checkpoint_that_verifies(
    reading: Reading, tree: PublicTree
) -> None:
    feed = reading.feed("batches")
    leaves = [n for n, entry in enumerate(tree.shard.entries) if b'"type":"batch"' in entry]
    assert texts(feed, "id") == [
        f"tag:registry.example,2026:keys/2026/leaf/{number}" for number in reversed(leaves)
    ]
    for number, content in zip(reversed(leaves), texts(feed, "content"), strict=True):
        said, _, note = content.partition("\n\n")
        digest = leaf_hash(tree.shard.entries[number]).hex()
        assert f"Leaf {number} of {tree.origin}, leaf hash {digest}." in said
        opened, checkpoint = open_checkpoint(note.encode(), [signer.key for signer in log_signers(2026)])
        assert checkpoint.size == tree.shard.size
        assert len(cosignatures(opened, checkpoint, [one.signer.key for one in tree.witnesses])) == 3


def test_an_item_leads_to_the_page_of_its_leaf(reading: Reading, tree: PublicTree) -> None:
    links = [link.get("href", "") for link in reading.feed("batches").findall("a:entry/a:link", ATOM)]
    assert len(links) == 8
    for link in links:
        assert link.startswith(f"{BASE_URL}/audit/leaf/2026/")
        number = int(link.rpartition("/")[2])
        assert decode_leaf(tree.shard.entries[number]).window_end  # type: ignore[union-attr]
        assert reading.status(link.removeprefix(BASE_URL)) == 200


def test_an_item_keeps_its_id_and_its_time_when_the_log_grows(reading: Reading, tree: PublicTree) -> None:
    before = dict(zip(*(texts(reading.feed("batches"), name) for name in ("id", "updated")), strict=True))
    tree.next_window()
    after = dict(zip(*(texts(reading.feed("batches"), name) for name in ("id", "updated")), strict=True))
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2


def test_no_alarm_is_a_feed_without_items(reading: Reading) -> None:
    feed = reading.feed("alarms")
    assert texts(feed, "id") == []
    assert feed.findtext("a:updated", namespaces=ATOM) == "2026-06-15T16:00:00Z"


def test_a_standing_alarm_is_one_and_the_same_item(reading: Reading, tree: PublicTree) -> None:
    tree.clock.advance(3 * DAY)
    first = reading.feed("alarms")
    tree.clock.advance(3600)
    second = reading.feed("alarms")
    assert texts(first, "id") == texts(second, "id") != []
    assert texts(first, "updated") == texts(second, "updated")
    # What cosignatures are late by is known: six hours after the last.
    assert "2026-06-15T22:00:00Z" in texts(first, "updated")
    for content in texts(first, "content"):
        assert f"Newest leaf: {tree.shard.size - 1} of {tree.origin}." in content


def test_alarms_have_the_same_id_in_every_language(reading: Reading, tree: PublicTree) -> None:
    (gone, *_) = tree.names("-00001.zip")
    del tree.files[gone]
    english, chinese = (reading.client.get(f"/audit/alarms.atom?lang={code}") for code in ("en", "zh"))
    assert 'xml:lang="en"' in english.text
    assert 'xml:lang="zh-Hans"' in chinese.text
    assert "A listed file is missing or different" in english.text
    assert "列出的文件缺失或不同" in chinese.text
    ids = [answer.text.partition("/alarm/")[2].partition("<")[0] for answer in (english, chinese)]
    assert ids[0] == ids[1] != ""


def test_a_log_that_cannot_be_read_is_an_alarm_too(clock: FakeClock) -> None:
    tree = PublicTree(clock)
    tree.next_window()
    for path in [path for path in tree.files if "/tile/entries/" in path]:
        del tree.files[path]
    feed = Reading(tree).feed("alarms")
    assert texts(feed, "title") == ["The log cannot be shown"]
    assert "is not there" in texts(feed, "content")[0]
