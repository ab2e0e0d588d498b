"""`registry audit`: verify a file, follow a log, compare vantage points, keep evidence. No account needed.

Asks and shows; what is checked stands in `registry.client.monitor`. Reads public files, an auditor's own
state folder and, for `reconcile` alone, the two databases. Every command ends with the exit code of the
gravest fault that it found, 0 for none, and 1 where it could not tell.
"""

import os
import subprocess
from pathlib import Path

import click

from registry.cli.auditor_count import count_patients_command
from registry.cli.auditor_metrics import metrics_text
from registry.cli.auditor_report import (
    AuditReport,
    bars,
    fault_members,
    json_line,
    report_of_visit,
    show,
    show_nothing,
)
from registry.cli.auditor_surroundings import (
    AuditGroup,
    Auditing,
    with_auditing,
)
from registry.client.monitor.bundle import (
    SUMS_NAME,
    Bundle,
    check_sums,
    write_bundle,
)
from registry.client.monitor.compare import compare, log_keys_of, open_vantage
from registry.client.monitor.faults import CANNOT_TELL, Fault, fault_of
from registry.client.monitor.kept_receipts import read_kept_receipts, search_receipt
from registry.client.monitor.memory import write_file
from registry.client.monitor.one_file import prove_file
from registry.client.monitor.rebuild import rebuild_shard
from registry.client.monitor.second_names import check_alias
from registry.client.monitor.shard import Progress, current_year, must_read
from registry.client.monitor.source import Source
from registry.client.monitor.view import LogView, read_log, with_policy
from registry.client.monitor.visit import Looking, Visit, check_pin, finish, look, visit_again
from registry.client.texts import printable
from registry.errors import Distrusted, FetchFailed, Malformed
from registry.protocol.index import LOG_CHECKPOINT_PATH, TRUST_PATH, shard_checkpoint_path
from registry.protocol.note import VerifierKey, decode_vkey
from registry.protocol.trust import decode_trust

HOOK_SECONDS = 60.0


@click.group(cls=AuditGroup)
def audit() -> None:
    """Check what a registry published: its files, its log, its witnesses.

    A registry is named by its address, or by a folder with an archive of its public files. Exit codes: 0
    good, 1 cannot tell, from 2 on the gravest class of fault (docs/auditing.md).
    """


# ---------------------------------------------------------------- verify


@audit.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--registry", help="Address or archived folder; without it the folder that FILE lies in.")
@click.option(
    "--proof",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A proof (.tlog-proof) that you kept, in place of the one that is served.",
)
@with_auditing
def verify(auditing: Auditing, file: Path, registry: str | None, proof: Path | None) -> None:
    """Say what is proven about the export FILE: by whom it was signed, logged and cosigned, and when."""
    source = auditing.source(registry if registry is not None else str(_archive_around(file)))
    now = auditing.now(source)
    proven = prove_file(
        file.read_bytes(),
        source.read,
        auditing.demands,
        now,
        proof_content=proof.read_bytes() if proof else None,
    )
    report = AuditReport("verify", str(file), now, proven.sentences, proven.unproven, proven.faults)
    report.is_complete = proven.is_complete
    auditing.finish(report)


def _archive_around(file: Path) -> Path:
    for folder in file.resolve().parents:
        if (folder / LOG_CHECKPOINT_PATH).is_file():
            return folder
    raise FetchFailed(
        f"{file} lies in no archive of a registry: say with --registry whose file it is, by address or folder"
    )


# ---------------------------------------------------------------- follow


@audit.command()
@click.argument("source")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder in which to remember what was seen; made if it is not there.",
)
@click.option("--once", is_flag=True, help="Look once; so it is without --every too.")
@click.option("--every", type=click.FloatRange(min=1), help="Look again and again, after so many seconds.")
@click.option(
    "--hooks",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of programs; each is run once for every new fault, with the fault as JSON on its input.",
)
@click.option(
    "--metrics",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write Prometheus metrics to, after each look.",
)
@with_auditing
def follow(
    auditing: Auditing,
    source: str,
    state: Path,
    once: bool,
    every: float | None,
    hooks: Path | None,
    metrics: Path | None,
) -> None:
    """Look at SOURCE by every rule, compare with the last visit, and remember.

    With --every it ends on an interruption, with the code of the gravest fault at the last look.
    """
    if once and every:
        raise click.UsageError("--once and --every exclude each other")
    opened = auditing.source(source)
    before: LogView | None = None
    code = CANNOT_TELL
    while True:
        try:
            visit, fresh = _visit(auditing, opened, state, before, metrics)
        except FetchFailed as error:
            if not every:
                raise
            # A registry that is down for a while is looked at again when it is back.
            click.echo(printable(str(error)), err=True)
            if auditing.as_json:
                show_nothing("follow", str(error), auditing.clock())
        else:
            for fault in fresh:
                _run_hooks(hooks, fault, source)
            report = report_of_visit("follow", visit)
            if not every:
                auditing.finish(report)
            show(report, as_json=auditing.as_json)
            before, code = visit.view, report.exit_code
        try:
            auditing.pause(every)
        except KeyboardInterrupt:
            raise SystemExit(code) from None


