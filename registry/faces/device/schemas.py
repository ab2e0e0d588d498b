"""The JSON of the device face, request by request and answer by answer; `openapi.yaml` is made of these.

Names are the contract's. A member that a request may leave out has the default that existing servers give
it, so that what is missing meets the same error code there and here.
"""

from typing import Any

from marshmallow import Schema, fields, validate

from registry.faces.device.fields import Day, RequestSchema, Text, Truth, Whole
from registry.protocol.keys import REPORT_TYPES


def _padding_in() -> fields.String:
    # Stored nowhere, so it may be what a database's text may not.
    return fields.String(load_default="", metadata={"description": "Anything; makes requests equally long."})


def _padding_out() -> fields.String:
    return fields.String(
        required=True, metadata={"description": "Base64 of 1,024 to 2,047 random bytes; pass it over."}
    )


class VerifyRequest(RequestSchema):
    """A code, and the report types that the app can deal with."""

    code = Text(load_default="", metadata={"example": "123456789012347"})
    accept = fields.List(
        Text(),
        load_default=list,
        metadata={
            "description": "Of confirmed, likely, negative, user-report. likely and user-report imply "
            "confirmed, negative implies confirmed and likely; none means all."
        },
    )
    nonce = Text(
        load_default="",
        metadata={"description": "Of a self-report's code: as it was given to /api/user-report."},
    )
    padding = fields.String(
        load_default="",
        metadata={
            "description": "Base64 of any bytes. With 16 bytes or more, the same body again gets the same "
            "answer for 24 hours."
        },
    )


class VerifyAnswer(Schema):
    """What was stated, and the token for `/api/certificate`."""

    testtype = fields.String(validate=validate.OneOf(tuple(REPORT_TYPES)))
    symptomDate = fields.Date()  # noqa: N815
    testDate = fields.Date()  # noqa: N815
    token = fields.String()
    padding = _padding_out()


class CertificateRequest(RequestSchema):
    """A token, the HMAC of the keys that the certificate is to name, and a hash of what was agreed to."""

    token = Text(load_default="")
    ekeyhmac = Text(load_default="", metadata={"description": "Base64 of 32 bytes (HMAC-SHA256)."})
    consent_hash = Text(
        data_key="consentHash",
        load_default="",
        metadata={
            "description": "Optional. Base64 of 32 bytes: SHA-256 of a random salt and the phone's own "
            "record of what the person agreed to. Goes into certificate and receipt."
        },
    )
    consent_version = Text(
        data_key="consentVersion",
        load_default="",
        metadata={
            "description": "Optional. Which text the person was shown: 1 to 32 of A-Z a-z 0-9 . _ : + -",
            "example": "2026-11",
        },
    )
    padding = _padding_in()


class CertificateAnswer(Schema):
    """The verification certificate: a JWT, ES256, good for 15 minutes."""

    certificate = fields.String()
    padding = _padding_out()


class IssueRequest(RequestSchema):
    """A positive result, or the correction of one, for which a code is wanted."""

    test_type = Text(data_key="testType", load_default="", metadata={"example": "confirmed"})
    symptom_date = Day(data_key="symptomDate", load_default=None, metadata={"example": "2026-06-12"})
    test_date = Day(data_key="testDate", load_default=None, metadata={"example": "2026-06-14"})
    tz_offset = fields.Float(
        data_key="tzOffset", load_default=0, metadata={"description": "Passed over: a day's slack is given."}
    )
    phone = Text(
        load_default="",
        metadata={
            "description": "Where the code goes by SMS: with + and calling code, or as it is written in the "
            "registry's region. Stored nowhere.",
            "example": "+8613800138000",
        },
    )
    sms_template_label = Text(
        data_key="smsTemplateLabel",
        load_default="",
        metadata={"description": "Of the authority's texts; `default` without it."},
    )
    sms_language = Text(
        data_key="smsLanguage",
        load_default="",
        metadata={"description": "Of the text: zh or en; the first that the label has without it."},
    )
    uuid = Text(load_default="", metadata={"description": "The caller's own handle, a UUID."})
    external_issuer_id = Text(data_key="externalIssuerID", load_default="", validate=validate.Length(max=255))
    only_generate_sms = Truth(
        data_key="onlyGenerateSMS",
        load_default=False,
        metadata={"description": "Send nothing: the answer has the text, if the authority allows it."},
    )
    padding = _padding_in()


