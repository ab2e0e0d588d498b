"""`registry why` and `registry republish --check`: what became of a key, and whether files are still true."""

import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy.orm import Session, sessionmaker

from registry.app import check_folder, publication_policy
from registry.cli.faults import told_plainly
from registry.config import Settings, read_settings
from registry.lifecycle.publish.comparing import Rebuilt
from registry.lifecycle.publish.explain import Explanation, Publication, Stay, explain
from registry.lifecycle.publish.rebuild import rebuild_all
from registry.models import open_database
from registry.public_files import public_storage

NAME_BYTES = 32


@click.command()
@click.argument("name", metavar="KEY-HASH|UPLOAD")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of words.")
@told_plainly
def why(name: str, as_json: bool) -> None:
    """Where a key or an upload is, and why.

    KEY-HASH is the SHA-256 of a key's 16 bytes, UPLOAD the commitment of its receipt; both in hexadecimal.
    Exit code 1 if nothing is known under it.
    """
    settings = read_settings()
    check_folder(settings)
    with Session(open_database(settings.collecting_database_url)) as session:
        found = explain(
            session,
            public_storage(settings),
            _read_name(name),
            policy=publication_policy(settings),
            now=time.time(),
        )
    if as_json:
        click.echo(json.dumps(None if found is None else asdict(found)))
    elif found is not None:
        for line in explained(found):
            click.echo(line)
    if found is None:
        raise click.ClickException(
            "nothing is known under it: it never came, was refused, or its retention is over"
        )


@click.command()
@click.option("--check", is_flag=True, required=True, help="Compare, and change nothing.")
@told_plainly
def republish(check: bool) -> None:  # without it click refuses: there is nothing else to do
    """Make every published file once more from the rows and compare it, byte for byte, with the one there.

    Its signatures are verified, and it must be the file that is on record. Exit code 1 if one differs.
    """
    settings = read_settings()
    check_folder(settings)
    results = _rebuilt(settings)
    faults = [one for one in results if one.fault]
    for one in faults:
        click.echo(f"{one.path} {one.fault}")
    partial = sum(one.partial and not one.fault for one in results)
    note = f", {partial} of them as far as their keys are kept" if partial else ""
    click.echo(f"{len(results) - len(faults)} of {len(results)} files are what the rows make{note}.")
    if faults:
        click.echo("Keep database and files as they are, and look at who could change either.", err=True)
        sys.exit(1)


def _rebuilt(settings: Settings) -> list[Rebuilt]:
    columns = (TextColumn("Files"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("files", total=None)
        return list(
            rebuild_all(
                sessionmaker(open_database(settings.collecting_database_url)),
                public_storage(settings),
                policy=publication_policy(settings),
                clock=time.time,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        )


def _read_name(name: str) -> bytes:
    try:
        content = bytes.fromhex(name)
    except ValueError:
        content = b""
    if len(content) != NAME_BYTES:
        raise click.BadParameter("takes 64 hexadecimal digits", param_hint="KEY-HASH|UPLOAD")
    return content


def explained(found: Explanation) -> list[str]:
    """The same in words, a line each."""
    if not found.stays:
        return [f"This {found.what} goes out nowhere: no region takes it, or it was taken back in time."]
    lines = [line for stay in found.stays for line in _stay(found.what, stay)]
    if found.receipt_window is not None:
        region, sequence = found.receipt_window
        lines.append(f"Its receipt went with window {sequence} of {region}.")
    if found.what == "upload":
        lines += [
            "Which keys are this upload's is kept nowhere: this is of the first of them, as they came.",
            "If they were recalled in time, they are in no file. Keys that were valid still leave later,",
            "by themselves: ask for one of them by its SHA-256.",
        ]
    return lines


def _stay(what: str, stay: Stay) -> list[str]:
    subject = f"The revision of this {what}" if stay.is_revision else f"This {what}"
    lines = [f"{subject} is for {', '.join(stay.regions)}."]
    if stay.embargo_ends is not None:
        lines.append(f"  Its embargo ends, or ended, at {_time(stay.embargo_ends)}.")
    whose = "Its first keys wait: they leave" if what == "upload" else "It waits: it leaves"
    if stay.earliest is not None and stay.latest is not None:
        lines.append(
            f"  {whose} at {_time(stay.earliest)} if there are enough uploads by then, and at "
            f"{_time(stay.latest)} in any case."
        )
    if what == "upload" and stay.publications:
        lines.append("  Its first keys left, or were to leave, in")
    return lines + [line for one in stay.publications for line in _published(what, one)]


def _published(what: str, one: Publication) -> list[str]:
    lines = [
        f"  {one.region}: window {one.sequence}, {_time(one.start)} to {_time(one.end)}, {one.state}"
        + ("" if one.log_number is None else f", leaf {one.log_number} of the log")
    ]
    if what == "upload":
        where = {0: "in no file: there is none", 1: "in this file, unless recalled:"}
        some = f"in some of these {len(one.files)} files, unless recalled:"
        lines.append(f"    {where.get(len(one.files), some)}")
    for file in one.files:
        lines.append(
            ("      " if what == "upload" else "    in ")
            + file.path
            + (f", signed by {', '.join(file.signers)}" if file.signers else "")
        )
    return lines


def _time(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