def _visit(
    auditing: Auditing, source: Source, state: Path, before: LogView | None, metrics: Path | None
) -> tuple[Visit, list[Fault]]:
    with bars() as bar:
        looking = Looking(auditing.fetch_checkpoint, auditing.pause, bar("log"), bar("files"))
        now = auditing.now(source)
        visit, memory = visit_again(source, state, auditing.demands, now, looking, before=before)
    fresh = finish(state, memory, visit)
    if metrics is not None:
        write_file(metrics, metrics_text(visit, memory).encode())
    return visit, fresh


def _run_hooks(folder: Path | None, fault: Fault, source: str) -> None:
    """Run each program in the folder, in the order of their names; one that fails is told and no more."""
    for program in sorted(folder.iterdir()) if folder is not None else ():
        if not program.is_file() or not os.access(program, os.X_OK):
            continue
        words = json_line({**fault_members(fault), "source": source})
        try:
            # The auditor's own program, named by the auditor; the fault reaches it on its input only.
            done = subprocess.run(  # noqa: S603
                [str(program.resolve())], input=words.encode(), timeout=HOOK_SECONDS, check=False
            )
            if done.returncode:
                click.echo(f"{program}: ended with {done.returncode}", err=True)
        except (OSError, subprocess.TimeoutExpired) as error:
            click.echo(f"{program}: {type(error).__name__}", err=True)


# ---------------------------------------------------------------- compare


@audit.command(name="compare")
@click.argument("a")
@click.argument("b")
@click.option(
    "--evidence",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write both signed notes to, if they conflict.",
)
@with_auditing
def compare_command(auditing: Auditing, a: str, b: str, evidence: Path | None) -> None:
    """Hold two vantage points against each other: A and B must show one and the same growing log.

    Each is a registry's address, an archived folder, a witness's monitoring address, or a file with a
    checkpoint or a proof.
    """
    one = open_vantage(a, auditing.transport, auditing.clock)
    other = open_vantage(b, auditing.transport, auditing.clock)
    trusted = log_keys_of(one, other, auditing.demands)
    report = AuditReport("compare", f"{a} and {b}", auditing.clock(), faults=trusted.faults)
    if not trusted.keys:
        if trusted.faults:
            auditing.finish(report)
        raise FetchFailed(
            "neither side names the log's keys: give them with --policy (the registry's log/policy)"
        )
    found = compare(one, other, trusted.keys, auditing.transport, auditing.clock)
    report.sentences += found.sentences
    report.faults += found.faults
    for number, fault in enumerate(found.faults if evidence is not None else (), start=1):
        for at, note in enumerate(fault.evidence):
            path = Path(evidence or "") / f"{fault.kind.word}-{number}-{'ab'[at]}.checkpoint"
            write_file(path, note)
            click.echo(f"wrote {path}", err=True)
    auditing.finish(report)


# ---------------------------------------------------------------- export, recheck


@audit.command()
@click.argument("source")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@with_auditing
def export(auditing: Auditing, source: str, folder: Path) -> None:
    """Write an evidence bundle of SOURCE to FOLDER: verify, recheck, compare work on it without a network."""
    opened = auditing.source(source)
    with bars() as bar:
        now = auditing.now(opened)
        looking = Looking(auditing.fetch_checkpoint, auditing.pause, bar("log"), bar("checking"))
        visit = look(opened, auditing.demands, now, looking)
        report = report_of_visit("export", visit)
        if visit.view is None:
            auditing.finish(report)
        bundle = Bundle(opened.read, visit.view, auditing.fetch_checkpoint)

        def members() -> dict[str, object]:
            report.unproven += bundle.left_out
            report.is_complete = not bundle.left_out
            return report.as_members()

        count = write_bundle(
            folder, bundle.files(), members, own_policy=auditing.own_policy, progress=bar("writing")
        )
    report.sentences.append(f"{count} files are in {folder}; {SUMS_NAME} names them all.")
    auditing.finish(report)


