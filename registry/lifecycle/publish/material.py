"""The trust material: made from the rows, read back as a phone reads it, and signed into the note beside it.

A new number is issued when the content changes, and when half of the note's life is over. Each number is a
leaf of the log before anyone is shown it.
"""

from dataclasses import replace
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import ConfigurationError, Malformed
from registry.lifecycle.publish.policy import PHONES_TOLERATE_SECONDS
from registry.lifecycle.publish.run import Run
from registry.models import ExportSigningKey, TrustFile
from registry.models.log import newest_trust_file
from registry.protocol.intervals import EMBARGO_INTERVALS, INTERVAL_SECONDS
from registry.protocol.note import VerifierKey, decode_vkey, verifier_key
from registry.protocol.trust import (
    COSIGNATURE_FAIL_SECONDS,
    COSIGNATURE_WARN_SECONDS,
    PROOF_GRACE_SECONDS,
    TrustedKey,
    TrustMaterial,
    decode_trust,
    encode_trust,
)
from registry.protocol.trust_note import TrustNote, encode_trust_note, trust_digest
from registry.protocol.witness_policy import encode_policy
from registry.transparency.witnesses import published_policy

_DAY_SECONDS = 86_400
NOTE_LIFE_SECONDS = 30 * _DAY_SECONDS


def readable_material(session: Session, run: Run, shard_year: int) -> TrustMaterial:
    """The material as it would be issued now under the number of the newest one.

    Raises ConfigurationError if phones would refuse it.
    """
    if run.profile is None:
        raise ConfigurationError("this run issues no trust material")
    before = newest_trust_file(session)
    trust = TrustMaterial(
        profile=run.profile,
        regions=tuple(sorted(set(run.regions))),
        export_signing_keys=_export_keys(session, run),
        publication={
            "window_seconds": run.policy.window_seconds,
            "slot_seconds": run.policy.slot_seconds or run.policy.window_seconds,
            "floor": run.policy.floor,
            "embargo_seconds": EMBARGO_INTERVALS * INTERVAL_SECONDS,
            "retention_days": run.policy.retention_days,
            "index_life_seconds": run.policy.index_life_seconds,
            "cosignature_warn_seconds": COSIGNATURE_WARN_SECONDS,
            "cosignature_fail_seconds": COSIGNATURE_FAIL_SECONDS,
            "proof_grace_seconds": PROOF_GRACE_SECONDS,
        },
        trust_vkey=verifier_key(run.log.trust_signer).vkey,
        log_origin=run.log.origin,
        log_vkeys=tuple(key.vkey for key in (*log_keys(run, shard_year), *_keys_of_the_past(session))),
        witness_policy=policy_file(run, shard_year).decode(),
        sequence=before.sequence if before else 1,
        issued_at=before.issued_at if before else int(run.now),
        decoy_population=run.policy.population.to_members() if run.policy.population else None,
    )
    trust = replace(trust, log_vkeys=tuple(dict.fromkeys(trust.log_vkeys)))
    content = encode_trust(trust)
    if before is not None and content == before.content:
        return trust  # read back when it was issued
    try:
        decode_trust(content)
    except Malformed as error:
        raise ConfigurationError(f"phones would refuse what is registered here: {error}") from error
    return trust


def due_trust_file(session: Session, run: Run, trust: TrustMaterial) -> TrustFile | None:
    """The next number, signed, if one is due; None while the newest says all that `trust` says."""
    before = newest_trust_file(session)
    issued_at = int(run.now)
    if before is not None:
        # One that was issued when the clock was far ahead is of no use to phones, and is issued anew.
        usable = before.issued_at <= run.now + PHONES_TOLERATE_SECONDS
        young = run.now < (before.issued_at + before.expires_at) / 2
        if usable and young and encode_trust(trust) == before.content:
            return None
        if usable:
            issued_at = max(issued_at, before.issued_at)
    trust = replace(trust, sequence=before.sequence + 1 if before else 1, issued_at=issued_at)
    content = encode_trust(trust)
    note = TrustNote(
        origin=run.log.origin,
        sequence=trust.sequence,
        digest=trust_digest(content),
        issued_at=issued_at,
        expires_at=issued_at + NOTE_LIFE_SECONDS,
        previous=before.digest if before else None,
    )
    return TrustFile(
        sequence=note.sequence,
        content=content,
        digest=note.digest,
        note=encode_trust_note(note, run.log.trust_signer),
        issued_at=note.issued_at,
        expires_at=note.expires_at,
    )


def says_what_was_said(session: Session, trust: TrustMaterial) -> bool:
    """Whether `trust`, under the newest one's number, is the newest one: nothing but its time is over."""
    before = newest_trust_file(session)
    return before is not None and encode_trust(trust) == before.content


def log_keys(run: Run, shard_year: int) -> list[VerifierKey]:
    """Keys of that year's shard and of the next one's: phones must know those before they meet them."""
    return [verifier_key(signer) for year in (shard_year, shard_year + 1) for signer in run.log.signers(year)]


def policy_file(run: Run, shard_year: int) -> bytes:
    """The tlog-policy that is published: our log's keys, the operator's witnesses and quorum."""
    return encode_policy(published_policy(run.log.policy, log_keys(run, shard_year)))


def _keys_of_the_past(session: Session) -> list[VerifierKey]:
    """Keys that the material has named once: shards of past years are there to be verified for ever."""
    newest = session.scalars(
        select(TrustFile.content).where(TrustFile.content != b"").order_by(TrustFile.sequence.desc()).limit(1)
    ).one_or_none()
    return [] if newest is None else _log_keys_in(newest)


@lru_cache(maxsize=4)
def _log_keys_in(content: bytes) -> list[VerifierKey]:
    return [decode_vkey(vkey) for vkey in decode_trust(content).log_vkeys]


def _export_keys(session: Session, run: Run) -> tuple[TrustedKey, ...]:
    # A key is listed until the last file that it can have signed is gone, and before its time comes, so
    # that phones know it when the first file needs it.
    last_needed = int(run.now) - (run.policy.retention_days + 1) * _DAY_SECONDS
    keys = session.scalars(
        select(ExportSigningKey)
        .where(ExportSigningKey.not_after > last_needed)
        .order_by(ExportSigningKey.not_before.desc(), ExportSigningKey.key_id, ExportSigningKey.key_version)
    )
    return tuple(
        TrustedKey(key.key_id, key.key_version, key.public_key_pem, key.not_before, key.not_after)
        for key in keys
    )
