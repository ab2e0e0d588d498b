"""A batch's manifest and its files, held against each other and against the leaf. Pure."""

from registry.client.monitor.batches import LoggedBatch
from registry.client.monitor.faults import Fault, FaultKind, NotThere, fault_of
from registry.client.monitor.shard import Read
from registry.client.verify import VerifiedFile
from registry.errors import BadSignature, Malformed, RegistryError, UntrustedKey
from registry.protocol.encoding import decode_base64, decode_json_object
from registry.protocol.index import EXPOSURES, IndexFile
from registry.protocol.manifest import Manifest
from registry.protocol.receipt import HASH_BYTES, LEAVES_GRAIN, receipts_root


def check_manifest(manifest: Manifest, batch: LoggedBatch) -> list[Fault]:
    """The manifest is about the batch whose leaf commits to it, and has as many receipts as it must.

    That it is in its canonical form, with its receipts ascending and under its root, `decode_manifest` saw.
    """
    faults = []
    leaf, where = batch.leaf, batch.manifest_path
    stated = (manifest.region, manifest.sequence, manifest.window_start, manifest.window_end)
    if stated != (leaf.region, leaf.sequence, leaf.window_start, leaf.window_end):
        what = f"is about window {manifest.sequence} of {manifest.region}, its leaf about {leaf.sequence}"
        faults.append(Fault(FaultKind.MANIFEST, where, f"{what} of {leaf.region}, or at other times"))
    if not manifest.receipts or len(manifest.receipts) % LEAVES_GRAIN:
        what = f"has {len(manifest.receipts)} receipts, which is no multiple of {LEAVES_GRAIN}"
        faults.append(Fault(FaultKind.RECEIPTS, where, what))
    return faults


def manifest_fault(read: Read, batch: LoggedBatch, error: RegistryError) -> Fault:
    """What is wrong with a manifest that cannot be used: its receipts, or anything else about it."""
    where = batch.manifest_path
    if isinstance(error, Malformed):
        try:
            content = read(where)
            if content is None:
                return Fault(FaultKind.MANIFEST, where, str(error))
            document = decode_json_object(content, "manifest")
            receipts = decode_base64(document.text("receipts"))
            stated = decode_base64(document.text("receipts_root"))
        except Malformed:
            return Fault(FaultKind.MANIFEST, where, str(error))
        leaves = [receipts[at : at + HASH_BYTES] for at in range(0, len(receipts), HASH_BYTES)]
        if leaves != sorted(set(leaves)) or receipts_root(leaves) != stated:
            what = "its receipts do not ascend, or do not lead to the root that it states"
            return Fault(FaultKind.RECEIPTS, where, what)
    return Fault(FaultKind.MANIFEST, where, str(error))


def check_counts(found: VerifiedFile, file: IndexFile, manifest: Manifest | None) -> list[Fault]:
    """The file holds as many keys, and is signed by those keys, as its manifest says."""
    stated = next((one for one in manifest.files if one.path == file.path), None) if manifest else None
    if stated is None:
        return []  # whether the manifest names the file at all is seen where index and manifest are compared
    where = f"{EXPOSURES}/{file.path}"
    faults = []
    count = found.key_count + found.revised_key_count
    if count != stated.keys:
        what = f"holds {count} keys, and its manifest says {stated.keys}"
        faults.append(Fault(FaultKind.MANIFEST, where, what))
    signed = {(info.key_id, info.key_version) for info in found.signed_by}
    if signed != set(stated.signing_keys):
        faults.append(Fault(FaultKind.MANIFEST, where, "is signed by other keys than its manifest says"))
    return faults


def file_fault(error: RegistryError, where: str) -> Fault:
    """What is wrong with a listed file: a signature, or else something about the file."""
    if isinstance(error, BadSignature | UntrustedKey):
        return fault_of(error, where)
    if isinstance(error, NotThere):
        return Fault(FaultKind.FILE, where, "is listed and is not there")
    return Fault(FaultKind.FILE, where, str(error))
