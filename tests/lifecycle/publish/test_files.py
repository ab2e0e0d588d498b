"""Files say what their batch says, are signed by every live key, and are written once."""

import random
from dataclasses import replace

import pytest

from registry.errors import ConfigurationError, NoLiveSigner, PublishingFailed, Unavailable
from registry.lifecycle.publish.files import Contents, check_embargo
from registry.lifecycle.publish.spool import KeySpool
from registry.protocol.export_file import decode_signatures, unpack
from registry.protocol.index import COMPACT, EXPOSURES, GAEN_ZIP
from registry.protocol.intervals import EMBARGO_INTERVALS
from registry.protocol.key_rows import key_rows
from registry.protocol.keys import TemporaryExposureKey, canonical_order
from registry.signing.file_key import FileKey
from tests.clock import NOON_OF_JUNE_15
from tests.publishing import DAY, HOUR, HOURLY, NOON, Publishing, in_memory, key_ending, new_signer

END = int(NOON_OF_JUNE_15)
FIRST_FILE = f"{EXPOSURES}/XA/{END - HOUR}-{END}-00001.zip"


def signers_of(stage: Publishing, name: str) -> list[tuple[str, str]]:
    """Who signed a listed file, in the file's order; each signature was verified when it was listed."""
    _, export_sig = unpack(stage.fetch(f"{EXPOSURES}/{name}"))
    return [(info.key_id, info.key_version) for info, _ in decode_signatures(export_sig)]


def test_a_file_is_named_by_its_window_and_in_canonical_order(stage: Publishing) -> None:
    keys = [key_ending(NOON - 144 * day, 100 - day) for day in range(1, 6)]
    stage.collect(random.Random(1).sample(keys, 5))
    (batch,) = stage.publish().batches
    end = int(NOON_OF_JUNE_15)
    assert batch.files == (f"XA/{end - HOUR}-{end}-00001.zip",)
    (file,) = stage.files()
    assert list(file.keys) == canonical_order(keys)
    assert (file.start_timestamp, file.end_timestamp, file.batch_num, file.batch_size) == (
        end - HOUR,
        end,
        1,
        1,
    )


def test_a_large_batch_becomes_files_of_their_own(stage: Publishing) -> None:
    keys = [key_ending(NOON - 144, number) for number in range(7)]
    stage.collect(keys)
    stage.publish(policy=replace(HOURLY, keys_per_file=3))
    end = int(NOON_OF_JUNE_15)
    assert stage.names() == [f"XA/{end - HOUR}-{end}-0000{number}.zip" for number in (1, 2, 3)]
    files = stage.files()
    assert [(file.end_timestamp - end, file.batch_num, file.batch_size) for file in files] == [
        (1, 1, 1), (2, 1, 1), (3, 1, 1),
    ]  # fmt: skip
    assert [key for file in files for key in file.keys] == canonical_order(keys)
    (window,) = stage.index().windows
    assert [file.format for file in window.files] == [COMPACT, *[GAEN_ZIP] * 3], "compact is never split"
    stage.check_agreement()


both_formats = pytest.mark.parametrize("path", [FIRST_FILE, FIRST_FILE.replace(".zip", ".compact")])


@both_formats
def test_other_bytes_under_the_name_are_reported_and_left_alone(stage: Publishing, path: str) -> None:
    stage.collect([key_ending(NOON - 144, 1)])
    stage.storage.put_new(path, b"somebody else's")
    for _ in range(2):
        with pytest.raises(PublishingFailed, match="written once"):
            stage.publish()
        assert stage.fetch(path) == b"somebody else's"
    # Once they are out of the way, the batch that was sealed is finished.
    stage.storage.delete(path)
    stage.publish()
    assert len(stage.published()) == 1


@both_formats
def test_a_file_that_lacks_a_key_is_not_adopted(stage: Publishing, path: str) -> None:
    stage.collect([key_ending(NOON - 144, 1), key_ending(NOON - 144, 2)])
    other = in_memory(stage.signers[0])
    other.collect([key_ending(NOON - 144, 1)])
    other.publish()
    stage.storage.put_new(path, other.fetch(path))
    with pytest.raises(PublishingFailed, match="written once"):
        stage.publish()
    assert stage.fetch(path) == other.fetch(path)


