"""Files are compared with what the rows make of them once more: nothing is changed, every change is found."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, update

from registry.lifecycle.publish.comparing import Rebuilt
from registry.lifecycle.publish.rebuild import rebuild_all
from registry.models import DiagnosisKey, ExportFile, transaction
from registry.protocol.compact_file import read_compact, write_compact, write_signatures
from registry.protocol.export_file import (
    SignatureInfo,
    encode_export_rows,
    encode_signatures,
    pack,
    read_zip_rows,
    unpack,
)
from registry.protocol.index import EXPOSURES
from registry.protocol.key_rows import in_canonical_order, key_rows, temporary_exposure_keys
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.signing.file_key import FileKey
from tests.publishing import DAY, HOUR, HOURLY, NOON, REGION, Publishing, key_ending, new_signer

SPLIT = replace(HOURLY, keys_per_file=2)


def results(stage: Publishing) -> dict[str, Rebuilt]:
    told: list[tuple[int, int]] = []
    found = list(
        rebuild_all(
            stage.new_session,
            stage.storage,
            policy=SPLIT if any("-00003." in name for name in stage.storage.names(EXPOSURES)) else HOURLY,
            clock=stage.clock,
            progress=lambda done, total: told.append((done, total)),
        )
    )
    assert told[-1][0] == told[-1][1]
    return {one.path: one for one in found}


def a_day(stage: Publishing) -> None:
    """Two windows with keys, one of them with a revision, and the day's file of them."""
    stage.collect([key_ending(NOON - 144 * day, day) for day in range(1, 6)])
    stage.publish()
    stage.revise(key_ending(NOON - 144, 1), ReportType.REVOKED)
    stage.clock.advance(HOUR)
    stage.publish()
    stage.clock.advance(11 * HOUR)
    stage.publish()


def test_every_file_is_what_the_rows_make(stage: Publishing) -> None:
    a_day(stage)
    before = {name: stage.fetch(name) for name in stage.storage.names("")}
    found = results(stage)
    assert len(found) == 6, "two formats of two windows and a day"
    assert all(one == Rebuilt(path) for path, one in found.items())
    assert {name: stage.fetch(name) for name in stage.storage.names("")} == before


def test_a_row_that_was_changed_is_found_in_every_file_that_it_is_in(stage: Publishing) -> None:
    a_day(stage)
    with transaction(stage.new_session()) as session:
        session.execute(
            update(DiagnosisKey)
            .where(DiagnosisKey.key_data == (3).to_bytes(16))
            .values(days_since_onset_of_symptoms=5)
        )
    wrong = {path for path, one in results(stage).items() if one.fault}
    assert len(wrong) == 4, "both formats of the window and of the day"


def test_a_row_that_is_gone_before_its_time_and_a_file_that_was_changed_are_found(stage: Publishing) -> None:
    a_day(stage)
    (first, *_) = stage.names()
    stage.storage.replace(f"{EXPOSURES}/{first}", b"other bytes")
    with transaction(stage.new_session()) as session:
        session.execute(delete(DiagnosisKey).where(DiagnosisKey.key_data == (4).to_bytes(16)))
    found = results(stage)
    assert "cannot be read" in found[first].fault
    assert "1 that no row has, 0 missing" in found[first.replace(".zip", ".compact")].fault
    stage.storage.delete(f"{EXPOSURES}/{first}")
    assert results(stage)[first].fault == "is gone"


# ------------------------------------------------------------ files that were damaged

OLD, FRESH = NOON - 10 * 144, NOON - 144
AGES = ["whole", "partial"]
"""All keys have their rows, or those that ended at OLD were retired."""


def published(stage: Publishing, age: str) -> tuple[str, str]:
    """A window of three zips of two keys; the second zip's path and the compact file's."""
    stage.collect([key_ending(end, end + number) for end in (OLD, FRESH) for number in range(3)])
    stage.publish(policy=SPLIT)
    if age == "partial":
        stage.clock.advance(DAY)
        stage.publish(policy=SPLIT)  # the day's file, for which keys are held
        stage.clock.advance(11 * DAY)
        assert stage.retire(policy=SPLIT).keys == 3
    assert {(one.fault, one.partial) for one in results(stage).values()} == {("", age == "partial")}
    second = stage.storage.names(f"{EXPOSURES}/{REGION}/1")[2].removeprefix(f"{EXPOSURES}/")
    assert second.endswith("-00002.zip")
    return second, second.replace("-00002.zip", "-00001.compact")


def lay(stage: Publishing, path: str, content: bytes, *, on_record: bool = True) -> None:
    """Other bytes under the name; `on_record` as whoever holds the database as well would do it."""
    stage.storage.replace(f"{EXPOSURES}/{path}", content)
    if on_record:
        with transaction(stage.new_session()) as session:
            session.execute(
                update(ExportFile)
                .where(ExportFile.path == path)
                .values(sha256=sha256(content).hexdigest(), size=len(content))
            )


