"""Measuring itself: who runs when, what is a median, when a target holds, what is kept."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.protocol.keys import canonical_order
from tests.bench.measure import (
    HOLDS,
    MISSED,
    Measurement,
    Pair,
    Row,
    Target,
    as_markdown,
    measure,
    merge,
    stored,
)
from tests.bench.population import information_floor, keys_of_patients
from tests.readme_section import write_section

ROW = Row("keys", 10.0, "keys/s", "the bare thing", 40.0, 0.25, 0.2, HOLDS)


def measurement(ours: list[float], limits: list[float], order: list[str], target: Target) -> Measurement:
    """One that plays back figures, and notes who was asked when."""

    @contextmanager
    def prepare() -> Iterator[Pair]:
        order.append("set up")
        yield Pair(
            lambda: order.append("ours") or ours.pop(0),  # type: ignore[func-returns-value]
            lambda: order.append("limit") or limits.pop(0),  # type: ignore[func-returns-value]
        )
        order.append("cleared away")

    return Measurement("keys", "keys/s", "the bare thing", target, prepare)


def test_ours_and_the_limit_take_turns_and_their_medians_are_compared() -> None:
    order: list[str] = []
    runs = 0

    def count_run() -> None:
        nonlocal runs
        runs += 1

    slow_spell = [10.0, 1.0, 12.0, 11.0, 90.0]
    row = measure(measurement(slow_spell, [44.0, 2.0, 40.0, 44.0, 99.0], order, Target(0.25)), count_run)
    assert order == ["set up", *["ours", "limit"] * 5, "cleared away"]
    assert runs == 10
    assert (row.value, row.limit, row.ratio, row.target, row.verdict) == (11.0, 44.0, 0.25, 0.25, HOLDS)


@pytest.mark.parametrize(
    ("value", "limit", "target", "verdict"),
    [
        (25.0, 100.0, Target(0.25), "yes"),
        (24.9, 100.0, Target(0.25), "within 5%"),
        (23.8, 100.0, Target(0.25), "within 5%"),
        (23.7, 100.0, Target(0.25), "no"),
        (100.0, 100.0, Target(1.0, at_most=True), "yes"),
        (105.0, 100.0, Target(1.0, at_most=True), "within 5%"),
        (106.0, 100.0, Target(1.0, at_most=True), "no"),
        (100.1, 100.0, Target(1.0, at_most=True, tolerance=0), "no"),
        (17.8, 15.0, Target(17.8, at_most=True, absolute=True, tolerance=0), "yes"),
        (17.9, 15.0, Target(17.8, at_most=True, absolute=True, tolerance=0), "no"),
    ],
)
def test_a_target_that_is_missed_is_never_said_to_hold_within_the_tolerance_either(
    value: float, limit: float, target: Target, verdict: str
) -> None:
    assert target.verdict(value, limit) == verdict


def test_an_absolute_target_is_told_as_a_ratio() -> None:
    target = Target(18.0, at_most=True, absolute=True)
    row = measure(measurement([17.0] * 5, [15.0] * 5, [], target))
    assert (row.target, row.verdict) == (1.2, HOLDS)


def test_merging_replaces_a_row_by_its_name_and_keeps_the_others_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "var" / "bench.json"
    first, second = ROW, Row("bytes", 17.4, "B/key", "the floor", 15.0, 1.16, 1.2, HOLDS)
    merge(path, [first, second])
    again = Row("keys", 8.0, "keys/s", "the bare thing", 40.0, 0.2, 0.25, MISSED)
    merge(path, [again])
    assert stored(path) == [again, second]
    assert [p.name for p in path.parent.iterdir()] == ["bench.json"]


def test_the_file_is_a_list_of_rows_with_fixed_names(tmp_path: Path) -> None:
    merge(tmp_path / "bench.json", [ROW])
    (row,) = json.loads((tmp_path / "bench.json").read_text())
    assert list(row) == ["name", "value", "unit", "against", "limit", "ratio", "target", "verdict"]
    assert isinstance(row["ratio"], float)
    assert row["verdict"] == "yes"


def test_a_row_of_another_form_is_left_out_until_it_is_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    merge(path, [replace(ROW, name="other"), ROW])
    rows = json.loads(path.read_text())
    rows[0]["holds"] = rows[0].pop("verdict") == "yes"
    path.write_text(json.dumps(rows))
    assert stored(path) == [ROW]


def test_a_failed_merge_leaves_the_old_rows(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    merge(path, [ROW])
    with pytest.raises(TypeError):
        merge(path, [Row("x", object(), "", "", 1.0, 1.0, 1.0, HOLDS)])  # type: ignore[arg-type]
    assert stored(path) == [ROW]


def test_the_readme_says_which_target_is_missed(tmp_path: Path) -> None:
    missed = Row("slow", 1234.5, "keys/s", "the bare thing", 9999.0, 0.123, 0.25, MISSED)
    nearly = replace(ROW, verdict="within 5%")
    lines = as_markdown([ROW, missed, nearly]).splitlines()
    assert len(lines) == 5
    assert lines[2].endswith("| yes |")
    assert "1,234 keys/s" in lines[3]
    assert lines[3].endswith("| **no** |")
    assert lines[4].endswith("| within 5% |")


def test_a_section_of_the_readme_is_replaced_between_its_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("above\n<!-- bench:begin -->\nold\nolder\n<!-- bench:end -->\nbelow\n")
    for _ in range(2):
        write_section(readme, "bench", "new")
    assert readme.read_text() == "above\n<!-- bench:begin -->\nnew\n<!-- bench:end -->\nbelow\n"
    with pytest.raises(ValueError, match="soak:begin"):
        write_section(readme, "soak", "new")


def test_the_floor_of_the_published_model_is_the_published_one() -> None:
    # 1,000 keys of this model: 14,934 bytes for the keys alone, and about 7.4 bits of metadata a key.
    keys = keys_of_patients(10_000)
    assert information_floor(keys) == pytest.approx(154_404, rel=0.01)


@given(st.integers(1, 400), st.integers())
def test_the_floor_grows_with_what_is_said_and_not_with_the_order(count: int, seed: int) -> None:
    keys = keys_of_patients(count, seed=seed)
    assert len(keys) == count
    assert information_floor(canonical_order(keys)) == pytest.approx(information_floor(keys))
    # Even where all metadata differ, telling a set's order apart costs as much as they do, but for 1.44 bits.
    assert information_floor(keys) <= (128 + 1 / math.log(2)) / 8 * count
