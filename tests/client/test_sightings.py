"""Reading and writing sightings: strangers' files in, all or nothing."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client.failures import BadSightings
from registry.client.sightings import Sighting, read_sightings, write_sightings

NOW = 1_781_524_800.0
GOOD = "2026-06-15T11:00:00Z,000102030405060708090a0b0c0d0e0f,01020304,-60"
SIGHTING = Sighting(bytes(range(16)), bytes([1, 2, 3, 4]), 1_781_521_200 // 60, -60)

sightings = st.builds(
    Sighting,
    rpi=st.binary(min_size=16, max_size=16),
    aem=st.binary(min_size=4, max_size=4),
    minute=st.integers(0, int(NOW) // 60),
    rssi=st.integers(-127, 126),
)


@given(st.lists(sightings), st.sampled_from(["csv", "jsonl"]))
def test_what_is_written_is_read_again(written: list[Sighting], form: str) -> None:
    assert read_sightings("\n".join(write_sightings(written, form)), now=NOW) == written


@given(st.text())
def test_any_text_is_either_read_or_refused(text: str) -> None:
    with suppress(BadSightings):
        assert all(isinstance(sighting, Sighting) for sighting in read_sightings(text, now=NOW))


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"time,rpi,aem,rssi\n{GOOD}\n\n# a remark\n",
        "\ufeffTime, RPI, AEM, RSSI\r\n" + GOOD.upper().replace("Z", "+00:00") + "\r\n",
        f"1781521259,{GOOD.split(',', 1)[1]}",
        '{"time": 1781521200, "rpi": "000102030405060708090A0B0C0D0E0F", "aem": "01020304", "rssi": -60}',
        f"2026-06-15T19:00:00+08:00,{GOOD.split(',', 1)[1]}",
    ],
)
def test_several_spellings_mean_the_same(text: str) -> None:
    assert read_sightings(text, now=NOW) == [SIGHTING]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2026-06-15T11:00:00Z,00,01020304,-60", "rpi must be 32"),
        ("2026-06-15T11:00:00Z,000102030405060708090a0b0c0d0e0f,0102,-60", "aem must be 8"),
        ("2026-06-15T11:00:00Z,zz0102030405060708090a0b0c0d0e0f,01020304,-60", "rpi must be 32"),
        ("2026-06-15T11:00:00,000102030405060708090a0b0c0d0e0f,01020304,-60", "no offset"),
        ("yesterday,000102030405060708090a0b0c0d0e0f,01020304,-60", "time must be"),
        ("2026-06-15T14:00:01Z,000102030405060708090a0b0c0d0e0f,01020304,-60", "future"),
        ("2026-06-15T11:00:00Z,000102030405060708090a0b0c0d0e0f,01020304,near", "rssi"),
        ("2026-06-15T11:00:00Z,000102030405060708090a0b0c0d0e0f,01020304,127", "rssi"),
        ("2026-06-15T11:00:00Z,000102030405060708090a0b0c0d0e0f,01020304", "3 fields"),
        ('{"time": 1, "rpi": "00"}', "lacks aem, rssi"),
        ('{"time": 1, "rpi": [], "aem": "", "rssi": true}', "must be text"),
        ("{", "not JSON"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_nothing_is_read(line: str, reason: str) -> None:
    with pytest.raises(BadSightings) as refused:
        read_sightings(f"time,rpi,aem,rssi\n{GOOD}\n{line}\n{GOOD}\n", now=NOW)
    ((number, fault),) = refused.value.faults
    assert number == 3
    assert reason in fault


def test_every_bad_line_is_named_up_to_twenty() -> None:
    with pytest.raises(BadSightings, match=r"line 1:.*line 3:") as refused:
        read_sightings(f"x\n{GOOD}\n" + "y\n" * 100, now=NOW)
    assert len(refused.value.faults) == 20


def test_clocks_of_two_phones_may_differ_by_two_hours() -> None:
    rest = GOOD.split(",", 1)[1]
    assert len(read_sightings(f"2026-06-15T14:00:00Z,{rest}", now=NOW)) == 1
