"""A collecting half that is ready to publish: database, public folder, signing keys, a clock.

Stands in for uploads (it writes the rows that `collect` writes) and for phones (it reads what lies in the
public folder, checks it as a phone does, and nothing else).
"""

import random
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from typing import Any, BinaryIO

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from registry.lifecycle.publish import PublicationPolicy, PublishOutcome, publish_due
from registry.lifecycle.retire import RetiredCollecting, retire_collecting
from registry.lifecycle.revise import revise_rows
from registry.lifecycle.shelves import open_shelves, release_of
from registry.models import (
    Batch,
    CollectingBase,
    DiagnosisKey,
    ExportSigningKey,
    HealthAuthority,
    ShelfUpload,
    make_days,
    prepare_engine,
    transaction,
)
from registry.models.key_day import day_of
from registry.models.shelf import region_set_of
from registry.protocol.certificate import load_public_key
from registry.protocol.compact_file import read_compact
from registry.protocol.export_file import ExportFile, check_export, read_zip, verify_signatures
from registry.protocol.export_signatures import TrustedKeys
from registry.protocol.index import (
    COMPACT,
    EXPOSURES,
    GAEN_ZIP,
    TRUST_PATH,
    Index,
    IndexFile,
    daily_index_path,
    decode_index,
    decode_legacy_index,
    index_path,
    legacy_index_path,
    manifest_path,
)
from registry.protocol.intervals import day_start, interval_at
from registry.protocol.key_rows import temporary_exposure_keys
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.protocol.manifest import Manifest, decode_manifest, manifest_digest
from registry.protocol.note import KeyKind
from registry.protocol.recall import recall_tags
from registry.protocol.trust import decode_trust, shard_origin
from registry.signing.file_key import FileKey
from registry.storage import Storage
from registry.transparency.log import TransparencyLog
from tests.clock import NOON_OF_JUNE_15, FakeClock

REGION = "XA"
ORIGIN = "registry.example/keys"
HOUR = 3600
DAY = 86_400
HOURLY = PublicationPolicy(window_seconds=HOUR)
AUTHORITY = HealthAuthority(id="test", certificate_issuer="i", certificate_audience="a", regions=[REGION])

NOON = interval_at(NOON_OF_JUNE_15)
"""Where the clock starts, as an interval number; also the end of an hourly window."""

Published = Counter[Any]
"""How often each (key, as a revision) was published."""


def new_signer(key_id: str = "310", key_version: str = "v1") -> FileKey:
    """A signing key that never saw a disk."""
    return FileKey(ec.generate_private_key(ec.SECP256R1()), key_id, key_version)


def fourteen_days_of_keys(draw: random.Random, now: float) -> list[TemporaryExposureKey]:
    """What a phone uploads: a key a UTC day, the last of them today's, still valid."""
    today = day_start(interval_at(now))
    return [
        TemporaryExposureKey(draw.randbytes(16), today - day * 144, 144, 0, ReportType.CONFIRMED_TEST, 0)
        for day in range(14)
    ]


class NoteKey:
    """A note signer that never saw a disk; Ed25519 or ML-DSA-44, by its signature type."""

    def __init__(self, name: str, kind: int) -> None:
        self.name = name
        self.kind = kind
        self._key = (
            mldsa.MLDSA44PrivateKey.generate()
            if kind == KeyKind.ML_DSA_44
            else ed25519.Ed25519PrivateKey.generate()
        )
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class NoteKeys:
    """The log's keys, made when they are first asked for, as a key ring's."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.trust = NoteKey(f"{origin}/trust", KeyKind.ED25519)
        self.by_year: dict[int, list[NoteKey]] = {}

    def __call__(self, year: int) -> list[NoteKey]:
        if year not in self.by_year:
            name = shard_origin(self.origin, year)
            self.by_year[year] = [NoteKey(name, KeyKind.ED25519), NoteKey(name, KeyKind.ML_DSA_44)]
        return self.by_year[year]

    def log(self, **settings: Any) -> TransparencyLog:
        """A log under these keys."""
        return TransparencyLog(self.origin, self, self.trust, **settings)


class MemoryStorage:
    """A `Storage` that forgets, for tests that make thousands of files."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def put_new(self, path: str, content: bytes) -> bool:
        return self.content.setdefault(path, content) is content

    def put_new_file(self, path: str, source: BinaryIO) -> bool:
        source.seek(0)
        return self.put_new(path, source.read())

    def replace(self, path: str, content: bytes) -> None:
        self.content[path] = content

    def read(self, path: str) -> bytes | None:
        return self.content.get(path)

    def open_file(self, path: str) -> BinaryIO | None:
        content = self.content.get(path)
        return None if content is None else BytesIO(content)

    def delete(self, path: str) -> None:
        self.content.pop(path, None)

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        found = (path for path in self.content if path.startswith(prefix))
        return sorted(path for path in found if deep or "/" not in path[len(prefix) :])


