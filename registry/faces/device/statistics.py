"""GET /api/stats/…: figures for an authority's dashboards, as JSON and as CSV, for API keys of kind `stats`.

Names are the field's where they mean the same. What is hidden, and what is not counted here at all, is null
and never 0. The same question gets the same answer for ever: figures were drawn once, and are only read here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import partial

from flask import Flask, Response, abort

from registry.faces.database import db
from registry.faces.device.answers import plain
from registry.faces.device.api_keys import Caller, caller_of_kind
from registry.faces.device.settings import IssuingFace
from registry.faces.tables import Cell, csv_of
from registry.lifecycle.statistics import (
    ALL,
    CERTIFIED,
    DELAY,
    DELAY_BINS,
    EXPIRED,
    LONGER,
    NO_ONSET,
    OLDEST,
    OLDEST_DAYS,
    ONSET,
    ONSET_DAYS,
    REDEEMED,
    REGIONS,
    UPLOADS,
    IssuedBy,
    figures,
    issued,
    issued_by_api_key,
    issued_by_external_issuers,
    issued_by_officials,
    last_day_over,
    sms_errors,
)
from registry.models import ApiKey, Official

DAYS = 90
"""The newest days that are over; the field's figure."""
_UNKNOWN_BINS = 2
"""The field's first bins, of a minute and of five: when a code was issued is not known so finely."""

Tables = Mapping[str, Mapping[str, int]]
Data = dict[str, object]


class StatisticsViews:
    """One view a table of the contract, each with two addresses."""

    def __init__(self, face: IssuingFace) -> None:
        self._face = face

    def register(self, app: Flask) -> None:
        """Add /api/stats/….json and .csv to `app`."""
        for path, name, view in (
            ("realm", "stats_realm", self._realm),
            ("realm/key-server", "stats_key_server", self._key_server),
            ("realm/composite", "stats_composite", self._composite),
            ("realm/users", "stats_users", self._users),
            ("realm/users/<user_id>", "stats_user", self._user),
            ("realm/api-keys/<key_id>", "stats_api_key", self._api_key),
            ("realm/external-issuers", "stats_external_issuers", self._external_issuers),
            ("realm/sms-errors", "stats_sms_errors", self._sms_errors),
        ):
            for form, write in (("json", _json), ("csv", _csv)):
                answer = partial(self._answer, view, write)
                app.add_url_rule(f"/api/stats/{path}.{form}", f"{name}_{form}", answer, methods=["GET"])

    def _answer(
        self,
        view: "Callable[..., _Answered]",
        write: "Callable[[str, _Answered], Response]",
        **named: str,
    ) -> Response:
        caller = caller_of_kind(db.session(), "stats", self._face.lookup_key)
        response = write(caller.authority_id, view(caller, **named))
        response.headers["Cache-Control"] = "private"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _days(self) -> tuple[date, date]:
        last = last_day_over(self._face.clock())
        return last - timedelta(days=DAYS - 1), last

    def _by_day(self, write: Callable[[Tables, int], Data], caller: Caller) -> "_Days":
        """`write` for each day, the newest first."""
        first, last = self._days()
        released = figures(db.session(), caller.authority_id, first, last)
        codes = issued(db.session(), caller.authority_id, first, last)
        days = (last - timedelta(days=back) for back in range(DAYS))
        return _Days([(day, write(released.get(day, {}), codes.get(day, 0))) for day in days])

    def _realm(self, caller: Caller) -> "_Answered":
        return self._by_day(_codes, caller)

    def _key_server(self, caller: Caller) -> "_Answered":
        return self._by_day(lambda tables, _issued: uploads_of(tables), caller)

    def _composite(self, caller: Caller) -> "_Answered":
        return self._by_day(lambda tables, n: {**_codes(tables, n), **uploads_of(tables)}, caller)

    def _users(self, caller: Caller) -> "_Answered":
        found = issued_by_officials(db.session(), caller.authority_id, *self._days())
        return _Parts("issuer_data", ("user_id", "codes_issued"), found)

    def _user(self, caller: Caller, user_id: str) -> "_Answered":
        official = None if "\0" in user_id else db.session.get(Official, user_id)
        if official is None or official.authority_id != caller.authority_id:
            abort(404, "no such user")
        found = issued_by_officials(db.session(), caller.authority_id, *self._days(), user_id)
        return self._own(found)

    def _api_key(self, caller: Caller, key_id: str) -> "_Answered":
        try:
            key_hash = bytes.fromhex(key_id)
        except ValueError:
            abort(404, "no such API key")
        key = db.session.get(ApiKey, key_hash)
        if key is None or key.authority_id != caller.authority_id:
            abort(404, "no such API key")
        return self._own(issued_by_api_key(db.session(), caller.authority_id, *self._days(), key_hash))

    def _own(self, found: Sequence[IssuedBy]) -> "_Days":
        by_day, (_first, last) = {row.day: row.n for row in found}, self._days()
        days = (last - timedelta(days=back) for back in range(DAYS))
        return _Days([(day, {"codes_issued": by_day.get(day, 0)}) for day in days])

    def _external_issuers(self, caller: Caller) -> "_Answered":
        found = issued_by_external_issuers(db.session(), caller.authority_id, *self._days())
        return _Parts("issuer_data", ("issuer_id", "codes_issued"), found)

    def _sms_errors(self, caller: Caller) -> "_Answered":
        found = sms_errors(db.session(), caller.authority_id, *self._days())
        return _Parts("error_data", ("error_code", "quantity"), found)


