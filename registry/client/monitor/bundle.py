"""An evidence bundle: all that is needed to check a registry's state again later, without the registry.

A folder with the public files under their public paths, so that every command works on it as on an address;
beside them what witnesses showed, a proof for each batch, a report, and `sha256sums` over all of it. It is
evidence by the signatures in it, not by who made it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from registry.client.monitor.batches import LoggedBatch, read_manifest
from registry.client.monitor.faults import Fault, FaultKind
from registry.client.monitor.memory import write_file
from registry.client.monitor.mirror import pointer_files, shard_files
from registry.client.monitor.shard import Progress, Read, prove_entry, silent
from registry.client.monitor.source import REPORT_NAME
from registry.client.monitor.view import LogView
from registry.client.monitor.witnesses import FetchCheckpoint, monitoring_url
from registry.client.verify import spans_of
from registry.errors import Distrusted, FetchFailed, Malformed
from registry.protocol.index import (
    EXPOSURES,
    daily_index_path,
    index_digest_path,
    index_proof_path,
    legacy_index_path,
)
from registry.protocol.proof import encode_proof

SUMS_NAME = "sha256sums"
OWN_POLICY_NAME = "auditor-policy"
PROOFS = "proofs"
WITNESSES = "witnesses"

_SUM_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<path>[^\\\0\n]+)")


def batch_proof_path(batch: LoggedBatch) -> str:
    """Where a bundle holds the proof of a batch's leaf; its `extra` is the leaf."""
    return f"{PROOFS}/{batch.leaf.region}/{batch.leaf.sequence}.tlog-proof"


class Bundle:
    """What goes into a bundle of one view, report and sums aside.

    The log's files are those of the view, which lead to the signed roots; everything else is as it was
    served, right or wrong: what is wrong is evidence too. A file that is not given out is left out, so that
    nobody can keep a bundle from being made; `left_out` names those that no fault of the report is about.
    """

    def __init__(self, read: Read, view: LogView, fetch_checkpoint: FetchCheckpoint | None) -> None:
        self._read = read
        self._view = view
        self._fetch_checkpoint = fetch_checkpoint
        self.left_out: list[str] = []

    def files(self) -> Iterator[tuple[str, bytes]]:
        """(path, bytes) of everything, in the order in which it is written."""
        view = self._view
        for shard in view.shards:
            yield from shard_files(shard, 0)
        for region in view.index_contents:
            digest = sha256(view.index_contents[region]).hexdigest()
            yield from self._served(
                index_digest_path(region, digest),
                index_proof_path(region),
                legacy_index_path(region),
                daily_index_path(region),
            )
        for batches in view.batches.values():
            for batch in batches:
                yield from self._of_batch(batch)
        for index in view.indexes.values():
            listed = (f"{EXPOSURES}/{file.path}" for span in spans_of(index) for file in span.files)
            yield from self._served(*listed)
        if self._fetch_checkpoint is not None:
            yield from _witness_files(self._fetch_checkpoint, view)
        yield from pointer_files(view).items()

    def _given(self, path: str) -> bytes | None:
        try:
            return self._read(path)
        except Malformed as error:
            self.left_out.append(f"{path} is not in the bundle: {error}.")
        except FetchFailed as error:
            self.left_out.append(f"{path} was not given out and is not in the bundle: {error}.")
        return None

    def _served(self, *paths: str) -> Iterator[tuple[str, bytes]]:
        for path in paths:
            content = self._given(path)
            if content is not None:
                yield path, content

    def _of_batch(self, batch: LoggedBatch) -> Iterator[tuple[str, bytes]]:
        manifest = self._given(batch.manifest_path)
        if manifest is None:
            return
        yield batch.manifest_path, manifest
        shard = self._view.shard(batch.entry.year)
        if shard is None:
            return
        try:
            proof = prove_entry(self._given, shard, batch.entry.number)
            yield batch_proof_path(batch), encode_proof(proof)
            known = read_manifest(lambda _: manifest, batch)
        except (Malformed, Distrusted):
            return  # damaged tiles or a wrong manifest: the report names them
        if batch.state != "live" and known is not None:
            yield from self._served(*(f"{EXPOSURES}/{file.path}" for file in known.files))


def _witness_files(fetch: FetchCheckpoint, view: LogView) -> Iterator[tuple[str, bytes]]:
    """Under each key's id, with the path of the witness's own address: the folder is a vantage point too."""
    origin = view.current.checkpoint.origin
    for witness in view.policy.witnesses:
        if witness.url is None:
            continue
        try:
            content = fetch(monitoring_url(witness.url, origin))
        except (FetchFailed, Malformed, Distrusted):
            continue  # the report says that it did not answer
        if content is not None:
            yield monitoring_url(f"{WITNESSES}/{witness.key.key_id.hex()}", origin), content


def write_bundle(
    folder: Path,
    files: Iterator[tuple[str, bytes]],
    report: Callable[[], Mapping[str, object]],
    *,
    own_policy: bytes | None = None,
    progress: Progress = silent,
) -> int:
    """Write the bundle into `folder`, which must be empty or not there; returns how many files it holds.

    `report` is asked once all files are written. `sha256sums` comes last: a bundle without it was not
    finished. Raises FetchFailed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FetchFailed(f"{folder} is not empty: name a new folder for the bundle")
    sums: dict[str, str] = {}

    def put(path: str, content: bytes) -> None:
        write_file(folder / path, content)
        sums[path] = sha256(content).hexdigest()
        progress(len(sums), len(sums))

    for path, content in files:
        if path not in sums:
            put(path, content)
    if own_policy is not None:
        put(OWN_POLICY_NAME, own_policy)
    put(REPORT_NAME, json.dumps(report(), indent=1, ensure_ascii=False).encode())
    lines = (f"{digest}  {path}\n" for path, digest in sorted(sums.items()))
    write_file(folder / SUMS_NAME, "".join(lines).encode())
    return len(sums) + 1


def check_sums(read: Read) -> list[Fault]:
    """Whether every file of a bundle is as `sha256sums` says; nothing to say of a folder that has none.

    Raises FetchFailed.
    """
    content = read(SUMS_NAME)
    if content is None:
        return []
    faults = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            faults.append(Fault(FaultKind.MALFORMED, f"{SUMS_NAME}, line {number}", "is no digest and path"))
            continue
        try:
            found = read(match["path"])
        except Malformed as error:
            faults.append(Fault(FaultKind.MALFORMED, f"{SUMS_NAME}, line {number}", str(error)))
            continue
        if found is None:
            faults.append(Fault(FaultKind.FILE, match["path"], "is in sha256sums and is not there"))
        elif sha256(found).hexdigest() != match["digest"]:
            what = "is not the file that was put into the bundle"
            faults.append(Fault(FaultKind.FILE, match["path"], what, "Get the bundle again from its maker."))
    return faults
