"""The export file: what goes in comes out in its order, and what phones cannot use is refused."""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import BadSignature, Malformed, UntrustedKey
from registry.protocol import export_file, export_records, export_signatures
from registry.protocol import export_file_pb2 as pb
from registry.protocol.export_file import (
    HEADER,
    MAX_KEY_AGE_INTERVALS,
    ExportFile,
    SignatureInfo,
    check_export,
    decode_export,
    decode_signatures,
    encode_export,
    encode_signatures,
    pack,
    read_zip,
    verify_signatures,
)
from registry.protocol.export_records import MAX_RECORDS
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.protocol.keys import ReportType, TemporaryExposureKey
from tests.protocol.made_signer import MadeSigner
from tests.protocol.strategies import export_files, names

NOON = 1_781_524_800
TODAY = interval_at(NOON) // 144 * 144
KEY = TemporaryExposureKey(bytes(range(16)), TODAY - 288, 144, 2, ReportType.CONFIRMED_TEST, -3)
OTHER = replace(KEY, key_data=bytes(16))
SIGNER = MadeSigner("xa", "1")
INFO = SignatureInfo("xa", "1")
FILE = ExportFile(NOON - 3600, NOON, "XA", (OTHER, KEY), signature_infos=(INFO,))


@given(export_files())
def test_what_goes_in_comes_out_in_the_order_given(export: ExportFile) -> None:
    assert decode_export(encode_export(export)) == export


def test_the_encoder_does_not_sort() -> None:
    forth, back = replace(FILE, keys=(OTHER, KEY)), replace(FILE, keys=(KEY, OTHER))
    assert encode_export(forth) != encode_export(back)
    assert decode_export(encode_export(back)).keys == (KEY, OTHER)


def test_what_is_left_out_and_what_is_always_there() -> None:
    """Some readers tell an absent field from a zero one."""
    plain = TemporaryExposureKey(bytes(16), 0)
    message = pb.TemporaryExposureKeyExport.FromString(
        encode_export(replace(FILE, keys=(plain, KEY), revised_keys=(replace(KEY, rolling_period=143),)))[16:]
    )
    fields = [[field.name for field, _value in record.ListFields()] for record in message.keys]
    assert fields[0] == ["key_data", "transmission_risk_level"]
    assert fields[1] == [
        "key_data",
        "transmission_risk_level",
        "rolling_start_interval_number",
        "report_type",
        "days_since_onset_of_symptoms",
    ]
    assert message.revised_keys[0].HasField("rolling_period")
    assert message.signature_infos[0].signature_algorithm == "1.2.840.10045.4.3.2"
    assert (message.batch_num, message.batch_size) == (1, 1)


def test_a_key_that_ends_in_the_header_s_last_letter_is_not_eaten() -> None:
    """A reader that strips the header's characters instead of its length loses such keys."""
    key = replace(KEY, key_data=b" tropxE KE v1   ", days_since_onset_of_symptoms=None)
    assert decode_export(encode_export(replace(FILE, keys=(key,)))).keys == (key,)


BIN = encode_export(FILE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        HEADER[:15],
        b"EK Export v2    " + BIN[16:],
        b"EK Export v1" + BIN[16:],
        b" " + BIN,
        BIN[16:],
        BIN[:-1],
        BIN[:39],
        BIN + b"\x0a",
        HEADER + b"\xff" * 20,
        HEADER + b"\x1a\x02\xff\xfe",
        HEADER + b"\x32\x04\x1a\x02\xff\xfe",
    ],
    ids=lambda content: f"{len(content)} bytes, {content[:18]!r}",
)
def test_not_an_export_bin(content: bytes) -> None:
    with pytest.raises(Malformed):
        decode_export(content)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(content: bytes) -> None:
    for decode in (lambda: decode_export(HEADER + content), lambda: decode_signatures(content)):
        try:
            decode()
        except Malformed:
            continue


@given(st.data())
def test_no_changed_byte_crashes_the_reader_or_goes_unseen(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(BIN) - 1))
    changed = BIN[:at] + bytes([BIN[at] ^ data.draw(st.integers(1, 255))]) + BIN[at + 1 :]
    with suppress(Malformed):
        check_export(decode_export(changed), now=NOON)
    with pytest.raises(BadSignature):
        verify_signatures(changed, [(INFO, SIGNER.sign(BIN))], TRUSTED)


def test_an_unknown_report_type_reads_as_unknown_and_an_unknown_field_is_passed_over() -> None:
    record = b"\x0a\x10" + bytes(16) + b"\x28\x63" + b"\x40\x02" + b"\xf8\x07\x01"
    export = decode_export(HEADER + b"\x3a" + bytes([len(record)]) + record)
    assert export.keys == (TemporaryExposureKey(bytes(16), 0),)