class FhirMessage(Schema):
    """FHIR R4: a DiagnosticReport with its Observations contained, a Bundle of one report and its
    Observations, or an Observation alone. Read are types, statuses, `result`, `code`,
    `valueCodeableConcept` and the day; all else is passed over unread and kept nowhere."""

    resourceType = fields.String(  # noqa: N815
        required=True, validate=validate.OneOf(("DiagnosticReport", "Observation", "Bundle"))
    )
    status = fields.String(metadata={"description": "`final`, `amended` or `corrected`."})
    code = fields.Dict(metadata={"description": "With a LOINC code of a test that counts here."})
    valueCodeableConcept = fields.Dict(  # noqa: N815
        metadata={"description": "Positive or detected, by SNOMED CT or LOINC."}
    )
    effectiveDateTime = fields.String(  # noqa: N815
        metadata={"description": "A whole day, or a moment with its zone.", "example": "2026-06-14"}
    )
    contained = fields.List(fields.Dict())
    result = fields.List(fields.Dict())
    entry = fields.List(fields.Dict())


class IssueAnswer(Schema):
    """The code to hand over. The long code stands in links alone, and its times are the code's."""

    uuid = fields.UUID(required=True)
    code = fields.String(required=True)
    expiresAt = fields.String(required=True, metadata={"description": "RFC 1123, UTC."})  # noqa: N815
    expiresAtTimestamp = fields.Integer(required=True)  # noqa: N815
    longExpiresAt = fields.String(required=True)  # noqa: N815
    longExpiresAtTimestamp = fields.Integer(required=True)  # noqa: N815
    generatedSMS = fields.String(metadata={"description": "With `onlyGenerateSMS`."})  # noqa: N815
    phone = fields.String(metadata={"description": "With `onlyGenerateSMS`: E.164."})
    padding = _padding_out()


class Unread(fields.Nested):
    """Described by its schema, and taken as it came: what is wrong with one must not refuse the others."""

    def _deserialize(self, value: Any, *_arguments: Any, **_more: Any) -> Any:
        return value


class BatchIssueRequest(RequestSchema):
    """Up to ten requests of /api/issue. Each is checked, and issued, by itself."""

    codes = fields.List(Unread(IssueRequest, allow_none=True), load_default=list)
    padding = _padding_in()


class BatchedIssue(Schema):
    """What one request of a batch came to: the answer of /api/issue, or why there is none."""

    uuid = fields.UUID()
    code = fields.String()
    expiresAt = fields.String()  # noqa: N815
    expiresAtTimestamp = fields.Integer()  # noqa: N815
    longExpiresAt = fields.String()  # noqa: N815
    longExpiresAtTimestamp = fields.Integer()  # noqa: N815
    error = fields.String()
    errorCode = fields.String()  # noqa: N815
    error_code = fields.String()


class BatchIssueAnswer(Schema):
    """As many as were asked for, in the same order."""

    codes = fields.List(fields.Nested(BatchedIssue), required=True)
    padding = _padding_out()


class BatchIssueError(Schema):
    """The first failure, and, unless the call was refused as a whole, what each request came to."""

    codes = fields.List(fields.Nested(BatchedIssue))
    error = fields.String(required=True)
    errorCode = fields.String(required=True)  # noqa: N815
    error_code = fields.String(required=True)
    padding = _padding_out()


class UserReportRequest(RequestSchema):
    """A person's own report, and the number that the code goes to by SMS."""

    phone = Text(load_default="", metadata={"example": "+8613800138000"})
    nonce = Text(load_default="", metadata={"description": "Base64 of 256 random bytes, for /api/verify."})
    symptom_date = Day(data_key="symptomDate", load_default=None, metadata={"example": "2026-06-12"})
    test_date = Day(data_key="testDate", load_default=None, metadata={"example": "2026-06-14"})
    tz_offset = fields.Float(
        data_key="tzOffset", load_default=0, metadata={"description": "Passed over: a day's slack is given."}
    )
    sms_language = Text(data_key="smsLanguage", load_default="", metadata={"description": "zh or en."})
    padding = _padding_in()


class UserReportAnswer(Schema):
    """When the code ends, if an SMS went out: the same whether or not the number has reported today."""

    expiresAt = fields.String(metadata={"description": "RFC 1123, UTC."})  # noqa: N815
    expiresAtTimestamp = fields.Integer()  # noqa: N815
    padding = _padding_out()


class CodeRequest(RequestSchema):
    """A code, by its handle."""

    uuid = Text(load_default="")
    padding = _padding_in()


