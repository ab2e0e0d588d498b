"""The witness's rules (C2SP tlog-witness): check, write down, answer. In this order, in one transaction.

A checkpoint is cosigned if a listed key of its log signed it and it is proven to go on from the one that
was cosigned before. Several processes may serve one witness: the database decides who comes first. Must
never let a cosignature out that is not in the database, nor give one size of a log two roots.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from registry.errors import BadSignature, ConfigurationError, Malformed, Unavailable, WrongProof
from registry.protocol.checkpoint import Checkpoint, cosign, cosignatures, decode_checkpoint
from registry.protocol.log_list import check_log_key
from registry.protocol.merkle import check_consistency
from registry.protocol.note import (
    Note,
    NoteSigner,
    VerifierKey,
    decode_note,
    encode_note,
    encode_signature,
    verifier_key,
)
from registry.protocol.witness_request import WitnessRequest, decode_request
from registry.witness import state
from registry.witness.refusals import (
    ImpossibleSize,
    Inconsistent,
    NotCosigned,
    NotTheLogs,
    OtherSize,
    UnknownLog,
)
from registry.witness.state import Evidence, EvidenceKind, Head, KnownLog, exclusive, open_state

CLOCK_STEP_SECONDS = 300
"""A clock that was set back by no more is waited for; one that went back further is a fault."""
MAX_ORIGIN_BYTES = 255
"""What an ML-DSA cosignature can name (C2SP tlog-cosignature)."""


def identity(signers: Sequence[NoteSigner]) -> str:
    """The witness's vkeys, a line each."""
    return "".join(f"{verifier_key(signer).vkey}\n" for signer in signers)


class Witness:
    """One witness: its state in the file `path`, its keys with `signers` (types 0x04 and 0x06).

    Raises ConfigurationError if the state is missing, not bound to keys yet, or bound to other keys.
    """

    def __init__(self, path: Path, signers: Sequence[NoteSigner]) -> None:
        self.keys = tuple(verifier_key(signer) for signer in signers)
        self._path = path
        self._signers = tuple(signers)
        _, keys = state.read_identity(path)
        if keys != identity(signers):
            raise ConfigurationError(
                f"{path} is the state of a witness with other keys: put its own keys back, or begin a new "
                "witness in another folder with `registry witness init`"
            )

    # ------------------------------------------------------------ for logs

    def add_checkpoint(self, body: bytes, now: float) -> str:
        """Cosignature lines for the checkpoint in `body`, which is durable as the log's head by then.

        The checks, and what fails them, in the order of the specification:
        1. The body is a request, its note a checkpoint (an empty tree's has its one root). Malformed.
        2. The origin is listed. UnknownLog.
        3. A listed key of the log signed, and no line by one is wrong. NotTheLogs.
        4. The old size is not beyond the checkpoint's. ImpossibleSize.
        5. The old size is the one that we hold. OtherSize.
        6. Equal sizes have equal roots, and the proof holds. Inconsistent.

        `now` in unix seconds. Unavailable if the database or the clock cannot be relied on.
        """
        request = decode_request(body)
        note = decode_note(request.note)
        checkpoint = decode_checkpoint(note.text)
        with open_state(self._path) as connection:
            signed = _signed_by_log(note, checkpoint, state.read_log(connection, checkpoint.origin))
            if request.old_size > checkpoint.size:
                raise ImpossibleSize("the old size is larger than the checkpoint's own")
            with exclusive(connection):
                head = state.read_head(connection, checkpoint.origin)
                refusal = _refusal(request, checkpoint, head)
                if refusal is None:
                    return self._cosign(connection, signed, checkpoint, _time(now, head))
                _keep_evidence(connection, checkpoint, head, refusal, body, int(now))
        raise refusal

    def _cosign(self, connection: sqlite3.Connection, note: Note, checkpoint: Checkpoint, time: int) -> str:
        lines = tuple(cosign(note, signer, now=time) for signer in self._signers)
        cosigned = Note(note.text, note.signatures + lines)
        # Checked before it leaves: a faulty machine's signature would put this witness in doubt.
        if len(cosignatures(cosigned, checkpoint, self.keys)) != len(self._signers):
            raise Unavailable("this witness cannot read its own cosignatures")
        # A crash before the commit leaves the old head, and nobody has seen these lines; after it, the new
        # head, and the log asks again with old = size.
        head = Head(checkpoint.size, checkpoint.root, time, encode_note(cosigned))
        state.store_head(connection, checkpoint, encode_note(_shortest(note)), head)
        return "".join(map(encode_signature, lines))

    def last_cosigned(self, digest: str) -> bytes | None:
        """For monitors: the note cosigned last for the origin with this SHA-256 (hexadecimal), or None."""
        with open_state(self._path) as connection:
            return state.read_note(connection, digest)

    def check(self) -> None:
        """Raises Unavailable or ConfigurationError if nothing could be cosigned now."""
        with open_state(self._path) as connection:
            state.read_logs(connection)

    # -------------------------------------------------------- for operators

    def add_log(self, key: VerifierKey, origin: str | None = None, contact: str = "") -> None:
        """Cosign the log with this origin (the key's name without one). Takes effect at once.

        Raises Malformed for a key or an origin that no checkpoint could have.
        """
        check_log_key(key)
        name = origin or key.name
        if key.public_key in [own.public_key for own in self.keys]:
            raise Malformed("this is the witness's own key: nobody witnesses a log with the log's key")
        if not 1 <= len(name.encode()) <= MAX_ORIGIN_BYTES or not name.isprintable():
            raise Malformed(f"an origin is one line of at most {MAX_ORIGIN_BYTES} bytes")
        with open_state(self._path) as connection, exclusive(connection):
            state.add_log(connection, name, key, contact)

    def remove_log(self, origin: str) -> bool:
        """Stop cosigning a log; whether it was listed. Listed again, it goes on from where it was."""
        with open_state(self._path) as connection, exclusive(connection):
            return state.remove_log(connection, origin)

    def logs(self) -> list[tuple[KnownLog, Head | None]]:
        """Every listed log and what was cosigned last for it."""
        with open_state(self._path) as connection:
            return [(log, state.read_head(connection, log.origin)) for log in state.read_logs(connection)]

    def evidence(self) -> list[Evidence]:
        """Refused requests, signed by logs, that show or may show a fork; oldest first."""
        with open_state(self._path) as connection:
            return state.read_evidence(connection)


