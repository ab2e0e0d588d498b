"""The answers of /api/stats/… for `openapi.yaml`, which says what a figure means and what is hidden."""

from typing import Any

from marshmallow import Schema, fields, validate


def _figure(meaning: str) -> fields.Integer:
    return fields.Integer(required=True, allow_none=True, metadata={"description": meaning})


def _bins(meaning: str, count: int) -> fields.List[Any]:
    return fields.List(
        fields.Integer(allow_none=True),
        required=True,
        validate=validate.Length(equal=count),
        metadata={"description": meaning},
    )


def _midnight() -> fields.DateTime:
    return fields.DateTime(required=True, metadata={"description": "Midnight UTC, at which the day begins."})


_NOT_COUNTED = "Not counted here: null."
_NOISY = "With noise of the day's own, drawn once; null where it is under 15, for ever. "


class CodeFigures(Schema):
    """One day's codes. `codes_issued` is exact: officials' and systems' own acts."""

    codes_issued = fields.Integer(required=True)
    codes_claimed = _figure(_NOISY + "Codes that a phone used on that day.")
    codes_invalid = _figure(_NOT_COUNTED)
    tokens_claimed = _figure(_NOISY + "Certificates given.")
    tokens_invalid = _figure(_NOT_COUNTED)
    code_claim_mean_age_seconds = _figure(_NOT_COUNTED)
    code_claim_age_distribution = _bins(
        _NOISY + "Codes by their age when they were used: up to 1 and 5 minutes (always null: nobody knows), "
        "15 and 30 minutes, 1, 2, 3, 6, 12 and 24 hours, and more. The age is known to a quarter of an hour "
        "and rounded up; of an extended code it counts from there.",
        11,
    )
    user_reports_issued = _figure(_NOT_COUNTED)
    user_reports_claimed = _figure(_NOT_COUNTED)
    user_report_tokens_claimed = _figure(_NOT_COUNTED)
    codes_expired = _figure(_NOISY + "Codes that ended on that day and were never used.")


class PublishRequests(Schema):
    """Uploads by platform, of which nothing is known."""

    unknown_platform = fields.Integer(
        required=True, allow_none=True, data_key="unknown", metadata={"description": _NOISY}
    )
    android = _figure(_NOT_COUNTED)
    ios = _figure(_NOT_COUNTED)


class UploadFigures(Schema):
    """One day's uploads of new keys, by the day on which the first of them left."""

    publish_requests = fields.Nested(PublishRequests, required=True)
    total_publish_requests = _figure(_NOISY)
    total_teks_published = _figure(_NOT_COUNTED)
    requests_with_revisions = _figure(_NOT_COUNTED)
    requests_missing_onset_date = _figure(_NOISY)
    tek_age_distribution = _bins(
        _NOISY + "Uploads by the days since their oldest key; the last bin: 15 and more.", 16
    )
    onset_to_upload_distribution = _bins(
        _NOISY + "Uploads by the days since the onset; the last bin: 29 and more.", 30
    )
    uploads_by_region = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": _NOISY + "A region that is not named is hidden."},
    )


class UploadFiguresOfDay(UploadFigures):
    """And the day."""

    day = _midnight()


class StatsAnswer(Schema):
    """The days of which the number of uploads is shown, oldest first. A hidden day never comes.

    To cover traffic, as everywhere, the padding alone.
    """

    days = fields.List(fields.Nested(UploadFiguresOfDay))
    padding = fields.String(required=True, metadata={"description": "Random; pass it over."})


class CompositeFigures(CodeFigures, UploadFigures):
    """Both."""


def _by_day(data: type[Schema]) -> dict[str, fields.Field[Any]]:
    return {"date": _midnight(), "data": fields.Nested(data, required=True)}


def _realm(record: type[Schema]) -> dict[str, fields.Field[Any]]:
    return {
        "realm_id": fields.String(required=True, metadata={"description": "The authority's id."}),
        "statistics": fields.List(fields.Nested(record), required=True),
    }


CodeDay = Schema.from_dict(_by_day(CodeFigures), name="CodeDay")
CodeStatistics = Schema.from_dict(_realm(CodeDay), name="CodeStatistics")
UploadDay = Schema.from_dict(_by_day(UploadFigures), name="UploadDay")
UploadStatistics = Schema.from_dict(_realm(UploadDay), name="UploadStatistics")
CompositeDay = Schema.from_dict(_by_day(CompositeFigures), name="CompositeDay")
CompositeStatistics = Schema.from_dict(_realm(CompositeDay), name="CompositeStatistics")


class IssuedFigure(Schema):
    """Exact: an issuer's own acts."""

    codes_issued = fields.Integer(required=True)


IssuedDay = Schema.from_dict(_by_day(IssuedFigure), name="IssuedDay")
IssuedStatistics = Schema.from_dict(_realm(IssuedDay), name="IssuedStatistics")


class IssuerFigure(IssuedFigure):
    """Of an official (`user_id`) or of an external issuer (`issuer_id`). No name of anybody."""

    user_id = fields.String()
    issuer_id = fields.String()


class IssuerDay(Schema):
    """Whoever issued on that day."""

    date = _midnight()
    issuer_data = fields.List(fields.Nested(IssuerFigure), required=True)


IssuerStatistics = Schema.from_dict(_realm(IssuerDay), name="IssuerStatistics")


class SmsErrorFigure(Schema):
    """How often a gateway refused for one reason."""

    error_code = fields.String(required=True)
    quantity = fields.Integer(required=True)


class SmsErrorDay(Schema):
    """Why messages were refused on that day."""

    date = _midnight()
    error_data = fields.List(fields.Nested(SmsErrorFigure), required=True)


SmsErrorStatistics = Schema.from_dict(_realm(SmsErrorDay), name="SmsErrorStatistics")