# ---------------------------------------------------------------- signatures

TRUSTED = {("xa", "1"): SIGNER.public_key}


@given(st.lists(st.tuples(st.builds(SignatureInfo, names, names), st.binary(max_size=72)), max_size=4))
def test_signatures_come_back_in_order(signatures: list[tuple[SignatureInfo, bytes]]) -> None:
    assert decode_signatures(encode_signatures(signatures)) == signatures


def test_one_trusted_signature_is_enough_and_strangers_signatures_are_passed_over() -> None:
    stranger = (SignatureInfo("stranger", "9"), b"whatever")
    verify_signatures(BIN, [stranger, (INFO, SIGNER.sign(BIN))], TRUSTED)


def test_the_signature_covers_the_header() -> None:
    with pytest.raises(BadSignature):
        verify_signatures(BIN, [(INFO, SIGNER.sign(BIN[16:]))], TRUSTED)


@pytest.mark.parametrize(
    "signature",
    [b"", b"0", MadeSigner().sign(BIN), SIGNER.sign(BIN)[:-1]],
    ids=["empty", "one byte", "a stranger's", "cut short"],
)
def test_a_wrong_signature_under_a_trusted_name_is_bad(signature: bytes) -> None:
    with pytest.raises(BadSignature):
        verify_signatures(BIN, [(INFO, signature)], TRUSTED)


def test_one_bad_signature_spoils_the_file_whatever_others_say() -> None:
    """A key that we know under which wrong bytes stand: somebody is trying something."""
    other = MadeSigner("xb", "1")
    trusted = TRUSTED | {("xb", "1"): other.public_key}
    good, bad = (INFO, SIGNER.sign(BIN)), (SignatureInfo("xb", "1"), other.sign(BIN + b"x"))
    for signatures in ([good, bad], [bad, good]):
        with pytest.raises(BadSignature):
            verify_signatures(BIN, signatures, trusted)


@pytest.mark.parametrize("name", [("xa", "2"), ("xb", "1"), ("", ""), ("xa", "")])
def test_a_key_not_known_by_id_and_version_is_untrusted_not_bad(name: tuple[str, str]) -> None:
    """The two differ for a phone: the one is tampering, the other asks for fresh trust material."""
    with pytest.raises(UntrustedKey):
        verify_signatures(BIN, [(SignatureInfo(*name), SIGNER.sign(BIN))], TRUSTED)


def test_nothing_signed_and_nothing_trusted() -> None:
    for signatures, trusted in (([], TRUSTED), ([(INFO, SIGNER.sign(BIN))], {})):
        with pytest.raises(UntrustedKey):
            verify_signatures(BIN, signatures, trusted)


def test_a_trusted_key_does_not_sign_with_another_algorithm() -> None:
    info = SignatureInfo("xa", "1", "1.2.840.10045.4.3.4")
    with pytest.raises(BadSignature):
        verify_signatures(BIN, [(info, SIGNER.sign(BIN))], TRUSTED)


# ---------------------------------------------------------------- the whole zip


def test_a_zip_says_what_it_holds() -> None:
    signatures = [(INFO, SIGNER.sign(BIN))]
    assert read_zip(pack(BIN, encode_signatures(signatures))) == (FILE, BIN, signatures)


@pytest.mark.parametrize("count", [0, 2])
def test_as_many_signatures_as_announced(count: int) -> None:
    with pytest.raises(Malformed):
        read_zip(pack(BIN, encode_signatures([(INFO, SIGNER.sign(BIN))] * count)))


def test_a_file_that_announces_no_signature_and_has_none_is_refused() -> None:
    with pytest.raises(Malformed):
        read_zip(pack(encode_export(replace(FILE, signature_infos=())), b""))


# ---------------------------------------------------------------- more than anybody can hold


