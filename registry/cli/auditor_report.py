"""What `registry audit` says: words for people, one JSON object for programs, metrics, bars while it reads.

Decides nothing. Words that came from a registry are made printable before they are shown. The report goes to
standard output; progress and hints go to standard error.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from registry.client.monitor.faults import ALL_GOOD, CANNOT_TELL, Fault, FaultKind, exit_code
from registry.client.monitor.moments import utc
from registry.client.monitor.view import LogView
from registry.client.monitor.visit import Visit
from registry.client.monitor.witnesses import WitnessReport
from registry.client.texts import printable
from registry.errors import BadSignature
from registry.protocol.encoding import encode_base64

LONGEST_LINE = 4_000
MOST_FAULTS = 200
"""Told in words; a log that is wrong from its first leaf on has as many as leaves."""


@dataclass
class AuditReport:
    """What a command found: sentences of what holds and of what stays open, faults, and more for programs."""

    command: str
    subject: str
    at: float
    sentences: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    members: dict[str, object] = field(default_factory=dict)
    """More, for programs."""
    is_complete: bool = True
    """Whether everything that was asked could be looked into."""

    @property
    def exit_code(self) -> int:
        """That of the gravest fault; without any 0, or 1 if something could not be looked into."""
        return exit_code(self.faults) or (ALL_GOOD if self.is_complete else CANNOT_TELL)

    def as_members(self) -> dict[str, object]:
        """For JSON."""
        return {
            "command": self.command,
            "subject": self.subject,
            "taken_at": int(self.at),
            "good": self.exit_code == ALL_GOOD,
            "complete": self.is_complete,
            "exit_code": self.exit_code,
            "proven": self.sentences,
            "not_proven": self.unproven,
            "faults": [fault_members(fault) for fault in self.faults],
            **self.members,
        }


def fault_members(fault: Fault) -> dict[str, object]:
    """A fault for programs and hooks; signed notes of its evidence as text."""
    return {
        "kind": fault.kind.word,
        "exit_code": fault.kind.exit_code,
        "where": fault.where,
        "what": fault.what,
        "advice": fault.advice,
        "evidence": [note.decode("utf-8", "replace") for note in fault.evidence],
    }


def show(report: AuditReport, *, as_json: bool) -> None:
    """Print the report."""
    if as_json:
        click.echo(json.dumps(report.as_members(), ensure_ascii=False))
        return
    for sentence in report.sentences:
        click.echo(f"  {_plain(sentence)}")
    if report.unproven:
        click.echo("Left open:")
    for sentence in report.unproven:
        click.echo(f"  {_plain(sentence)}")
    faults = sorted(report.faults, key=lambda one: one.kind.exit_code)
    for fault in faults[:MOST_FAULTS]:
        click.secho(f"{fault.kind.word}: {_plain(fault.where)}: {_plain(fault.what)}", fg="red", bold=True)
        if fault.advice:
            click.echo(f"  {_plain(fault.advice)}")
        if fault.kind in (FaultKind.SPLIT_VIEW, FaultKind.INCONSISTENT):
            _show_evidence(fault)
    if len(faults) > MOST_FAULTS:
        click.echo(f"... and {len(faults) - MOST_FAULTS} more: --json names them all.")
    if report.exit_code == ALL_GOOD:
        click.secho(f"Good: {_plain(report.subject)}, as of {utc(report.at)}.", fg="green", bold=True)
    elif not report.faults:
        click.secho("No fault, but not everything could be checked; exit code 1.", bold=True)
    else:
        count = len(report.faults)
        click.secho(
            f"{count} fault{'s' if count > 1 else ''} at {_plain(report.subject)}, as of {utc(report.at)}; "
            f"exit code {report.exit_code}.",
            fg="red",
            bold=True,
        )


def show_nothing(command: str, reason: str, at: float) -> None:
    """Print, for programs, that nothing can be told, and why. People read the reason on standard error."""
    members = {
        "command": command,
        "taken_at": int(at),
        "good": False,
        "complete": False,
        "exit_code": CANNOT_TELL,
        "reason": printable(reason, longest=LONGEST_LINE),
        "proven": [],
        "not_proven": [],
        "faults": [],
    }
    click.echo(json.dumps(members, ensure_ascii=False))


def _show_evidence(fault: Fault) -> None:
    for number, note in enumerate(fault.evidence, start=1):
        click.echo(f"--- evidence {number} of {len(fault.evidence)}, a signed note ---")
        for line in note.decode("utf-8", "replace").splitlines():
            click.echo(_plain(line))
    if fault.evidence:
        click.echo("--- end of evidence ---")


def _plain(text: str) -> str:
    return printable(text, longest=LONGEST_LINE)


# ---------------------------------------------------------------- a look at a whole log


def report_of_visit(command: str, visit: Visit) -> AuditReport:
    """The report of a look at a registry."""
    report = AuditReport(command, visit.source, visit.at, faults=list(visit.faults))
    if visit.view is None:
        return report
    report.sentences += _log_sentences(visit)
    report.members = {**view_members(visit.view, visit.at), "witnesses": _witness_members(visit.witnesses)}
    report.members["files_read"] = visit.contents.files_read
    report.members["files_known"] = len(visit.contents.ends)
    report.members["new_leaves"] = visit.new_leaves
    return report


def _log_sentences(visit: Visit) -> list[str]:
    view = visit.view
    if view is None:
        return []
    current = view.current.checkpoint
    sentences = [
        f"{current.origin}: {current.size} leaves, all decoded; they hash to the root that the log signs, "
        + encode_base64(current.root)
        + "."
    ]
    if visit.since is not None:
        sentences.append(
            f"{visit.new_leaves} leaves more than at the last visit ({utc(visit.since)}), which they contain."
        )
    for region, batches in view.batches.items():
        live = sum(batch.state == "live" for batch in batches)
        sentences.append(
            f"{region}: {len(batches)} batches without a gap, the newest to "
            f"{utc(batches[-1].leaf.window_end)}; {live} live."
        )
    sentences.append(
        f"{len(visit.contents.ends)} listed files are as announced ({visit.contents.files_read} fetched now)."
    )
    return [*sentences, *_witness_sentences(visit)]


def _witness_sentences(visit: Visit) -> list[str]:
    view = visit.view
    if view is None:
        return []
    try:
        health = view.health(visit.at)
    except BadSignature:
        return []
    sentences = []
    if health.freshness == "unwitnessed":
        sentences.append("The policy asks for no witness: nobody else vouches that all see the same.")
    elif health.cosigned_at is not None and health.cosignature_age is not None:
        signed = sum(state.cosigned_at is not None for state in health.witnesses)
        sentences.append(
            f"{signed} of {len(health.witnesses)} witnesses have cosigned; a quorum by "
            f"{utc(health.cosigned_at)}, {max(0, int(health.cosignature_age))} seconds ago"
            + (", which is late." if health.freshness == "late" else ".")
        )
    for report in visit.witnesses:
        if report.error:
            sentences.append(f"Witness {report.witness.name} could not be asked itself: {report.error}.")
        elif report.lag is not None and report.lag > 0:
            sentences.append(f"Witness {report.witness.name} is {report.lag} leaves behind.")
    return sentences


def view_members(view: LogView, now: float) -> dict[str, object]:
    """The log and its health, for programs."""
    members: dict[str, object] = {
        "shards": [
            {
                "origin": shard.checkpoint.origin,
                "size": shard.checkpoint.size,
                "root": encode_base64(shard.checkpoint.root),
            }
            for shard in view.shards
        ],
        "regions": {
            region: {
                "batches": len(batches),
                "newest": batches[-1].leaf.sequence,
                "live": sum(batch.state == "live" for batch in batches),
            }
            for region, batches in view.batches.items()
        },
    }
    try:
        health = view.health(now)
    except BadSignature:
        return members
    members["quorum_met"] = health.quorum_met
    members["cosigned_at"] = health.cosigned_at
    members["freshness"] = health.freshness
    return members


def _witness_members(reports: Sequence[WitnessReport]) -> list[dict[str, object]]:
    return [
        {
            "name": report.witness.name,
            "size": report.size,
            "cosigned_at": report.cosigned_at,
            "lag": report.lag,
            "error": report.error,
        }
        for report in reports
    ]


# ---------------------------------------------------------------- progress


@contextmanager
def bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Function from a label to a `Progress`; its bar appears with the first step, on a terminal only."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console, transient=True
    )
    tasks: dict[str, int] = {}

    def of(label: str) -> Callable[[int, int], None]:
        def show_step(done: int, total: int) -> None:
            if not console.is_terminal:
                return
            if label not in tasks:
                bar.start()
                tasks[label] = int(bar.add_task(label, total=total))
            bar.update(list(bar.task_ids)[tasks[label]], completed=done, total=total)

        return show_step

    try:
        yield of
    finally:
        if tasks:
            bar.stop()


def json_line(members: Mapping[str, object]) -> str:
    """One line for a hook's standard input."""
    return json.dumps(members, ensure_ascii=False) + "\n"
