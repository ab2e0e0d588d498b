"""Atom feeds (RFC 4287), written with the standard library. Pure: entries in, bytes out.

An entry's id never changes and names no host's port or scheme: it is a tag URI (RFC 4151) made of the log's
origin, so that a reader knows an entry again wherever the feed was fetched.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

NAMESPACE = "http://www.w3.org/2005/Atom"
CONTENT_TYPE = "application/atom+xml; charset=utf-8"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, escaped or not."""

register_namespace("", NAMESPACE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One item. `updated` is in unix seconds; `link` is an absolute address; `content` is plain text."""

    entry_id: str
    title: str
    updated: int
    link: str
    content: str
    category: str


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed without its entries. `updated`, if no entry is newer, in unix seconds."""

    feed_id: str
    title: str
    author: str
    language: str
    address: str
    page: str
    updated: int


def tag_uri(origin: str, year: int, *parts: str | int) -> str:
    """`tag:example.org,2026:keys/2026/leaf/12` for the log `example.org/keys/2026` (RFC 4151)."""
    authority, _, path = origin.partition("/")
    specific = "/".join(str(part) for part in (path, *parts) if part != "")
    return f"tag:{authority},{year}:{specific}"


def encode_feed(feed: Feed, entries: Sequence[Entry]) -> bytes:
    """The document, UTF-8, with its declaration. Entries stand in the order given."""
    root = Element(_name("feed"), {_LANG: feed.language})
    _add(root, "id", feed.feed_id)
    _add(root, "title", feed.title)
    _add(root, "updated", _time(max([feed.updated, *(entry.updated for entry in entries)])))
    _add(SubElement(root, _name("author")), "name", feed.author)
    _add(root, "link", rel="self", type="application/atom+xml", href=feed.address)
    _add(root, "link", rel="alternate", type="text/html", href=feed.page)
    for entry in entries:
        item = SubElement(root, _name("entry"))
        _add(item, "id", entry.entry_id)
        _add(item, "title", entry.title)
        _add(item, "updated", _time(entry.updated))
        _add(item, "link", rel="alternate", type="text/html", href=entry.link)
        _add(item, "category", term=entry.category)
        _add(item, "content", entry.content, type="text")
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _add(parent: Element, name: str, text: str | None = None, **attributes: str) -> None:
    element = SubElement(parent, _name(name), {key: _clean(value) for key, value in attributes.items()})
    if text is not None:
        element.text = _clean(text)


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _name(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _time(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
