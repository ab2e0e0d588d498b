"""Who may call the API: an `X-API-Key` of the right kind, which alone also says for which authority.

Looked up on every call, so that disabling a key works at once. Only the keyed hash is compared; the key
itself is never stored and never logged.
"""

from dataclasses import dataclass

from flask import request
from sqlalchemy.orm import Session
from werkzeug.exceptions import Unauthorized

from registry.lifecycle.api_keys import ApiKeyKind, authority_of_key
from registry.lifecycle.authorize import hash_api_key


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the authority that the API key belongs to, and the key's hash."""

    authority_id: str
    api_key_hash: bytes


def caller_of_kind(session: Session, kind: str, lookup_key: bytes) -> Caller:
    """The caller of this request. Raises Unauthorized unless its key is known, enabled and of `kind`."""
    key_hash = hash_api_key(lookup_key, request.headers.get("X-API-Key", ""))
    authority_id = authority_of_key(session, key_hash, ApiKeyKind(kind))
    if authority_id is None:
        raise Unauthorized("unauthorized")
    return Caller(authority_id, key_hash)
