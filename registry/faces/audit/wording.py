"""How times, ages, sizes and hashes are written on the pages, and what a leaf says in words."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from flask import Flask
from flask_babel import format_decimal, format_timedelta, ngettext
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from markupsafe import Markup

from registry.protocol.encoding import encode_base64
from registry.protocol.leaves import (
    ActivityLeaf,
    BatchLeaf,
    CloseLeaf,
    IndexLeaf,
    KeyLeaf,
    Leaf,
    OpenLeaf,
    PolicyLeaf,
    WithdrawLeaf,
)

STATES = {
    "live": lazy("live"),
    "pending": lazy("pending"),
    "empty": lazy("empty"),
    "expired": lazy("expired"),
    "withdrawn": lazy("withdrawn"),
}
"""What has become of a batch, as the pages call it."""

LEAF_TYPES = {
    BatchLeaf: lazy("batch"),
    IndexLeaf: lazy("index"),
    WithdrawLeaf: lazy("withdrawal"),
    KeyLeaf: lazy("key change"),
    PolicyLeaf: lazy("policy"),
    ActivityLeaf: lazy("activity anchor"),
    CloseLeaf: lazy("end of the year’s log"),
    OpenLeaf: lazy("beginning of the year’s log"),
}

_ROW_BYTES = 16


def teach_words(app: Flask) -> None:
    """Let the templates of `app` write what this module knows how to."""
    filters: dict[str, Callable[..., object]] = {
        "moment": moment, "window": window, "age": age, "size": size, "number": number, "b64": encode_base64,
    }  # fmt: skip
    app.jinja_env.filters.update(filters)


def utc(unix_seconds: float) -> str:
    """`2026-06-15 12:00`, to the second where there are any."""
    moment = datetime.fromtimestamp(int(unix_seconds), UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if moment.second else "%Y-%m-%d %H:%M")


def moment(unix_seconds: float) -> Markup:
    """The time as `utc` writes it, marked up as a time. The page says once that all are UTC."""
    iso = datetime.fromtimestamp(int(unix_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="{}">{}</time>').format(iso, utc(unix_seconds))


def window(start: float, end: float) -> Markup:
    """From when to when, the day but once if it is the same."""
    first, last = (datetime.fromtimestamp(int(one), UTC) for one in (start, end))
    is_one_day = first.date() == (last - timedelta(seconds=1)).date()
    iso, words = last.strftime("%Y-%m-%dT%H:%M:%SZ"), utc(end)
    clock = "24:00" if first.date() != last.date() else words.partition(" ")[2]
    until = clock if is_one_day else words
    return Markup('{} – <time datetime="{}">{}</time>').format(moment(start), iso, until)


def delay(seconds: float) -> str:
    """Seconds, minutes or hours by their symbols, so that charts and tables can be compared."""
    if seconds < 120:
        return f"{format_decimal(round(seconds, 1))} s"
    if seconds < 7200:
        return f"{format_decimal(round(seconds / 60, 1))} min"
    return f"{format_decimal(round(seconds / 3600, 1))} h"


def age(seconds: float) -> str:
    """`4 minutes`, in the page's language; never below zero."""
    return str(format_timedelta(timedelta(seconds=max(0, int(seconds))), threshold=1.5))


def size(count: float) -> str:
    """Bytes in decimal multiples."""
    if count < 1000:
        return f"{format_decimal(round(count))} B"
    if count < 1_000_000:
        return f"{format_decimal(round(count / 1000, 1))} kB"
    return f"{format_decimal(round(count / 1_000_000, 1))} MB"


def number(count: float) -> str:
    """A number with its thousands set apart."""
    return str(format_decimal(round(count, 1)))


def kind_of(leaf: Leaf) -> str:
    """What the leaf is, in a word or two."""
    return str(LEAF_TYPES[type(leaf)])


def hex_dump(content: bytes) -> str:
    """Offset, sixteen bytes, and what of them can be read as text: a line each."""
    lines = []
    for at in range(0, len(content), _ROW_BYTES):
        row = content[at : at + _ROW_BYTES]
        text = "".join(chr(octet) if 0x20 <= octet < 0x7F else "." for octet in row)
        lines.append(f"{at:04x}  {row.hex(' '):<47}  {text}")
    return "\n".join(lines)


def members_in_words(leaf: Leaf) -> list[tuple[str, str, str]]:
    """(name, value, what it means) of each of the leaf's members, in reading order."""
    match leaf:
        case BatchLeaf():
            return _batch(leaf)
        case IndexLeaf():
            previous = _("number of the index leaf before this one")
            return [
                ("issued_at", str(leaf.issued_at), utc(leaf.issued_at) + " UTC"),
                ("regions", str(leaf.regions), ngettext("%(num)d region", "%(num)d regions", leaf.regions)),
                ("root", encode_base64(leaf.root), _("root of the tree over all regions’ index files")),
                *([] if leaf.previous is None else [("previous", str(leaf.previous), previous)]),
            ]
        case WithdrawLeaf():
            return [
                ("region", leaf.region, _("whose batch was taken back")),
                ("sequence", str(leaf.sequence), _("number of that batch in its region")),
                ("reason", leaf.reason, _("kind of reason")),
                ("reference", encode_base64(leaf.reference), _("salted commitment to the written order")),
            ]
        case KeyLeaf():
            return [
                ("action", leaf.action, _("added") if leaf.action == "added" else _("retired")),
                ("purpose", leaf.purpose, _PURPOSES[leaf.purpose]),
                ("name", leaf.name, _("name of the key")),
                ("sha256", encode_base64(leaf.digest), _("SHA-256 of the public key’s bytes")),
            ]
        case PolicyLeaf():
            return _policy(leaf)
        case ActivityLeaf():
            meaning = _("salted commitment to the heads of the officials’ activity chains")
            return [("commitment", encode_base64(leaf.commitment), meaning)]
        case CloseLeaf():
            return [("next", leaf.next_origin, _("where the log goes on"))]
        case OpenLeaf():
            return [
                ("origin", leaf.origin, _("the log of the year before")),
                ("size", str(leaf.size), _("how many leaves it ended with")),
                ("root", encode_base64(leaf.root), _("its final root")),
            ]


_PURPOSES = {
    "export": lazy("signs export files"),
    "log": lazy("signs the log’s checkpoints"),
    "trust": lazy("signs the trust material"),
}


def _batch(leaf: BatchLeaf) -> list[tuple[str, str, str]]:
    rows = [
        ("region", leaf.region, _("for whose phones it is")),
        ("sequence", str(leaf.sequence), _("number in this region, without a gap")),
        ("window_start", str(leaf.window_start), utc(leaf.window_start) + " UTC"),
        ("window_end", str(leaf.window_end), utc(leaf.window_end) + " UTC"),
        ("manifest", encode_base64(leaf.manifest), _("SHA-256 of the manifest, which names the files")),
    ]
    if leaf.previous is not None:
        meaning = _("leaf hash of this region’s batch before")
        rows.append(("previous", encode_base64(leaf.previous), meaning))
    return rows


def _policy(leaf: PolicyLeaf) -> list[tuple[str, str, str]]:
    rows = [
        ("sequence", str(leaf.sequence), _("number of this trust material")),
        ("digest", encode_base64(leaf.digest), _("SHA-256 of its file")),
    ]
    if leaf.previous is not None:
        rows.append(("previous", encode_base64(leaf.previous), _("SHA-256 of the one before")))
    return rows
