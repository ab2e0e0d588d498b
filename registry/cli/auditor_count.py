"""`registry audit count-patients`: the attacker, for anybody who wants to know what a registry's files tell.

Reads files alone and asks nobody. A figure here is a guess; that content gives padding away is a fault.
"""

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

import click

from registry.cli.auditor_report import AuditReport
from registry.cli.auditor_surroundings import Auditing, with_auditing
from registry.client.monitor.count_patients import Method, Suspicions, WindowCount, count_patients
from registry.client.monitor.faults import Fault, FaultKind
from registry.client.monitor.mixture import stated
from registry.client.monitor.moments import utc
from registry.client.verify import MAX_COMPACT_KEYS
from registry.errors import Malformed
from registry.protocol.compact_file import MAGIC, open_compact
from registry.protocol.encoding import decode_json_object
from registry.protocol.export_file import ExportFile, read_zip
from registry.protocol.key_rows import KeyRows, temporary_exposure_keys
from registry.protocol.keys import TemporaryExposureKey
from registry.protocol.population import DecoyPolicy, PopulationModel, decode_decoy_policy

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

NOT_COUNTED = (
    "How many people there really are: only the batch's seed tells that, once it is opened. Nothing about "
    "signatures or the log was looked at (`registry audit verify` does)."
)


@click.command(name="count-patients")
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE...")
@click.option("--trust", type=_FILE, help="Trust material with the policy of decoys; else the defaults.")
@click.option(
    "--suspected",
    type=_FILE,
    help="What you think real users are like: a population model, as trust material states one.",
)
@click.option(
    "--padding",
    type=click.IntRange(min=0),
    help="Keys a day that are known to be made up, e.g. SwissCovid's 10.",
)
@with_auditing
def count_patients_command(
    auditing: Auditing, files: Sequence[Path], trust: Path | None, suspected: Path | None, padding: int | None
) -> None:
    """Estimate how many real people are in the export FILEs, by every published method.

    Zips, compact files, files of days: name all that is at hand, the same window from several feeds, a window
    that was made twice, later windows. What stands in several of them counts once.
    Ends with 21 if the content of a file tells padding from people.
    """
    exports = [_read(path) for path in files]
    policy = decode_decoy_policy(trust.read_bytes()) if trust else DecoyPolicy()
    real_users = stated(_model(suspected)) if suspected else None
    counts = count_patients(exports, policy, Suspicions(real_users, padding=padding))
    subject = ", ".join(map(str, files))
    report = AuditReport("count-patients", subject, auditing.clock(), unproven=[NOT_COUNTED])
    for count in counts:
        report.sentences += _sentences(count)
        report.faults += _faults(count)
    best = sum(count.best for count in counts)
    windows = f"{len(counts)} window{'s' if len(counts) > 1 else ''}"
    report.sentences.append(f"Best guess: {_users(best)} in {windows}.")
    report.members = {"windows": [_members(count) for count in counts], "best": best}
    auditing.finish(report)


def _read(path: Path) -> ExportFile:
    content = path.read_bytes()
    try:
        return _read_compact(content) if content.startswith(MAGIC) else read_zip(content)[0]
    except Malformed as error:
        raise Malformed(f"{path}: {error}") from error


def _read_compact(content: bytes) -> ExportFile:
    """What the zip of the same keys would be read as."""
    compact, _, _ = open_compact(BytesIO(content), max_keys=MAX_COMPACT_KEYS)
    header = compact.header
    return ExportFile(
        header.start_timestamp,
        header.end_timestamp,
        header.region,
        _keys(compact.keys()),
        _keys(compact.revised_keys()),
    )


def _keys(chunks: Iterable[KeyRows]) -> tuple[TemporaryExposureKey, ...]:
    return tuple(key for rows in chunks for key in temporary_exposure_keys(rows))


def _model(path: Path) -> PopulationModel:
    return PopulationModel.from_members(decode_json_object(path.read_bytes(), str(path)))


def _window(count: WindowCount) -> str:
    return f"{utc(count.window_start)} to {utc(count.window_end)}"


def _users(number: float) -> str:
    return f"{number:g} real user{'' if number == 1 else 's'}"


def _sentences(count: WindowCount) -> list[str]:
    found = [f"Window {_window(count)}, best guess {count.best:g} by {count.by.word}:"]
    for method in Method:
        users = count.users[method]
        figure = "does not bite" if users is None else f"{users:g}"
        found.append(f"- {method.word}: {figure}. Rests on {method.rests_on}.")
    return found


def _faults(count: WindowCount) -> list[Fault]:
    if not count.is_given_away:
        return []
    what = f"the content tells padding from people: {_users(count.best)} by {count.by.word}"
    advice = "Padding must be whole made-up users, from a model and not from people, the same in every feed."
    return [Fault(FaultKind.COUNTABLE, f"window {_window(count)}", what, advice)]


def _members(count: WindowCount) -> dict[str, object]:
    return {
        "window_start": count.window_start,
        "window_end": count.window_end,
        "estimates": [
            {"method": method.word, "users": count.users[method], "rests_on": method.rests_on}
            for method in Method
        ],
        "best": count.best,
        "by": count.by.word,
        "given_away": count.is_given_away,
    }