class FailingStorage:
    """A storage that raises `fault` at the calls that match."""

    def __init__(self, storage: Storage, matches: Callable[[str, str], bool], fault: BaseException) -> None:
        self._storage = storage
        self._matches = matches
        self._fault = fault

    def _meet(self, call: str, path: str) -> None:
        if self._matches(call, path):
            raise self._fault

    def put_new(self, path: str, content: bytes) -> bool:
        self._meet("put_new", path)
        return self._storage.put_new(path, content)

    def put_new_file(self, path: str, source: BinaryIO) -> bool:
        self._meet("put_new_file", path)
        return self._storage.put_new_file(path, source)

    def replace(self, path: str, content: bytes) -> None:
        self._meet("replace", path)
        self._storage.replace(path, content)

    def read(self, path: str) -> bytes | None:
        self._meet("read", path)
        return self._storage.read(path)

    def open_file(self, path: str) -> BinaryIO | None:
        self._meet("open_file", path)
        return self._storage.open_file(path)

    def delete(self, path: str) -> None:
        self._meet("delete", path)
        self._storage.delete(path)

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        self._meet("names", prefix)
        return self._storage.names(prefix, deep=deep)


def in_memory(signer: FileKey | None = None) -> "Publishing":
    """A stage without any disk, for property tests."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    prepare_engine(engine)
    CollectingBase.metadata.create_all(engine)
    return Publishing(engine, MemoryStorage(), FakeClock(), signer)


def key_ending(end: int, number: int = 0) -> TemporaryExposureKey:
    """A day's key made of `number` that ended at interval `end`."""
    return TemporaryExposureKey(number.to_bytes(16), end - 144, 144, 3, ReportType.CONFIRMED_TEST, -2)


