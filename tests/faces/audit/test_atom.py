"""Feeds as RFC 4287 has them: whatever stands in an entry, a reader gets it back."""

from xml.etree.ElementTree import fromstring

from hypothesis import given
from hypothesis import strategies as st

from registry.faces.audit.atom import NAMESPACE, Entry, Feed, encode_feed, tag_uri

ATOM = {"a": NAMESPACE}
FEED = Feed("tag:x,2026:f", "Title", "Author", "en", "https://x/f.atom", "https://x/", 1_781_524_800)

texts = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1)


@given(texts, texts)
def test_what_is_written_is_read_back(title: str, content: str) -> None:
    entry = Entry("tag:x,2026:1", title, 1_781_524_801, "https://x/1", content, "batch")
    root = fromstring(encode_feed(FEED, [entry]))  # noqa: S314  # our own bytes
    assert root.findtext("a:entry/a:title", namespaces=ATOM) == title
    assert root.findtext("a:entry/a:content", namespaces=ATOM) == content
    assert root.findtext("a:entry/a:updated", namespaces=ATOM) == "2026-06-15T12:00:01Z"


def test_what_xml_cannot_hold_is_replaced() -> None:
    entry = Entry("tag:x,2026:1", "a\x00b\x1b", 0, "https://x/1", "\x08", "batch")
    root = fromstring(encode_feed(FEED, [entry]))  # noqa: S314  # our own bytes
    assert root.findtext("a:entry/a:title", namespaces=ATOM) == "a\ufffdb\ufffd"


def test_an_empty_feed_has_all_that_it_must() -> None:
    root = fromstring(encode_feed(FEED, []))  # noqa: S314  # our own bytes
    for name in ("id", "title", "updated", "author/a:name"):
        assert root.findtext(f"a:{name}", namespaces=ATOM), name
    assert {link.get("rel"): link.get("href") for link in root.findall("a:link", ATOM)} == {
        "self": "https://x/f.atom",
        "alternate": "https://x/",
    }


def test_an_id_is_made_of_the_origin_and_not_of_an_address() -> None:
    assert tag_uri("example.org/keys/2026", 2026, "leaf", 12) == "tag:example.org,2026:keys/2026/leaf/12"