class _Days:
    """One record a day."""

    def __init__(self, days: Sequence[tuple[date, Data]]) -> None:
        self._days = days

    def statistics(self) -> list[Data]:
        return [{"date": _moment(day), "data": data} for day, data in self._days]

    def table(self) -> str:
        flat = [(day, _flat(data)) for day, data in self._days]
        names = list(dict.fromkeys(name for _day, data in flat for name in data))
        return csv_of(["date", *names], [[day.isoformat(), *map(data.get, names)] for day, data in flat])


class _Parts:
    """Several records a day, one for each of whatever did something on it."""

    def __init__(self, member: str, names: tuple[str, str], found: Sequence[IssuedBy]) -> None:
        self._member, self._names, self._found = member, names, found

    def statistics(self) -> list[Data]:
        by_day: dict[date, list[Data]] = defaultdict(list)
        for row in self._found:
            by_day[row.day].append(dict(zip(self._names, (row.issuer, row.n), strict=True)))
        days = sorted(by_day, reverse=True)
        return [{"date": _moment(day), self._member: by_day[day]} for day in days]

    def table(self) -> str:
        ordered = sorted(self._found, key=lambda row: (-row.day.toordinal(), row.issuer))
        return csv_of(["date", *self._names], [[row.day.isoformat(), row.issuer, row.n] for row in ordered])


_Answered = _Days | _Parts


def uploads_of(tables: Tables) -> Data:
    """What the key server of the field tells of a day's uploads; platforms and revisions are not counted."""
    onset, uploads = tables.get(ONSET, {}), tables.get(UPLOADS, {}).get(ALL)
    return {
        "publish_requests": {"unknown": uploads, "android": None, "ios": None},
        "total_publish_requests": uploads,
        "total_teks_published": None,
        "requests_with_revisions": None,
        "requests_missing_onset_date": onset.get(NO_ONSET),
        "tek_age_distribution": _bins(tables.get(OLDEST, {}), map(str, range(OLDEST_DAYS))),
        "onset_to_upload_distribution": _bins(onset, map(str, range(ONSET_DAYS))),
        "uploads_by_region": dict(tables.get(REGIONS, {})),
    }


def _codes(tables: Tables, codes_issued: int) -> Data:
    return {
        "codes_issued": codes_issued,
        "codes_claimed": tables.get(REDEEMED, {}).get(ALL),
        "codes_invalid": None,
        "tokens_claimed": tables.get(CERTIFIED, {}).get(ALL),
        "tokens_invalid": None,
        "code_claim_mean_age_seconds": None,
        "code_claim_age_distribution": [None] * _UNKNOWN_BINS
        + _bins(tables.get(DELAY, {}), (*DELAY_BINS, LONGER)),
        "user_reports_issued": None,
        "user_reports_claimed": None,
        "user_report_tokens_claimed": None,
        "codes_expired": tables.get(EXPIRED, {}).get(ALL),
    }


def _bins(cells: Mapping[str, int], names: Iterable[str]) -> list[int | None]:
    return [cells.get(name) for name in names]


def _json(authority_id: str, answered: _Answered) -> Response:
    return plain({"realm_id": authority_id, "statistics": answered.statistics()})


def _csv(_authority_id: str, answered: _Answered) -> Response:
    return Response(answered.table(), content_type="text/csv; charset=utf-8")


def _flat(data: Data) -> dict[str, Cell]:
    """With the names of CSV: an object's members each in a column, but what has members without number."""
    flat: dict[str, Cell] = {}
    for name, value in data.items():
        if name == "uploads_by_region" and isinstance(value, dict):
            flat[name] = "|".join(f"{region}:{n}" for region, n in sorted(value.items()))
        elif isinstance(value, dict):
            flat.update({f"{name}_{part}": n for part, n in value.items()})
        elif value is None or isinstance(value, str | int | list):
            flat[name] = value
    return flat


def _moment(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"