def only_fault(stage: Publishing, path: str) -> str:
    """What is said of this file, and of no other."""
    faults = {one.path: one.fault for one in results(stage).values() if one.fault}
    assert set(faults) == {path}
    return faults[path]


def packed(stage: Publishing, signer: FileKey, **changes: Any) -> Callable[[bytes], bytes]:
    """Makes of a zip another one, signed by `signer`."""

    def changed(content: bytes) -> bytes:
        infos = (SignatureInfo(signer.key_id, signer.key_version),)
        export = replace(read_zip_rows(content)[0], signature_infos=infos, **changes)
        signed = encode_export_rows(export)
        return pack(signed, encode_signatures([(infos[0], signer.sign(signed))]))

    return changed


def compacted(
    stage: Publishing, change: Callable[[list[TemporaryExposureKey]], None], **changes: Any
) -> bytes:
    """The compact file of `stage`, with its keys changed, signed anew."""
    (name,) = [name for name in stage.storage.names(f"{EXPOSURES}/{REGION}/1") if name.endswith(".compact")]
    found = read_compact(BytesIO(stage.fetch(name)), stage.trusted())
    chunks = found.keys()
    keys = [key for rows in chunks for key in temporary_exposure_keys(rows)]
    change(keys)
    rows = in_canonical_order(key_rows(keys))
    file = BytesIO()
    header = replace(found.header, key_count=len(keys), **changes)
    statement = write_compact(file, header, [rows], [])
    (signer,) = stage.signers
    write_signatures(file, [(SignatureInfo(signer.key_id, signer.key_version), signer.sign(statement))])
    return file.getvalue()


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("which", [0, 1], ids=["zip", "compact"])
def test_a_file_that_is_gone_or_cut_or_continued_is_told(stage: Publishing, age: str, which: int) -> None:
    path = published(stage, age)[which]
    content = stage.fetch(f"{EXPOSURES}/{path}")
    lay(stage, path, content + b"junk", on_record=False)
    assert "is not the file on record" in only_fault(stage, path)
    lay(stage, path, content[:-7])
    assert only_fault(stage, path)
    lay(stage, path, b"garbage")
    assert only_fault(stage, path)
    stage.storage.delete(f"{EXPOSURES}/{path}")
    assert only_fault(stage, path) == "is gone"


@pytest.mark.parametrize("age", AGES)
def test_what_follows_a_compact_files_signatures_is_told(stage: Publishing, age: str) -> None:
    _, path = published(stage, age)
    lay(stage, path, stage.fetch(f"{EXPOSURES}/{path}") + b"junk")
    assert "something follows the signatures" in only_fault(stage, path)


@pytest.mark.parametrize("age", AGES)
def test_a_broken_signature_is_told(stage: Publishing, age: str) -> None:
    path, compact = published(stage, age)
    good = stage.fetch(f"{EXPOSURES}/{path}")
    signed, signatures = unpack(good)
    lay(stage, path, pack(signed, signatures[:-3] + bytes([signatures[-3] ^ 1]) + signatures[-2:]))
    assert "does not verify" in only_fault(stage, path)
    lay(stage, path, good)
    content = bytearray(stage.fetch(f"{EXPOSURES}/{compact}"))
    content[-5] ^= 1
    lay(stage, compact, bytes(content))
    assert "does not verify" in only_fault(stage, compact)


@pytest.mark.parametrize("age", AGES)
def test_a_file_that_a_stranger_signed_is_told(stage: Publishing, age: str) -> None:
    path, _ = published(stage, age)
    lay(stage, path, packed(stage, new_signer("stranger"))(stage.fetch(f"{EXPOSURES}/{path}")))
    assert "not registered here" in only_fault(stage, path)


@pytest.mark.parametrize("age", AGES)
def test_another_region_or_window_is_told_though_we_signed_it(stage: Publishing, age: str) -> None:
    path, compact = published(stage, age)
    good = stage.fetch(f"{EXPOSURES}/{path}")
    for changes in ({"region": "ZZ"}, {"end_timestamp": int(stage.clock()) + 1}):
        lay(stage, path, packed(stage, stage.signers[0], **changes)(good))
        assert only_fault(stage, path) == "says another region or window than its batch"
    lay(stage, path, good)
    lay(stage, compact, compacted(stage, lambda _keys: None, region="ZZ"))
    assert only_fault(stage, compact) == "says another region or window than its batch"


