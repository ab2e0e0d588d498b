"""The log as it was last read, kept in this process until a public file that it was read from changes.

Reading and checking is `client.monitor`'s: these pages show what any auditor's tool sees. A page costs a
look at a few small files; only what is new is read and decoded again. Nothing here is written anywhere.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import cast

from flask import current_app, g

from registry.client.monitor.batches import LoggedBatch, read_manifest, retention_days
from registry.client.monitor.faults import Fault, FaultKind
from registry.client.monitor.rules import check_view
from registry.client.monitor.view import LogView, read_log
from registry.errors import RegistryError
from registry.faces.audit.mistakes import NothingYet
from registry.faces.audit.settings import AuditFace, this_face
from registry.faces.pages.charts import Chart
from registry.protocol.index import (
    EXPOSURES,
    LOG_CHECKPOINT_PATH,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    index_path,
)
from registry.protocol.leaves import IndexLeaf
from registry.protocol.manifest import Manifest
from registry.storage import Storage

_EXTENSION = "registry_audit_record"
_FAULTS_KEPT_SECONDS = 30
_DAY_SECONDS = 86_400
_SLACK_DAYS = 2
"""A retirement that was held up for a day or two still shows what it has not taken."""


@dataclass
class Record:
    """One reading of the log, and what the pages derive from it."""

    view: LogView
    storage: Storage
    stamp: tuple[bytes | None, ...] = field(repr=False)
    """The small files that tell whether anything is new, as they were."""
    known: dict[bytes, Manifest] = field(repr=False)
    """Manifests by their digest; they never change. Those of older readings are taken over."""
    charts: dict[tuple[date, str], list[Chart]] = field(default_factory=dict, repr=False)
    """By day and language, as far as they have been asked for."""
    _faults: dict[int, list[Fault]] = field(default_factory=dict, repr=False)

    @property
    def issued_at(self) -> int:
        """When the newest index was issued, unix seconds; the trust material's time before there is one."""
        newest = self.view.index_entries[-1].leaf if self.view.index_entries else None
        return newest.issued_at if isinstance(newest, IndexLeaf) else self.view.trust.issued_at

    def faults(self, now: float) -> list[Fault]:
        """What breaks a rule at `now`; a while old at most, for every rule is asked about every leaf."""
        slot = int(now) // _FAULTS_KEPT_SECONDS
        if slot not in self._faults:
            self._faults = {slot: [*check_view(self.view, now), *self._missing()]}
        return self._faults[slot]

    def _missing(self) -> list[Fault]:
        """Files that the indexes list and that are not there. Looks at names alone, not into files."""
        folders = [f"{EXPOSURES}/{region}/" for region in self.view.indexes]
        there = {name for folder in folders for name in self.storage.names(folder, deep=False)}
        return [
            Fault(FaultKind.FILE, f"{EXPOSURES}/{file.path}", "listed in the index, and not there")
            for batch in self.batches
            for file in batch.files
            if f"{EXPOSURES}/{file.path}" not in there
        ]

    @cached_property
    def batches(self) -> tuple[LoggedBatch, ...]:
        """All regions' batches, newest first."""
        every = [batch for batches in self.view.batches.values() for batch in batches]
        return tuple(sorted(every, key=lambda batch: (batch.entry.year, batch.entry.number), reverse=True))

    @cached_property
    def by_leaf(self) -> Mapping[tuple[int, int], LoggedBatch]:
        """Batches by year and leaf number."""
        return {(batch.entry.year, batch.entry.number): batch for batch in self.batches}

    def state(self, batch: LoggedBatch) -> str:
        """What has become of the batch. That it held nothing is known while its manifest is there."""
        if batch.state == "expired" and (manifest := self.manifest(batch)) and not manifest.files:
            return "empty"
        return batch.state

    def manifest(self, batch: LoggedBatch) -> Manifest | None:
        """The batch's manifest; None once it is gone, and where it cannot be believed: an alarm says so."""
        digest = batch.leaf.manifest
        if digest not in self.known and not self._is_long_gone(batch):
            try:
                found = read_manifest(self.storage.read, batch)
            except RegistryError:
                return None
            if found is None:
                return None
            self.known[digest] = found
        return self.known.get(digest)

    def _is_long_gone(self, batch: LoggedBatch) -> bool:
        """Whether no key can have kept the batch's files for so long: nothing is looked for on the disk."""
        kept_seconds = (retention_days(self.view.trust) + _SLACK_DAYS) * _DAY_SECONDS
        return batch.leaf.window_end + kept_seconds < self.issued_at


class Reader:
    """Reads the log when something about it has changed."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._record: Record | None = None

    def record(self) -> Record:
        """The present record. Raises NothingYet before the first checkpoint; RegistryError as `read_log`."""
        with self._lock:
            stamp = self._stamp()
            if self._record is None or self._record.stamp != stamp:
                self._record = self._read(stamp)
            return self._record

    def _stamp(self) -> tuple[bytes | None, ...]:
        regions = self._record.view.trust.regions if self._record else ()
        paths = [LOG_CHECKPOINT_PATH, TRUST_PATH, TRUST_NOTE_PATH, *map(index_path, regions)]
        return tuple(self._storage.read(path) for path in paths)

    def _read(self, stamp: tuple[bytes | None, ...]) -> Record:
        if stamp[0] is None or stamp[1] is None:
            raise NothingYet(LOG_CHECKPOINT_PATH)
        before = self._record
        view = read_log(self._storage.read, before=before.view if before else None)
        contents = (view.index_contents.get(region) for region in view.trust.regions)
        # Read as of the files before, so that what is replaced meanwhile is read again next time.
        stamp = (*stamp[:3], *contents)
        return Record(view, self._storage, stamp, _still_there(before, view) if before else {})


def _still_there(before: "Record", view: LogView) -> dict[bytes, Manifest]:
    """Manifests that need not be read again. Those of batches past retention go, as their files do."""
    kept = (batch for batches in view.batches.values() for batch in batches if batch.state != "expired")
    digests = (batch.leaf.manifest for batch in kept)
    return {digest: before.known[digest] for digest in digests if digest in before.known}


def remember_readings(extensions: dict[str, object], face: AuditFace) -> None:
    """Let the views of an application find its reader."""
    extensions[_EXTENSION] = Reader(face.storage)


def this_record() -> Record:
    """The record for the request under way: one and the same throughout it."""
    if "record" not in g:
        g.record = cast("Reader", current_app.extensions[_EXTENSION]).record()
    return cast("Record", g.record)


def now() -> float:
    """The face's time for the request under way, unix seconds."""
    if "now" not in g:
        g.now = this_face().clock()
    return float(g.now)
