"""Taking back what this phone uploaded: one request, which names the keys by the revision token alone.

The person needs nobody's leave. It looks like a step of an upload, and may be sent again and again: what is
taken back stays so. Must never send anything before the person has said so.
"""

from registry.client.failures import NothingToUpload, UploadUnderWay
from registry.client.refusals import read_refusal
from registry.client.store import PhoneStore
from registry.client.transport import RandomBytes, Transport
from registry.client.upload import JSON_HEADERS, MAX_ANSWER_BYTES, padded_body
from registry.protocol.encoding import decode_json_object
from registry.protocol.intervals import Clock

PATH = "/v1/withdraw"


def withdraw(store: PhoneStore, transport: Transport, *, clock: Clock, random_bytes: RandomBytes) -> None:
    """Have every key taken back that this phone ever uploaded and the registry still has.

    Raises `NothingToUpload` if it uploaded none, `UploadUnderWay` if an upload is not finished (only then is
    it known what there is to take back), `UploadRefused`, `FetchFailed` or `Malformed` (try again later).
    """
    if store.pending_upload() is not None:
        raise UploadUnderWay("an upload is not finished: `upload` finishes it, or --abandon forgets it")
    revision_token = store.revision_token()
    if revision_token is None:
        raise NothingToUpload("this phone has uploaded nothing, so there is nothing to take back")
    body = padded_body({"revisionToken": revision_token}, random_bytes)
    answer = transport.post(store.registration().device_url + PATH, JSON_HEADERS, body, MAX_ANSWER_BYTES)
    if answer.status != 200:
        raise read_refusal(answer, PATH, clock())
    # The token stays: should these keys come again, they are told by it.
    decode_json_object(answer.body, PATH)
