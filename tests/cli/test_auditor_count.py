"""`registry audit count-patients` as an auditor types it, on our files and on those of others."""

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.cli.auditor import audit
from registry.cli.auditor_surroundings import Auditing
from registry.client.monitor.count_patients import Method
from registry.client.monitor.faults import FaultKind
from registry.protocol.compact_file import CompactHeader, write_compact, write_signatures
from registry.protocol.encoding import encode_json
from registry.protocol.export_file import (
    ExportFile,
    SignatureInfo,
    encode_export,
    encode_signatures,
    pack,
)
from registry.protocol.key_rows import in_canonical_order, key_rows
from registry.protocol.population import PopulationModel
from tests.client.monitor.web import Web
from tests.clock import FakeClock
from tests.counting.copied_padding import file, in_file, round_robin, ten_a_day
from tests.counting.one_window import END, START, files_of, real_people, with_decoys
from tests.counting.real_world import World


def typed(*words: object, expect: int = 0) -> Result:
    auditing = Auditing(Web({}), FakeClock(), lambda seconds: None)
    result = CliRunner().invoke(audit, ["count-patients", *map(str, words)], obj=auditing)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == expect, result.output
    return result


def written(folder: Path, files: Iterable[ExportFile]) -> list[Path]:
    """The files as zips, signed by nobody: the attacker does not ask."""
    info = SignatureInfo("key", "1")
    paths = []
    for number, one in enumerate(files):
        signed = ExportFile(
            one.start_timestamp, one.end_timestamp, one.region, one.keys, one.revised_keys, (info,)
        )
        path = folder / f"{one.region}-{one.start_timestamp}-{number}.zip"
        path.write_bytes(pack(encode_export(signed), encode_signatures([(info, b"none")])))
        paths.append(path)
    return paths


def compact(folder: Path, one: ExportFile) -> Path:
    """The same keys as a compact file, signed by nobody."""
    content = BytesIO()
    counts = (len(one.keys), len(one.revised_keys))
    header = CompactHeader(one.region, one.start_timestamp, one.end_timestamp, 1, 1, *counts)
    sections = ([in_canonical_order(key_rows(keys))] for keys in (one.keys, one.revised_keys))
    write_compact(content, header, *sections)
    write_signatures(content, [(SignatureInfo("key", "1"), b"nothing.")])
    path = folder / "renamed"
    path.write_bytes(content.getvalue())
    return path


@pytest.fixture
def ours(tmp_path: Path) -> list[Path]:
    """Two feeds of a window with three people among decoys, and a later file."""
    chance = random.Random("ours")
    persons = real_people(World(), 3, chance)
    return written(tmp_path, files_of(with_decoys(persons, 17, bytes(32))))


def test_every_method_is_told_with_what_it_rests_on(ours: list[Path]) -> None:
    said = typed(ours[0]).stdout
    for method in Method:
        assert f"- {method.word}: " in said
        assert method.rests_on in said
    assert "Window 2026-06-15 08:00:00 UTC to 2026-06-15 12:00:00 UTC" in said
    assert "- metadata-classes: 20." in said
    assert "- equal-multiplicities: does not bite." in said
    assert "Left open:" in said
    assert "only the batch's seed tells" in said


def test_programs_get_the_same_figures(ours: list[Path]) -> None:
    said = json.loads(typed(*ours, "--json").stdout)
    first, later = said["windows"]
    assert (first["window_start"], first["window_end"]) == (START, END)
    assert {one["method"]: one["users"] for one in first["estimates"]}["metadata-classes"] == 20
    assert {one["method"]: one["users"] for one in first["estimates"]}["feed-differences"] is None
    assert (first["by"], first["given_away"]) == ("population-likelihood", False)
    assert said["best"] == first["best"] + later["best"]
    assert said["exit_code"] == 0


def test_padding_by_copies_is_a_fault_with_the_number(tmp_path: Path) -> None:
    chance = random.Random("copies")
    padded = file(round_robin(in_file(2, chance), chance))
    result = typed(*written(tmp_path, [padded]), expect=FaultKind.COUNTABLE.exit_code)
    assert "the content tells padding from people: 2 real users by equal-multiplicities" in result.stdout
    assert "Best guess: 2 real users in 1 window." in result.stdout


def test_a_known_number_of_fakes_is_taken_off(tmp_path: Path) -> None:
    chance = random.Random("fakes")
    padded = file(ten_a_day(in_file(3, chance), chance, today=END // 86_400))
    said = json.loads(typed(*written(tmp_path, [padded]), "--padding", 10, "--json").stdout)
    assert (said["best"], said["windows"][0]["by"]) == (3, "known-padding")


def test_the_policy_and_a_suspicion_are_read_from_files(ours: list[Path], tmp_path: Path) -> None:
    model = PopulationModel().to_members()
    trust, suspected = tmp_path / "trust.json", tmp_path / "suspected.json"
    trust.write_bytes(encode_json({"publication": {"floor": 18}, "decoy_population": model}))
    suspected.write_bytes(encode_json({**model, "daily_keys": {"1": 65_536}}))
    plain, other = (json.loads(typed(ours[0], *more, "--json").stdout)["best"]
                    for more in ((), ("--trust", trust)))  # fmt: skip
    assert other < plain  # below the floor of 18 nothing is known but that it is below
    assert json.loads(typed(ours[0], "--suspected", suspected, "--json").stdout)["best"] < plain


def test_a_compact_file_is_read_as_the_zip_of_the_same_keys_and_not_counted_again(tmp_path: Path) -> None:
    chance = random.Random("both formats")
    persons = real_people(World(tests={"likely": 1.0}), 9, chance)
    _, window, later = files_of(persons)
    both = replace(later, keys=(*window.keys, *later.keys))
    assert both.revised_keys
    (zipped,) = written(tmp_path, [both])
    compacted = compact(tmp_path, both)
    figures = [json.loads(typed(*files, "--json").stdout)["windows"]
               for files in ([zipped], [compacted], [zipped, compacted])]  # fmt: skip
    assert figures[0] == figures[1] == figures[2]
    assert len(figures[0]) == 1


def test_what_cannot_be_read_is_said_in_one_line(ours: list[Path], tmp_path: Path) -> None:
    cut_short = tmp_path / "cut short"
    cut_short.write_bytes(b"Positive keys v1")
    assert f"{cut_short}: the file is cut short" in typed(cut_short, expect=1).stderr
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"no zip")
    assert f"{broken}: " in typed(broken, expect=1).stderr
    assert "is not JSON" in typed(ours[0], "--trust", broken, expect=1).stderr
    assert "is not JSON" in typed(ours[0], "--suspected", broken, expect=1).stderr
    assert "Missing argument" in typed(expect=1).stderr
