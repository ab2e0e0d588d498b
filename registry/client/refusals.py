"""Part of uploading: what an answer that is not 200 means, by the contract's error codes.

The registry's words are made printable before anybody reads them.
"""

from collections.abc import Mapping

from registry.client.failures import Throttled, UnexpectedStatus, UploadRefused
from registry.client.texts import printable
from registry.client.transport import Answer, unexpected
from registry.errors import Malformed
from registry.protocol.encoding import decode_json_object

_RETRYABLE_CODES = {"internal_error", "maintenance_mode", "quota_exceeded", "unable_to_load_health_authority"}
WRONG_AUTHORITY_CODES = {"unknown_health_authority_id", "health_authority_missing_region_config"}
"""The phone was set up with the wrong authority: with the right one the same code still uploads."""
_FIXABLE_CODES = {"unauthorized", "code_user_unauthorized"} | WRONG_AUTHORITY_CODES


def read_refusal(answer: Answer, path: str, now: float) -> UploadRefused | UnexpectedStatus:
    """The typed error for an answer that is not 200."""
    failed = unexpected(answer, path, now)
    code, text = _error_code(answer.body)
    if answer.status == 401 and not code:
        code = "unauthorized"
    if (
        not 400 <= answer.status < 500
        or isinstance(failed, Throttled)
        or not code
        or code in _RETRYABLE_CODES
    ):
        return failed
    message = f"the registry refused the upload: {code} ({text})" if text else f"refused: {code}"
    return UploadRefused(code, message, status=answer.status, final=code not in _FIXABLE_CODES)


def _error_code(body: bytes) -> tuple[str, str]:
    """(`errorCode` of the verification server or `code` of the key server, `error`), empty where missing."""
    try:
        members: Mapping[str, object] = decode_json_object(body, "the refusal").as_dict()
    except Malformed:
        # Not ours to read (a proxy's page, plain text): then the status alone speaks.
        return "", ""
    code = members.get("errorCode") or members.get("code") or ""
    return printable(str(code)), printable(str(members.get("error") or ""))