class Publishing:
    """One collecting half. `engine` has the tables; everything else is made here."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        clock: FakeClock,
        signer: FileKey | None = None,
        log: TransparencyLog | None = None,
    ) -> None:
        self.engine = engine
        self.storage = storage
        self.clock = clock
        self.signers: list[FileKey] = []
        self.log = log or NoteKeys().log()
        with transaction(self.new_session()) as session:
            session.merge(AUTHORITY)
        self.add_signer(signer or new_signer(), until=clock() + 10_000 * DAY)

    def new_session(self) -> Session:
        return Session(self.engine)

    def add_signer(self, signer: FileKey, *, since: float = 0, until: float) -> None:
        """Register a signing key for [since, until) and put it at hand."""
        self.signers.append(signer)
        with transaction(self.new_session()) as session:
            session.add(
                ExportSigningKey(
                    key_id=signer.key_id,
                    key_version=signer.key_version,
                    public_key_pem=signer.public_key_pem,
                    not_before=int(since),
                    not_after=int(until),
                )
            )

    def collect(
        self,
        keys: Sequence[TemporaryExposureKey],
        *,
        regions: Collection[str] = (REGION,),
        handle: bytes | None = None,
        session: Session | None = None,
    ) -> None:
        """Store keys as an upload does, each releasable two hours after its end; by `handle` it is recalled.

        With a `session` of its own the caller commits, or keeps the upload hanging before its commit.
        """
        if session is None:
            with transaction(self.new_session()) as own:
                self.collect(keys, regions=regions, handle=handle, session=own)
            return
        present = interval_at(self.clock())
        shelves = open_shelves(session, region_set_of(regions), {release_of(key, present) for key in keys})
        # A publisher makes the days of its time; here there may have been none yet, or not for long.
        make_days(session, {day_of(key.end_interval_number) for key in keys})
        session.add_all(
            DiagnosisKey(
                key_data=key.key_data,
                rolling_start_interval_number=key.rolling_start_interval_number,
                rolling_period=key.rolling_period,
                end_interval_number=key.end_interval_number,
                transmission_risk_level=key.transmission_risk_level,
                report_type=int(key.report_type),
                days_since_onset_of_symptoms=key.days_since_onset_of_symptoms,
                health_authority_id=AUTHORITY.id,
                traveler=False,
                recall_tag=tag,
                shelf_id=shelves[release_of(key, present)],
            )
            for key, tag in zip(keys, recall_tags(handle, len(keys)), strict=True)
        )
        session.add_all(
            ShelfUpload(shelf_id=shelf_id, mark=secrets.token_bytes(16)) for shelf_id in shelves.values()
        )
        session.flush()

    def revise(
        self,
        key: TemporaryExposureKey,
        report_type: ReportType,
        onset: int | None = None,
        *,
        session: Session | None = None,
    ) -> None:
        """Revise a stored key as another upload of it does; with a `session` the caller commits."""
        if session is None:
            with transaction(self.new_session()) as own:
                self.revise(key, report_type, onset, session=own)
            return
        row = session.get_one(DiagnosisKey, key.key_data, with_for_update=True)
        revised = replace(key, report_type=report_type, days_since_onset_of_symptoms=onset)
        revise_rows(session, [(row, revised)])
        session.flush()

    def publish(
        self,
        *,
        storage: Storage | None = None,
        regions: Collection[str] = (REGION,),
        policy: PublicationPolicy = HOURLY,
        holder: str = "publisher",
    ) -> PublishOutcome:
        return publish_due(
            self.new_session,
            storage or self.storage,
            self.signers,
            regions=regions,
            policy=policy,
            profile="demo",
            log=self.log,
            now=self.clock(),
            holder=holder,
        )

    def retire(
        self,
        *,
        storage: Storage | None = None,
        policy: PublicationPolicy = HOURLY,
        holder: str = "publisher:retire",
    ) -> RetiredCollecting:
        return retire_collecting(
            self.new_session,
            storage or self.storage,
            policy=policy,
            log=self.log,
            now=self.clock(),
            holder=holder,
        )

    def batches(self, region: str = REGION) -> list[Batch]:
        """The rows, oldest first."""
        with self.new_session() as session:
            return list(session.scalars(select(Batch).where(Batch.region == region).order_by(Batch.sequence)))

    def manifest(self, batch: Batch) -> Manifest:
        """The stored manifest that the row names."""
        assert batch.manifest_sha256 is not None
        content = self.fetch(manifest_path(batch.region, batch.manifest_sha256.hex()))
        assert manifest_digest(content) == batch.manifest_sha256
        return decode_manifest(content)

    # ------------------------------------------------------------ as a phone sees it

    def fetch(self, path: str) -> bytes:
        content = self.storage.read(path)
        assert content is not None, f"{path} is not there"
        return content

    def names(self, region: str = REGION) -> list[str]:
        """The lines of index.txt."""
        return decode_legacy_index(self.fetch(legacy_index_path(region)))

    def index(self, region: str = REGION) -> Index:
        return decode_index(self.fetch(index_path(region)))

    def trusted(self) -> TrustedKeys:
        """The public keys that the trust material names."""
        trust = decode_trust(self.fetch(TRUST_PATH))
        return {
            (key.key_id, key.key_version): load_public_key(key.public_key_pem)
            for key in trust.export_signing_keys
        }

    def files(self, region: str = REGION) -> list[ExportFile]:
        """Every file that index.txt names, verified by the trust material alone."""
        trusted = self.trusted()
        files = []
        for name in self.names(region):
            export, signed, signatures = read_zip(self.fetch(f"{EXPOSURES}/{name}"))
            verify_signatures(signed, signatures, trusted)
            check_export(export, now=self.clock())
            files.append(export)
        return files

    def published(self, region: str = REGION) -> Published:
        counts: Published = Counter()
        for file in self.files(region):
            counts.update((key.key_data, False) for key in file.keys)
            counts.update((key.key_data, True) for key in file.revised_keys)
        return counts

    def keys_in(self, file: IndexFile) -> Published:
        """How often each (key, as a revision) is in one listed file of any format, verified."""
        content = self.fetch(f"{EXPOSURES}/{file.path}")
        assert (file.sha256, file.size) == (sha256(content).hexdigest(), len(content))
        if file.format == GAEN_ZIP:
            export, _, _ = read_zip(content)
            keys, revised = export.keys, export.revised_keys
        else:
            compact = read_compact(BytesIO(content), self.trusted())
            fresh = compact.keys()
            keys = tuple(key for rows in fresh for key in temporary_exposure_keys(rows))
            revised = tuple(key for rows in compact.revised_keys() for key in temporary_exposure_keys(rows))
        return Counter((key, False) for key in keys) + Counter((key, True) for key in revised)

    def held(self, files: Sequence[IndexFile]) -> Published:
        """What the zips among these files hold, once the compact one is known to hold the same."""
        by_format = {form: Counter[Any]() for form in (GAEN_ZIP, COMPACT)}
        for file in files:
            by_format[file.format] += self.keys_in(file)
        assert by_format[GAEN_ZIP] == by_format[COMPACT]
        return by_format[GAEN_ZIP]

    def check_agreement(self, region: str = REGION) -> None:
        """Indexes and files agree: all name the same files, each as it is, and there are no others.

        Every format of a window holds the same keys, and a day what its windows hold.
        """
        index = self.index(region)
        listed = [file for window in index.windows for file in window.files]
        daily = [file for day in index.days for file in day.files]
        zips = [[file.path for file in files if file.format == GAEN_ZIP] for files in (listed, daily)]
        assert self.names(region) == sorted(zips[0])
        assert decode_legacy_index(self.fetch(daily_index_path(region))) == sorted(zips[1])
        by_window = {window.sequence: self.held(window.files) for window in index.windows}
        for day in index.days:
            windows = [
                held for sequence, held in by_window.items() if day.sequence <= sequence <= day.last_sequence
            ]
            assert self.held(day.files) == sum(windows, Counter())
        digest = sha256(self.fetch(index_path(region))).hexdigest()
        assert f"{EXPOSURES}/{region}/index/{digest}.json" in self.storage.names(EXPOSURES)
        ends = (".zip", ".compact")
        stored = {name for name in self.storage.names(f"{EXPOSURES}/{region}/") if name.endswith(ends)}
        assert stored == {f"{EXPOSURES}/{file.path}" for file in (*listed, *daily)}