@audit.command()
@click.argument("source")
@with_auditing
def recheck(auditing: Auditing, source: str) -> None:
    """Compute the whole log of SOURCE anew from its bundles, every shard, and compare every tile and root."""
    opened = auditing.source(source)
    now = auditing.now(opened)
    report = AuditReport("recheck", opened.name, now)
    with bars() as bar:
        report.faults += check_sums(opened.read)
        try:
            view = read_log(opened.read, policy=auditing.demands.policy, progress=bar("reading"))
            report.faults += [*check_pin(view, auditing.demands), *view.shard_faults]
            report.faults += check_alias(opened.read, view.current, 0)
            years = {shard.year: shard.signed for shard in view.shards}
            _add_older(opened, years)
            vkeys = view.trust.log_vkeys
        except (Malformed, Distrusted) as error:
            report.faults.append(fault_of(error, LOG_CHECKPOINT_PATH))
            years, vkeys = _years_of_broken_log(auditing, opened)
        keys = [decode_vkey(vkey) for vkey in vkeys]
        for year, signed in years.items():
            # The pointer that is followed, and the shard's own file, if that is another.
            own = opened.read(shard_checkpoint_path(year))
            for candidate in dict.fromkeys((signed, own)):
                _recheck_shard(report, opened, year, keys, candidate, bar(f"log/{year}"))
    report.faults = list(dict.fromkeys(report.faults))
    auditing.finish(report)


def _recheck_shard(
    report: AuditReport,
    source: Source,
    year: int,
    keys: list[VerifierKey],
    signed: bytes | None,
    progress: Progress,
) -> None:
    rebuilt = rebuild_shard(
        source.read,
        year,
        keys,
        signed=signed,
        look_for_old_tiles=not source.is_live,
        progress=progress,
    )
    report.faults += rebuilt.faults
    if rebuilt.checkpoint is not None and not rebuilt.faults:
        report.sentences.append(
            f"{rebuilt.checkpoint.origin}: {rebuilt.entries} entries and {rebuilt.tiles} tiles and bundles, "
            f"computed anew, lead to the signed root at size {rebuilt.checkpoint.size}."
        )


def _years_of_broken_log(auditing: Auditing, source: Source) -> tuple[dict[int, bytes], tuple[str, ...]]:
    """(each shard's signed checkpoint that can be found at all, log keys): to name what is broken."""
    try:
        trust = decode_trust(must_read(source.read, TRUST_PATH))
        year = current_year(source.read, trust.log_origin)
        signed = must_read(source.read, LOG_CHECKPOINT_PATH)
    except (Malformed, Distrusted):
        return {}, ()  # told already: reading failed at the same place
    if auditing.demands.policy is not None:
        trust = with_policy(trust, auditing.demands.policy)
    found = {year: signed}
    _add_older(source, found)
    return found, trust.log_vkeys


def _add_older(source: Source, years: dict[int, bytes]) -> None:
    """Shards before the oldest of `years` whose checkpoint is there, though the log does not lead to them."""
    year = min(years)
    while (content := source.read(shard_checkpoint_path(year - 1))) is not None:
        year -= 1
        years[year] = content


# ---------------------------------------------------------------- receipts


@audit.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("source")
@with_auditing
def receipt(auditing: Auditing, file: Path, source: str) -> None:
    """Look for the receipts in FILE (`registry phone receipt > FILE`) among those that SOURCE published.

    Ends with 1 if one is not found: that may have good reasons, which the words name.
    """
    opened = auditing.source(source)
    now = auditing.now(opened)
    report = AuditReport("receipt", str(file), now)
    kept = read_kept_receipts(file.read_bytes())
    view = auditing.read_whole_log(opened, report)
    missing = 0
    for one in kept:
        search = search_receipt(opened.read, view, one)
        report.faults += search.faults
        (report.sentences if search.found else report.unproven).extend(search.sentences)
        missing += not search.found
    report.members = {"receipts": len(kept), "found": len(kept) - missing}
    report.is_complete = bool(kept) and not missing
    auditing.finish(report)


# ---------------------------------------------------------------- count-patients

audit.add_command(count_patients_command)