class CodeStatusAnswer(Schema):
    """Whether a phone has used the code, and when it ends."""

    claimed = fields.Boolean(required=True)
    expiresAtTimestamp = fields.Integer(required=True)  # noqa: N815
    longExpiresAtTimestamp = fields.Integer(required=True)  # noqa: N815
    padding = _padding_out()


class ExpireCodeAnswer(Schema):
    """When the code ended."""

    uuid = fields.UUID(required=True)
    expiresAtTimestamp = fields.Integer(required=True)  # noqa: N815
    longExpiresAtTimestamp = fields.Integer(required=True)  # noqa: N815
    padding = _padding_out()


class UploadedKeySchema(RequestSchema):
    """One temporary exposure key."""

    key = Text(load_default="", metadata={"description": "Base64 of 16 bytes, in either alphabet."})
    rolling_start_number = Whole(data_key="rollingStartNumber", load_default=0)
    rolling_period = Whole(data_key="rollingPeriod", load_default=0, metadata={"description": "1 to 144."})
    transmission_risk = Whole(
        data_key="transmissionRisk", load_default=0, metadata={"description": "0 to 8."}
    )


class UploadedKeys(fields.List[Any]):
    """A list of keys. Plain ones are taken as they are: the schema would cost more than storing them.
    If one is anything else, all go through the schema, which says what is wrong.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, list) or not all(_is_plain_key(key) for key in value):
            return super()._deserialize(value, attr, data, **kwargs)
        return [
            {
                "key": key["key"],
                "rolling_start_number": key["rollingStartNumber"],
                "rolling_period": key["rollingPeriod"],
                "transmission_risk": key.get("transmissionRisk", 0),
            }
            for key in value
        ]


def _is_plain_key(key: object) -> bool:
    if type(key) is not dict:
        return False
    text = key.get("key")
    numbers = (key.get("rollingStartNumber"), key.get("rollingPeriod"), key.get("transmissionRisk", 0))
    return (
        type(text) is str
        and text.isascii()
        and "\0" not in text
        and all(type(number) is int and 0 <= number < 2**31 for number in numbers)
    )


class PublishRequest(RequestSchema):
    """Keys, and the certificate that names them."""

    keys = UploadedKeys(fields.Nested(UploadedKeySchema), data_key="temporaryExposureKeys", load_default=list)
    health_authority_id = Text(data_key="healthAuthorityID", load_default="")
    verification_payload = Text(data_key="verificationPayload", load_default="")
    hmac_key = Text(data_key="hmacKey", load_default="")
    symptom_onset_interval = Whole(data_key="symptomOnsetInterval", load_default=None)
    traveler = Truth(load_default=False)
    revision_token = Text(data_key="revisionToken", load_default="")
    padding = _padding_in()


class PublishAnswer(Schema):
    """What was taken. `error` and `code` (`partial_failure`) only if some keys were left out as faulty."""

    revisionToken = fields.String()  # noqa: N815
    insertedExposures = fields.Integer()  # noqa: N815
    error = fields.String()
    code = fields.String()
    warnings = fields.List(fields.String())
    padding = _padding_out()


class WithdrawRequest(RequestSchema):
    """The proof that the keys were uploaded by this phone."""

    revision_token = Text(
        data_key="revisionToken",
        load_default="",
        metadata={"description": "Of the last answer of /v1/publish. It stays good."},
    )
    padding = _padding_in()


class WithdrawAnswer(Schema):
    """It is done, now or before."""

    padding = _padding_out()


class PublishError(Schema):
    """Why nothing was taken. Switch on `code`."""

    error = fields.String(required=True)
    code = fields.String()
    padding = _padding_out()


class StatsRequest(RequestSchema):
    """Nothing but padding: who asks stands in the token."""

    padding = _padding_in()


class ApiError(Schema):
    """Why it was refused. Switch on `errorCode`; `error_code` is its older twin."""

    error = fields.String(required=True)
    errorCode = fields.String(required=True)  # noqa: N815
    error_code = fields.String(required=True)
    padding = _padding_out()


class PublicKey(Schema):
    """A P-256 public key (RFC 7517, RFC 7518 §6.2)."""

    kty = fields.String(required=True)
    crv = fields.String(required=True)
    alg = fields.String(required=True)
    use = fields.String(required=True)
    kid = fields.String(required=True)
    x = fields.String(required=True)
    y = fields.String(required=True)


class PublicKeySet(Schema):
    """An authority's certificate signing keys, public halves."""

    keys = fields.List(fields.Nested(PublicKey), required=True)
