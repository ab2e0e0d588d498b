"""Atom feeds of batches and of alarms. A convenience: each item carries what its reader needs to check it."""

from flask import Blueprint, Response, url_for
from flask_babel import gettext as _

from registry.client.monitor.batches import LoggedBatch
from registry.errors import Distrusted, Malformed, RegistryError
from registry.faces.audit.alarms import Alarm, alarms_of
from registry.faces.audit.atom import CONTENT_TYPE, Entry, Feed, encode_feed, tag_uri
from registry.faces.audit.record import Record, now, this_record
from registry.faces.audit.settings import this_face
from registry.faces.audit.wording import STATES, utc
from registry.faces.pages.language import HTML_LANGUAGES, page_language
from registry.protocol.index import TRUST_PATH
from registry.protocol.note import KeyKind, Note, decode_vkey, encode_note
from registry.protocol.trust import decode_trust

pages = Blueprint("feeds", __name__, url_prefix="/audit")

MOST_BATCHES = 100
MAX_AGE_SECONDS = 60
_FEEDS_SINCE = 2026
"""The year in ids of what belongs to no shard: a tag URI names a year in which its origin was ours."""


@pages.get("/batches.atom")
def batches() -> Response:
    """The newest batches of all regions."""
    record = this_record()
    newest = [batch for batch in record.batches if batch.published_at is not None][:MOST_BATCHES]
    origin, page = record.view.trust.log_origin, url_for("batches.batches")
    feed = _feed(origin, record.issued_at, "batches", _("Batches"), page)
    return _answer(feed, [_batch(batch, record) for batch in newest])


@pages.get("/alarms.atom")
def alarms() -> Response:
    """What is wrong now; empty while all is well."""
    try:
        record = this_record()
        found = alarms_of(record, now())
    except (Distrusted, Malformed) as error:
        return _unreadable(error)
    origin, page = record.view.trust.log_origin, url_for("front.overview")
    feed = _feed(origin, record.issued_at, "alarms", _("Alarms"), page)
    return _answer(feed, [_alarm(alarm, record) for alarm in found])


def _unreadable(error: RegistryError) -> Response:
    """A log that cannot be believed is the gravest alarm, and the feed must not fall silent of it.

    Raises what the trust material's reading raises: without an origin there is no feed.
    """
    trust = decode_trust(this_face().storage.read(TRUST_PATH) or b"")
    base_url, moment = this_face().base_url, int(now())
    hour = moment - moment % 3600
    feed = _feed(trust.log_origin, hour, "alarms", _("Alarms"), url_for("front.overview"))
    entry = Entry(
        entry_id=tag_uri(trust.log_origin, _FEEDS_SINCE, "alarm", "unreadable"),
        title=_("The log cannot be shown"),
        updated=hour,
        link=f"{base_url}/audit/",
        content=_("What the public files say does not hold together: %(why)s.", why=str(error)),
        category="alarm",
    )
    return _answer(feed, [entry])


def _answer(feed: Feed, entries: list[Entry]) -> Response:
    answer = Response(encode_feed(feed, entries), content_type=CONTENT_TYPE)
    answer.headers["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
    return answer


def _feed(origin: str, updated: int, name: str, title: str, page: str) -> Feed:
    base_url = this_face().base_url
    return Feed(
        feed_id=tag_uri(origin, _FEEDS_SINCE, "audit", name),
        title=f"{title} – {origin}",
        author=origin,
        language=HTML_LANGUAGES[page_language()],
        address=f"{base_url}/audit/{name}.atom",
        page=f"{base_url}{page}",
        updated=updated,
    )


def _batch(batch: LoggedBatch, record: Record) -> Entry:
    leaf, entry = batch.leaf, batch.entry
    state = STATES[record.state(batch)]
    said = [
        _("Region %(region)s, batch %(number)d, window %(start)s to %(end)s UTC: %(state)s.",
          region=leaf.region, number=leaf.sequence, start=utc(leaf.window_start), end=utc(leaf.window_end),
          state=state),
        *(f"{file.path} {file.size} B sha256 {file.sha256}" for file in batch.files),
        _("Leaf %(number)d of %(origin)s, leaf hash %(hash)s.",
          number=entry.number, origin=_origin(record, entry.year), hash=entry.hash.hex()),
    ]  # fmt: skip
    return Entry(
        entry_id=tag_uri(_origin(record, entry.year), entry.year, "leaf", entry.number),
        title=_("%(region)s batch %(number)d", region=leaf.region, number=leaf.sequence),
        updated=batch.published_at or leaf.window_end,
        link=f"{this_face().base_url}/audit/leaf/{entry.year}/{entry.number}",
        content="\n".join([*said, "", _checkpoint(record)]),
        category="batch",
    )


def _alarm(alarm: Alarm, record: Record) -> Entry:
    current, last = record.view.current, record.view.current.last
    leaf = _("Newest leaf: %(number)d of %(origin)s.", number=last.number if last else 0,
             origin=current.checkpoint.origin)  # fmt: skip
    return Entry(
        entry_id=tag_uri(record.view.trust.log_origin, _FEEDS_SINCE, "alarm", alarm.alarm_id),
        title=alarm.title,
        updated=alarm.since,
        link=f"{this_face().base_url}/audit/#alarms",
        content="\n".join([alarm.text, leaf, "", _checkpoint(record)]),
        category="warning" if alarm.is_warning else "alarm",
    )


def _origin(record: Record, year: int) -> str:
    shard = record.view.shard(year)
    return shard.checkpoint.origin if shard else record.view.current.checkpoint.origin


def _checkpoint(record: Record) -> str:
    """The newest checkpoint with all signatures but ML-DSA's, whose lines are long and stand in its file."""
    note, keys = record.view.current.note, [*map(decode_vkey, record.view.trust.log_vkeys)]
    keys += [witness.key for witness in record.view.policy.witnesses]
    long = [key for key in keys if key.kind == KeyKind.ML_DSA_44]
    lines = tuple(line for line in note.signatures if not any(line.is_by(key) for key in long))
    return encode_note(Note(note.text, lines)).decode()
