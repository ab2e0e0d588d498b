"""What `registry phone` says of what it did, and the bar while files are fetched.

Writes to the terminal and decides nothing. Words of the registry's are made printable before they are shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from registry.client import Evidence, PollReport, SetUp, UploadReceipt
from registry.client.files import Progress as PollProgress
from registry.client.poll import Failure
from registry.client.texts import printable
from registry.client.trust import KeyChange


def show_receipt(receipt: UploadReceipt, texts: Mapping[str, str]) -> None:
    """What the registry took in, in the words of `UPLOAD_TEXTS`."""
    click.echo(texts["done"].format(count=receipt.keys_taken))
    if receipt.keys_taken:
        click.echo(texts["published"])
    if receipt.changed_earlier:
        click.echo(texts["changed"])
    if receipt.partial:
        click.echo(texts["partial"].format(reason=receipt.partial))
    for warning in receipt.warnings:
        click.echo(warning)


@contextmanager
def progress_bar() -> Iterator[PollProgress]:
    """A function to tell of each file; the bar appears with the first one."""
    bar = Progress(TextColumn("files"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True))
    task = bar.add_task("files", total=None)
    with ExitStack() as shown:

        def show(done: int, total: int) -> None:
            if not bar.live.is_started:
                shown.enter_context(bar)
            bar.update(task, completed=done, total=total)

        yield show


def show_report(report: PollReport, texts: Mapping[str, str]) -> None:
    """What a poll brought, in the words of `PHONE_TEXTS`; failures and warnings go to standard error."""
    if report.key_change:
        show_key_change(report.key_change, texts)
    _show_proof(report, texts)
    if report.good and not report.files_read:
        click.echo(texts["nothing_new"])
    else:
        click.echo(texts["read"].format(files=report.files_read, keys=report.keys_read))
    met = sorted({exposure.day.isoformat() for exposure in report.exposures})
    if met:
        click.echo(texts["met"].format(days=", ".join(met)))
    if report.withdrawn:
        click.echo(texts["withdrawn"].format(count=report.withdrawn))
    for failure in report.failures:
        click.echo(_words(failure), err=True)
    for warning in report.warnings:
        click.echo(texts["warning"].format(words=_words(warning)), err=True)
    if report.files_unread:
        click.echo(texts["unread"].format(count=report.files_unread), err=True)
    if report.retry_at is not None:
        click.echo(texts["pause"].format(time=_utc(report.retry_at)), err=True)
    click.echo(texts["next"].format(time=_utc(report.next_poll_at)))


def _show_proof(report: PollReport, texts: Mapping[str, str]) -> None:
    proof = report.proof
    if not report.is_proven or proof is None:
        if report.good:
            click.echo(texts["not_proven"])
        return
    if proof.head.cosigned_at is None:
        time = _utc(proof.leaf.issued_at)
        click.echo(texts["proven_alone"].format(size=proof.head.size, time=time))
        return
    click.echo(
        texts["proven"].format(
            size=proof.head.size,
            cosigned=proof.cosigned,
            witnesses=proof.witnesses,
            time=_utc(proof.head.cosigned_at),
        )
    )


def _words(failure: Failure) -> str:
    return f"{failure.path}: {type(failure.error).__name__}: {printable(str(failure.error))}"


def show_fingerprint(result: SetUp, texts: Mapping[str, str]) -> None:
    """Whose keys the phone believes from now on, and whether somebody compared that."""
    click.echo(texts["fingerprint"].format(fingerprint=result.fingerprint))
    if result.compared is False:
        click.echo(texts["not_compared"])


def show_evidence(found: Sequence[Evidence], texts: Mapping[str, str]) -> None:
    """Each piece as it came, notes and proofs to the line, so that signatures in it can be verified."""
    if not found:
        click.echo(texts["no_evidence"])
        return
    for piece in found:
        words = printable(piece.words, longest=4_000)
        click.echo(texts["evidence"].format(time=_utc(piece.found_at), kind=piece.kind, words=words))
        for name, content in (("believed", piece.believed), ("offered", piece.offered)):
            if content is not None:
                click.echo(f"\n{texts[name]}\n")
                for line in content.decode(errors="replace").split("\n")[:-1]:
                    click.echo(printable(line, longest=len(line)))
        click.echo()
    click.echo(texts["evidence_advice"])


def show_key_change(change: KeyChange, texts: Mapping[str, str]) -> None:
    """Which of the registry's keys came and went."""
    added, removed = (
        printable(", ".join(names)) or texts["none"] for names in (change.added, change.removed)
    )
    click.echo(texts["keys_changed"].format(added=added, removed=removed))


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
