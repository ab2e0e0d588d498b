"""A year that is over: whoever has all keys and the disk wants it forgotten, or to have been another one."""

import shutil
from pathlib import Path

from tests.attacks.operators import HOUR
from tests.attacks.readers import AppWithoutSdk, reads
from tests.attacks.stage import Stage

TURN_OF_2027 = 1_798_761_600
LAST_YEAR = "log/2026"


def turn_the_year(stage: Stage) -> None:
    """The last windows of 2026, seen by everybody, and the first of 2027."""
    stage.clock.now = TURN_OF_2027 - 2.0 * HOUR
    stage.window()
    assert stage.bob.poll().good
    stage.auditor.follow()
    stage.clock.now = TURN_OF_2027 + 1.0 * HOUR
    stage.window()


def last_years_bundle(folder: Path) -> Path:
    bundles = (folder / LAST_YEAR / "tile/entries/000.p").iterdir()
    return max(bundles, key=lambda path: int(path.name))


def test_deleted_year_phone(stage: Stage) -> None:
    """Not seen: a phone asks for the newest index and its proof, which are this year's."""
    turn_the_year(stage)
    shutil.rmtree(stage.operator.public_folder / LAST_YEAR)
    for phone in (stage.bob, stage.phone("carol")):
        report = phone.poll()
        assert (report.is_proven, report.failures, report.warnings) == (True, (), ())


def test_deleted_year_monitor(stage: Stage) -> None:
    turn_the_year(stage)
    honest = stage.auditor.follow()
    assert "damaged_log" not in honest.kinds
    file = stage.folder / "kept.zip"
    file.write_bytes(stage.operator.read(stage.operator.newest_file()))
    kept = stage.operator.public_copy(stage.folder / "before")
    shutil.rmtree(stage.operator.public_folder / LAST_YEAR)
    for _ in range(2):
        seen = stage.auditor.follow()
        assert seen.code == 6
        assert {"log/2026/checkpoint", "log/2026"} <= {
            fault["where"] for fault in seen.faults if fault["kind"] == "damaged_log"
        }
    assert stage.auditor.run("recheck", stage.base_url).code == 6
    # Somebody who comes for the first time misses what the new year's first leaf goes on from.
    stage.auditor.folder = stage.folder / "new auditor"
    assert stage.auditor.follow().code == 6
    # Nothing but a piece of it: that is as much.
    shutil.copytree(kept / LAST_YEAR, stage.operator.public_folder / LAST_YEAR)
    assert stage.auditor.run("recheck", stage.base_url).code == honest.code
    last_years_bundle(stage.operator.public_folder).unlink()
    stage.auditor.folder = stage.folder / "another"
    assert stage.auditor.follow().code == 6


def test_deleted_year_old_app(stage: Stage) -> None:
    """Its files are listed as ever, and it knows of no log."""
    app = AppWithoutSdk(stage.operator.public_folder)
    app.poll(reads(stage.operator.public_folder))
    turn_the_year(stage)
    shutil.rmtree(stage.operator.public_folder / LAST_YEAR)
    assert app.poll(reads(stage.operator.public_folder)) == 2


# ------------------------------------------------------------ another year in its place


def rewrite_the_year(stage: Stage) -> None:
    """The operator signs another 2026, and puts it where the true one was; the present year stays."""
    stage.clock.now = TURN_OF_2027 - 3.0 * HOUR
    stage.window()
    other = stage.fork()
    stage.window()
    stage.auditor.follow()
    other.publish()
    stage.clock.now = TURN_OF_2027 + 1.0 * HOUR
    stage.window(stage.operator, other)
    shutil.rmtree(stage.operator.public_folder / LAST_YEAR)
    shutil.copytree(other.public_folder / LAST_YEAR, stage.operator.public_folder / LAST_YEAR)


def test_rewritten_year_phone(stage: Stage) -> None:
    """Not seen, as with one that is deleted."""
    rewrite_the_year(stage)
    report = stage.phone("carol").poll()
    assert (report.is_proven, report.failures) == (True, ())


def test_rewritten_year_monitor(stage: Stage) -> None:
    rewrite_the_year(stage)
    for folder in ("auditor", "new auditor"):
        stage.auditor.folder = stage.folder / folder
        seen = stage.auditor.follow()
        assert seen.code == 3
        evidence = [
            fault["evidence"] for fault in seen.faults if fault["kind"] in ("inconsistent", "split_view")
        ]
        assert all(len(notes) == 2 for notes in evidence)