def _signed_by_log(note: Note, checkpoint: Checkpoint, log: KnownLog | None) -> Note:
    """The note with the lines of the log's listed keys alone, all of them verified."""
    if log is None:
        raise UnknownLog("this witness does not cosign a log with this origin")
    try:
        if not cosignatures(note, checkpoint, log.keys):
            raise NotTheLogs("no key that this witness knows for the log has signed the checkpoint")
    except BadSignature as error:
        raise NotTheLogs(str(error)) from error
    return Note(note.text, tuple(line for line in note.signatures if any(map(line.is_by, log.keys))))


def _refusal(request: WitnessRequest, checkpoint: Checkpoint, head: Head | None) -> NotCosigned | None:
    """Why the checkpoint cannot be the log's next head, or None if it can."""
    held = head.size if head else 0
    if request.old_size != held:
        return OtherSize(held)
    if head is None or held == 0:
        # Nothing to go on from: every tree does. A proof of that would prove nothing.
        return Inconsistent("a proof from an empty tree is empty") if request.path else None
    try:
        check_consistency(
            old_size=held,
            old_root=head.root,
            new_size=checkpoint.size,
            new_root=checkpoint.root,
            path=request.path,
        )
    except WrongProof as error:
        return Inconsistent(str(error))
    return None


def _keep_evidence(
    connection: sqlite3.Connection,
    checkpoint: Checkpoint,
    head: Head | None,
    refusal: NotCosigned,
    body: bytes,
    now: int,
) -> None:
    """Keep what the log signed against itself. An honest log that lost count leaves no trace here."""
    known = state.read_cosigned(connection, checkpoint.origin, checkpoint.size)
    if known is not None and known[0] != checkpoint.root:
        kind, held = EvidenceKind.FORK, known[1]
    elif isinstance(refusal, Inconsistent) and head is not None:
        kind, held = EvidenceKind.UNPROVEN, head.note
    else:
        return
    state.store_evidence(connection, Evidence(checkpoint.origin, kind, now, body, held), checkpoint)


def _shortest(note: Note) -> Note:
    """One line of the log's is evidence enough, and years of them are kept."""
    return Note(note.text, (min(note.signatures, key=lambda line: len(line.signature)),))


def _time(now: float, head: Head | None) -> int:
    """The cosignature's time: now, and never before what was said already."""
    last = head.time if head else 1
    if now < last - CLOCK_STEP_SECONDS:
        raise Unavailable(
            f"the clock is {last - int(now)} seconds behind the last cosignature of this log: set it right. "
            "If it was wrong then, what was cosigned lies in the future, and this witness needs other keys"
        )
    return max(int(now), last)
