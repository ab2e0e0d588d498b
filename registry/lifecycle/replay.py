"""Answers kept for a day, so that a reply that was lost on the way burns neither code, token nor certificate.

An answer is found under a name and sealed under a key that are both derived from the request, which is
never stored: whoever reads the table without the request learns nothing. An answer that differs from the
first one is never given out for the same request, not even when the two arrive at the same moment.
"""

import math
import os
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from registry.lifecycle.inserts import insert_into, table_of
from registry.models import CollectedAnswer, IssuedAnswer
from registry.protocol.intervals import INTERVALS_PER_DAY, ceil_to_hour, interval_at

ANSWER_LIFE_SECONDS = 86_400
SEALED_GRAIN = 1024
"""Answers are filled up with spaces (JSON's own white space) to a multiple of this before they are sealed."""

_HOUR = 3600
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Shelf:
    """One half's table of answers, with now and the expiry of a new answer in that table's unit of time."""

    table: type[IssuedAnswer] | type[CollectedAnswer]
    expiry: InstrumentedAttribute[int]
    now: int
    expires: int


def issued_answers(now: float) -> Shelf:
    """Answers of the issuing half: unix seconds, expiry rounded up to the hour."""
    expires = math.ceil((now + ANSWER_LIFE_SECONDS) / _HOUR) * _HOUR
    return Shelf(IssuedAnswer, IssuedAnswer.expires_at, math.floor(now), expires)


def collected_answers(now: float) -> Shelf:
    """Answers of the collecting half: interval numbers, expiry rounded up to the hour."""
    interval = interval_at(now)
    # One interval more than a day: the current one has begun already, and a full day is promised.
    expires = ceil_to_hour(interval + INTERVALS_PER_DAY + 1)
    return Shelf(CollectedAnswer, CollectedAnswer.expires_at_interval, interval, expires)


def answer_name_and_key(purpose: bytes, request: bytes) -> tuple[bytes, bytes]:
    """(name, key), 32 bytes each, by HKDF-SHA256 (RFC 5869) from everything that makes requests the same.

    `purpose` names the endpoint, so that no request to one can find an answer of another. The request must
    hold 128 unguessable bits: otherwise the table could be searched for it.
    """
    material = HKDF(algorithm=SHA256(), length=64, salt=None, info=b"exposure-registry answer " + purpose)
    derived = material.derive(request)
    return derived[:32], derived[32:]


def seal(name: bytes, key: bytes, answer: bytes) -> bytes:
    """Nonce and AES-256-GCM of the answer, its length hidden up to `SEALED_GRAIN`. Bound to its name."""
    nonce = os.urandom(_NONCE_BYTES)
    filled = answer.ljust(math.ceil(len(answer) / SEALED_GRAIN) * SEALED_GRAIN, b" ")
    return nonce + AESGCM(key).encrypt(nonce, filled, name)


def unseal(name: bytes, key: bytes, sealed: bytes) -> bytes:
    """What was sealed, spaces at its end included. Raises InvalidTag if name, key or content were changed."""
    return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name)


def earlier_answer(session: Session, shelf: Shelf, name: bytes, key: bytes) -> bytes | None:
    """The answer that the same request got within the last day, or None."""
    sealed = session.scalar(
        select(shelf.table.sealed).where(shelf.table.lookup_id == name, shelf.expiry > shelf.now)
    )
    return None if sealed is None else unseal(name, key, sealed)


def claim_answer(session: Session, shelf: Shelf, name: bytes) -> bool:
    """Whether this transaction is the one that answers the request. It must then call `keep_answer`.

    If another transaction is answering it right now, this waits for its end: False once that one has
    committed (its answer is there to be read), True if it was rolled back.
    """
    statement = insert_into(session, shelf.table)
    claimed = session.scalar(
        statement.values({"lookup_id": name, "sealed": b"", shelf.expiry.key: shelf.expires})
        .on_conflict_do_update(
            index_elements=["lookup_id"],
            set_={shelf.expiry.key: shelf.expires},
            where=shelf.expiry <= shelf.now,
        )
        .returning(shelf.table.lookup_id)
    )
    return claimed is not None


def keep_answer(session: Session, shelf: Shelf, name: bytes, key: bytes, answer: bytes) -> None:
    """Store the answer of a request that this transaction has claimed."""
    rows = table_of(shelf.table)
    session.execute(update(rows).where(rows.c.lookup_id == name).values(sealed=seal(name, key, answer)))