@both_formats
def test_a_file_by_a_stranger_is_not_adopted_even_with_our_keys(stage: Publishing, path: str) -> None:
    stage.collect([key_ending(NOON - 144, 1)])
    other = in_memory(new_signer("stranger"))
    other.add_signer(stage.signers[0], until=END + DAY)
    other.collect([key_ending(NOON - 144, 1)])
    other.publish()
    stage.storage.put_new(path, other.fetch(path))
    with pytest.raises(PublishingFailed, match="written once"):
        stage.publish()


@both_formats
def test_the_file_of_an_earlier_run_is_adopted_though_keys_have_rotated_since(
    stage: Publishing, path: str
) -> None:
    stage.collect([key_ending(NOON - 144, 1)])
    earlier = in_memory(stage.signers[0])
    earlier.collect([key_ending(NOON - 144, 1)])
    earlier.publish()
    stage.storage.put_new(path, earlier.fetch(path))
    stage.add_signer(new_signer("310", "v2"), until=END + DAY)
    stage.publish()
    assert stage.fetch(path) == earlier.fetch(path)
    (file,) = [file for file in stage.manifest(stage.batches()[0]).files if path.endswith(file.path)]
    assert file.signing_keys == (("310", "v1"),)
    assert len(stage.published()) == 1
    stage.check_agreement()


def test_the_last_defence_refuses_a_key_under_embargo() -> None:
    def check(key: TemporaryExposureKey) -> None:
        with KeySpool() as keys, KeySpool() as revised:
            keys.add([key_rows([key])])
            check_embargo(Contents("XA", END - HOUR, END, 1, 1, keys, revised))

    check(key_ending(NOON - EMBARGO_INTERVALS))
    with pytest.raises(Unavailable, match="nothing of the batch is published"):
        check(key_ending(NOON - EMBARGO_INTERVALS + 1))


# ------------------------------------------------------------------------- signers


def rotate(stage: Publishing) -> FileKey:
    """v1 lives until 14:00, v2 from 13:00 on."""
    stage.signers.clear()
    stage.add_signer(new_signer("262", "v1"), since=END - DAY, until=END + 2 * HOUR)
    stage.add_signer(new_signer("262", "v2"), since=END + HOUR, until=END + 9 * HOUR)
    return stage.signers[-1]


def test_keys_rotate_with_an_overlap_in_which_both_sign(stage: Publishing) -> None:
    rotate(stage)
    for hour in range(4):
        stage.collect([key_ending(NOON - 144, hour)])
        stage.publish()
        stage.clock.advance(HOUR)
    old, new = ("262", "v1"), ("262", "v2")
    # At 14:00 sharp the old key has ended and the new one, newest first before, signs alone.
    assert [signers_of(stage, name) for name in stage.names()] == [[old], [new, old], [new], [new]]
    assert len(stage.files()) == 4, "all verify with the trust material of the end"


def test_without_a_live_key_nothing_is_sealed_and_a_live_one_takes_up_where_it_stood(
    stage: Publishing,
) -> None:
    latest = rotate(stage)
    stage.collect([key_ending(NOON - 144, 1)])
    stage.signers.remove(latest)
    stage.clock.advance(3 * HOUR)
    with pytest.raises(NoLiveSigner):
        stage.publish()  # v1 is over, v2 is live but not at hand
    assert stage.batches() == []
    assert stage.storage.names("") == []
    stage.signers.append(latest)
    stage.publish()
    assert len(stage.published()) == 1
    stage.clock.advance(9 * HOUR)
    with pytest.raises(NoLiveSigner):
        stage.publish()  # v2 is at hand but over


def test_a_key_at_hand_that_is_not_the_registered_one_is_refused(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 144, 1)])
    stage.signers[:] = [new_signer(stage.signers[0].key_id, stage.signers[0].key_version)]
    with pytest.raises(ConfigurationError, match="not the one registered"):
        stage.publish()
    assert stage.batches() == []


def test_no_more_than_ten_keys_sign(stage: Publishing) -> None:
    for number in range(2, 14):
        stage.add_signer(new_signer("310", f"v{number}"), since=number, until=END + DAY)
    stage.collect([key_ending(NOON - 144, 1)])
    stage.publish()
    assert signers_of(stage, stage.names()[0]) == [("310", f"v{number}") for number in range(13, 3, -1)]