@pytest.mark.parametrize(
    "record",
    [
        b"\x3a\x00",
        b"\x42\x00",
        b"\x32\x00",
        b"\x3a\x80\x00",
        b"\xba\x00\x00",
        b"\x3a\x80\x80\x00",
        b"\x7a\x00",
    ],
    ids=bytes.hex,
)
def test_records_without_end_are_counted_before_one_is_made(
    record: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zip of a few kilobytes states millions of keys; each would cost its reader hundreds of bytes."""
    monkeypatch.setattr(export_file.pb, "TemporaryExposureKeyExport", None)

    with pytest.raises(Malformed, match="more than"):
        decode_export(HEADER + record * (MAX_RECORDS + 1))


@pytest.mark.parametrize("more", [0, 1])
def test_the_count_is_exact_whatever_else_stands_between(more: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_records, "MAX_RECORDS", 20)
    keys = tuple(replace(KEY, key_data=number.to_bytes(16, "big")) for number in range(16 + more))
    whole = encode_export(replace(FILE, keys=keys, revised_keys=keys[:1], signature_infos=(INFO,)))
    # Fields that nobody knows: a varint, a fixed one of each length, a long one.
    whole += b"\x78\xff\x01" + b"\x79" + bytes(8) + b"\x7d" + bytes(4) + b"\x7a\x90\x03" + bytes(400)

    if more:
        with pytest.raises(Malformed, match="more than 20 records"):
            decode_export(whole)
    else:
        assert decode_export(whole).keys == keys


def test_signatures_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_signatures.pb, "TEKSignatureList", None)

    with pytest.raises(Malformed, match="more than"):
        decode_signatures(b"\x0a\x00" * 40_000)


# ---------------------------------------------------------------- what phones can use


def test_usable() -> None:
    check_export(FILE, now=NOON)
    check_export(replace(FILE, keys=()), now=NOON)
    check_export(replace(FILE, revised_keys=(replace(KEY, report_type=ReportType.REVOKED),)), now=NOON)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (replace(FILE, end_timestamp=FILE.start_timestamp), "window"),
        (replace(FILE, end_timestamp=FILE.start_timestamp - 1), "window"),
        (replace(FILE, region=""), "region"),
        (replace(FILE, region="xa"), "region"),
        (replace(FILE, region="../XA"), "region"),
        (replace(FILE, batch_num=0), "1 of 1"),
        (replace(FILE, batch_num=2), "1 of 1"),
        (replace(FILE, batch_size=2), "1 of 1"),
        (replace(FILE, batch_num=0, batch_size=0), "1 of 1"),
        (replace(FILE, keys=(replace(KEY, key_data=bytes(15)),)), "16 bytes"),
        (replace(FILE, keys=(replace(KEY, rolling_period=0),)), "period"),
        (replace(FILE, keys=(replace(KEY, rolling_period=145),)), "period"),
        (replace(FILE, keys=(replace(KEY, transmission_risk_level=9),)), "risk"),
        (replace(FILE, keys=(replace(KEY, rolling_start_interval_number=interval_at(NOON) + 1),)), "future"),
        (
            replace(
                FILE,
                keys=(
                    replace(
                        KEY, rolling_start_interval_number=interval_at(NOON) - MAX_KEY_AGE_INTERVALS - 145
                    ),
                ),
            ),
            "28 days",
        ),
        (replace(FILE, keys=(replace(KEY, days_since_onset_of_symptoms=15),)), "onset"),
        (replace(FILE, keys=(replace(KEY, days_since_onset_of_symptoms=-15),)), "onset"),
        (replace(FILE, keys=(KEY, OTHER, KEY)), "twice"),
        (replace(FILE, keys=(KEY, replace(KEY, rolling_start_interval_number=5 + TODAY - 288))), "twice"),
        (replace(FILE, revised_keys=(KEY, KEY)), "twice"),
        (replace(FILE, revised_keys=(replace(KEY, rolling_period=0),)), "period"),
        (replace(FILE, revised_keys=(replace(KEY, report_type=ReportType.UNKNOWN),)), "report type"),
    ],
)
def test_unusable(bad: ExportFile, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        check_export(bad, now=NOON)


def test_the_bounds_themselves_are_usable() -> None:
    at_the_bounds = (
        replace(KEY, key_data=b"a" * 16, rolling_start_interval_number=interval_at(NOON), rolling_period=1),
        replace(
            KEY,
            key_data=b"b" * 16,
            rolling_start_interval_number=interval_at(NOON) - MAX_KEY_AGE_INTERVALS - 144,
        ),
        replace(KEY, key_data=b"c" * 16, days_since_onset_of_symptoms=14, transmission_risk_level=8),
        replace(KEY, key_data=b"d" * 16, days_since_onset_of_symptoms=-14, transmission_risk_level=0),
    )
    check_export(replace(FILE, keys=at_the_bounds), now=NOON)


def test_a_file_stays_usable_for_a_phone_that_was_off_for_weeks() -> None:
    """Age counts from the file's window, not from when somebody reads it."""
    check_export(FILE, now=NOON + 60 * 86400)


def test_a_phone_whose_clock_is_slow_by_hours_still_reads_a_key_past_its_embargo() -> None:
    end = interval_at(NOON) - EMBARGO_INTERVALS
    key = replace(KEY, rolling_start_interval_number=end - 144)
    check_export(replace(FILE, keys=(key,)), now=NOON - 12 * 3600)


def test_a_slow_protobuf_is_refused_at_the_start() -> None:
    environment = os.environ | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    command = [sys.executable, "-c", "import registry.protocol.export_file"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "ConfigurationError" in run.stderr
    assert "compiled" in run.stderr