@pytest.mark.parametrize("age", AGES)
def test_a_key_too_many_is_told_though_we_signed_it(stage: Publishing, age: str) -> None:
    path, compact = published(stage, age)
    good = stage.fetch(f"{EXPOSURES}/{path}")
    found = read_zip_rows(good)[0].keys
    more = in_canonical_order(np.concatenate([found, key_rows([key_ending(FRESH, 999)])]))
    lay(stage, path, packed(stage, stage.signers[0], keys=more)(good))
    assert "1 that no row has, 0 missing" in only_fault(stage, path)
    lay(stage, path, good)
    good = stage.fetch(f"{EXPOSURES}/{compact}")
    lay(stage, compact, compacted(stage, lambda keys: keys.append(key_ending(FRESH, 999))))
    assert "1 that no row has, 0 missing" in only_fault(stage, compact)
    lay(stage, compact, good)


@pytest.mark.parametrize("age", AGES)
def test_a_key_too_few_is_told_though_we_signed_it(stage: Publishing, age: str) -> None:
    path, compact = published(stage, age)
    good = stage.fetch(f"{EXPOSURES}/{path}")
    lay(stage, path, packed(stage, stage.signers[0], keys=read_zip_rows(good)[0].keys[:1])(good))
    assert "0 that no row has, 1 missing" in only_fault(stage, path)
    lay(stage, path, good)
    lay(stage, compact, compacted(stage, lambda keys: keys.remove(key_ending(FRESH, FRESH + 2))))
    assert "0 that no row has, 1 missing" in only_fault(stage, compact)


def test_a_retired_key_more_or_less_is_told_by_the_other_format(stage: Publishing) -> None:
    path, compact = published(stage, "partial")
    good = stage.fetch(f"{EXPOSURES}/{path}")
    fewer = packed(stage, stage.signers[0], keys=read_zip_rows(good)[0].keys[1:])(good)
    lay(stage, path, fewer, on_record=False)
    assert "holds other keys than the rows make" in only_fault(stage, path)
    lay(stage, path, fewer)
    wrong = [one.path for one in results(stage).values() if "than the files of the other format" in one.fault]
    assert len(wrong) == 4, "which one is right, nobody can tell any more; the day's files agree"
    lay(stage, path, good)
    lay(stage, compact, compacted(stage, lambda keys: keys.append(key_ending(OLD, 999))))
    wrong = [one.path for one in results(stage).values() if "than the files of the other format" in one.fault]
    assert len(wrong) == 4


def test_files_beside_one_that_is_gone_are_not_blamed(stage: Publishing) -> None:
    path, compact = published(stage, "partial")
    stage.storage.delete(f"{EXPOSURES}/{path}")
    stage.storage.delete(f"{EXPOSURES}/{compact}")
    faults = {one.path: one.fault for one in results(stage).values() if one.fault}
    assert faults == {path: "is gone", compact: "is gone"}


def test_more_keys_than_rows_are_no_retirement_as_long_as_one_of_them_is_young(stage: Publishing) -> None:
    published(stage, "partial")
    with transaction(stage.new_session()) as session:
        session.execute(delete(DiagnosisKey).where(DiagnosisKey.key_data == FRESH.to_bytes(16)))
    found = [one.fault for one in results(stage).values()]
    assert len(found) == 8, "three zips and a compact file, and the day's"
    assert all("1 that no row has, 0 missing" in fault for fault in found)


@pytest.mark.parametrize("age", AGES)
def test_a_zip_that_is_listed_beyond_those_of_the_rows_is_told_and_one_that_is_not_listed(
    stage: Publishing, age: str
) -> None:
    path, _ = published(stage, age)
    more = path.replace("-00002.", "-00004.")
    stage.storage.put_new(f"{EXPOSURES}/{more}", stage.fetch(f"{EXPOSURES}/{path}"))
    with transaction(stage.new_session()) as session:
        row = session.get_one(ExportFile, path)
        numbers = {"batch_id": row.batch_id, "file_number": 4, "sha256": row.sha256, "size": row.size}
        session.add(ExportFile(path=more, **numbers))
    assert only_fault(stage, more) == "is one more than the rows make"
    with transaction(stage.new_session()) as session:
        session.delete(session.get_one(ExportFile, more))
        session.delete(session.get_one(ExportFile, path))
    assert only_fault(stage, path) == "is not on record, though the rows make it"


def test_keys_that_were_retired_before_their_file_are_no_fault(stage: Publishing) -> None:
    old, new = key_ending(NOON - 10 * 144, 1), key_ending(NOON - 144, 2)
    stage.collect([old, new])
    stage.publish()
    stage.revise(new, ReportType.REVOKED)
    stage.clock.advance(HOUR)
    stage.publish()
    stage.clock.advance(DAY)
    stage.publish()
    assert len(results(stage)) == 6
    stage.clock.advance(11 * DAY)
    assert stage.retire().keys == 1
    found = results(stage).values()
    assert {one.fault for one in found} == {""}
    assert sum(one.partial for one in found) == 4, "the first window and the day"
