"""Whoever runs a registry, with all that it takes: honest, or with the same keys and other intentions.

Nothing is imitated: folder, databases, keys and publisher are those of `registry run`. An operator who is
hostile has them twice, and no longer waits for witnesses.
"""

import shutil
import sqlite3
from base64 import b64decode
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from registry.errors import FetchFailed
from registry.lifecycle.publish import PublishOutcome
from registry.protocol.checkpoint import cosign
from registry.protocol.index import (
    EXPOSURES,
    Index,
    decode_index,
    decode_legacy_index,
    index_path,
    legacy_index_path,
)
from registry.protocol.note import NoteSigner, decode_note, encode_signature
from registry.protocol.witness_policy import WitnessPolicy
from registry.protocol.witness_request import decode_request
from registry.publisher import Publisher, publisher
from registry.transparency.witnesses import SendToWitness, WitnessAnswer
from tests.app_of_old import fresh_keys
from tests.clock import FakeClock
from tests.world import World

HOUR = 3600
DAY = 86_400
REGION = "XA"


def ignored(url: str, body: bytes) -> WitnessAnswer:
    """How an operator asks witnesses who does not want their answers. A `SendToWitness`."""
    raise FetchFailed(f"{url} is not asked")


class Operator:
    """Whoever runs a registry: its folder, databases and keys, and a publisher that does as it is told."""

    def __init__(
        self, folder: Path, clock: FakeClock, *, policy: WitnessPolicy | None, send: SendToWitness
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.world = World(
            folder,
            f"sqlite:///{folder / 'issuing.sqlite'}",
            f"sqlite:///{folder / 'collecting.sqlite'}",
            clock,
        )
        self.publisher: Publisher = publisher(self.world.settings, clock)
        self.log = self.publisher.log
        if policy is not None:
            self.obey(policy, send)

    def obey(self, policy: WitnessPolicy, send: SendToWitness, *, fail_open_seconds: int = HOUR) -> None:
        """Ask the witnesses of `policy` from now on, by `send`."""
        self.log = replace(self.log, policy=policy, send=send, fail_open_seconds=fail_open_seconds)
        self.publisher = replace(self.publisher, log=self.log)

    def disobey(self, send: SendToWitness = ignored) -> None:
        """Publish at once, whatever witnesses say or do not say. The policy stays what it was for readers."""
        self.obey(self.log.policy, send, fail_open_seconds=0)

    def fork(self, folder: Path) -> "Operator":
        """The same operator with a second set of everything, down to the last key."""
        folder.mkdir()
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.copytree(path, folder / path.name)
            elif ".sqlite" not in path.name:
                shutil.copyfile(path, folder / path.name)
        for half in ("issuing", "collecting"):
            self.save(half, folder / f"{half}.sqlite")
        return Operator(folder, self.clock, policy=self.log.policy, send=self.log.send)

    @property
    def public_folder(self) -> Path:
        """What everybody may read."""
        return self.world.settings.public_dir

    def public_copy(self, folder: Path) -> Path:
        """The public files of this moment, kept."""
        shutil.copytree(self.public_folder, folder)
        return folder

    # The databases

    def save(self, half: str, path: Path) -> None:
        """A backup of a database, taken while it is in use."""
        _copy_database(self.folder / f"{half}.sqlite", path)

    def restore(self, half: str, path: Path) -> None:
        """The backup is the database again."""
        _copy_database(path, self.folder / f"{half}.sqlite")

    def tamper(self, statement: str, *values: object) -> int:
        """A change to the collecting database that nobody asked for. How many rows it changed."""
        with closing(sqlite3.connect(self.folder / "collecting.sqlite")) as connection, connection:
            return connection.execute(statement, values).rowcount

    # Publishing

    def upload(self, days: int = 2) -> list[bytes]:
        """Somebody's keys of the last days, all of them releasable; returns them."""
        keys = fresh_keys(self.clock(), days, today=False)
        answer = self.world.app().upload(self.world.issue()["code"], keys)
        assert answer.status == 200, answer.body
        return [b64decode(key["key"]) for key in keys]

    def publish(self) -> PublishOutcome:
        """A run of the publisher."""
        return self.publisher.publish()

    def read(self, path: str) -> bytes:
        """A public file."""
        return (self.public_folder / path).read_bytes()

    def index(self) -> Index:
        """The newest index."""
        return decode_index(self.read(index_path(REGION)))

    def newest_file(self) -> str:
        """The public path of the newest export file."""
        return f"{EXPOSURES}/{decode_legacy_index(self.read(legacy_index_path(REGION)))[-1]}"

    def log_key(self, year: int = 2026) -> NoteSigner:
        """The Ed25519 key that signs the year's checkpoints."""
        return self.log.signers(year)[0]


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


class Bribed:
    """A dishonest witness behind an honest one's key: for its friends it cosigns whatever comes."""

    def __init__(self, signer: NoteSigner, clock: FakeClock) -> None:
        self.signer = signer
        self.clock = clock

    def send(self, url: str, body: bytes) -> WitnessAnswer:
        """A `SendToWitness`."""
        note = decode_note(decode_request(body).note)
        line = encode_signature(cosign(note, self.signer, now=self.clock()))
        return WitnessAnswer(200, "text/plain", line.encode())
