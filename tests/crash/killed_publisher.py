"""A publisher of its own process that kills itself at a call of its database or its bucket.

Forked from a server that has everything loaded and has never spoken to a bucket: what speaks to one has
threads, which a fork does not take along. Its keys follow from their names, so that every process has them.
"""

import multiprocessing
import os
import signal
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from registry.lifecycle.publish import publish_due
from registry.models import open_database
from registry.protocol.note import KeyKind
from registry.protocol.serving import stored_headers
from registry.protocol.trust import shard_origin
from registry.signing.file_key import FileKey
from registry.signing.note_key import NoteKey
from registry.storage.s3 import BucketPlace, Patience, S3Storage
from registry.transparency.log import TransparencyLog
from tests.crash.faults import Faults, FaultyDatabase, FaultyStorage
from tests.crash.publish_story import POLICY, REGIONS
from tests.publishing import ORIGIN

PATIENCE = Patience(retries=1, longest_pause=0.1, connect_seconds=2, call_seconds=10)
LONGEST_SECONDS = 120
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class KilledPublisher:
    """A publisher with this database and bucket, that is killed with -9."""

    database_url: str
    place: BucketPlace

    def run(self, faults: Faults, now: float) -> None:
        """Publish at `now`, and be killed where `faults` strike; they then know that, or all the calls."""
        ours, theirs = _FORKS.Pipe()
        spoil = (faults.kind, faults.at, faults.done)
        process = _FORKS.Process(target=_publish, args=(self, spoil, now, theirs))
        process.start()
        theirs.close()
        process.join(LONGEST_SECONDS)
        if process.exitcode == -signal.SIGKILL:
            faults.met = True
            return
        assert process.exitcode == 0, process.exitcode
        faults.calls = ours.recv()


class _Kill(Faults):
    """Strikes for good."""

    def strike(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def _publish(publisher: KilledPublisher, spoil: tuple[str, int, bool], now: float, told: object) -> None:
    kind, at, done = spoil
    faults = _Kill(kind, at, done=done)
    engine = open_database(publisher.database_url)
    database = FaultyDatabase(engine)
    publish_due(
        lambda: database.new_session(faults),
        FaultyStorage(S3Storage(publisher.place, stored_headers, PATIENCE), faults),
        [export_key()],
        regions=REGIONS,
        policy=POLICY,
        profile="demo",
        log=log(),
        now=now,
        holder="first",
    )
    told.send(faults.calls)  # type: ignore[attr-defined]  # the library does not name its type
    engine.dispose()


def export_key() -> FileKey:
    """The signing key of every process here."""
    return FileKey(ec.derive_private_key(int.from_bytes(_seed("export")), ec.SECP256R1()), "310", "v1")


def log() -> TransparencyLog:
    """The log of every process here."""
    return TransparencyLog(ORIGIN, _log_keys, _ed25519(f"{ORIGIN}/trust"))


def _log_keys(year: int) -> list[NoteKey]:
    name = shard_origin(ORIGIN, year)
    ml_dsa = mldsa.MLDSA44PrivateKey.from_seed_bytes(_seed(name))
    return [_ed25519(name), NoteKey(ml_dsa, name, KeyKind.ML_DSA_44)]


def _ed25519(name: str) -> NoteKey:
    return NoteKey(ed25519.Ed25519PrivateKey.from_private_bytes(_seed(name)), name, KeyKind.ED25519)


def _seed(name: str) -> bytes:
    return sha256(name.encode()).digest()
