"""What `registry phone` says of an upload, a poll and a change of keys, and the bar while files are fetched.

Writes to the terminal and decides nothing. Words of the registry's are made printable before they are shown.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from registry.client import PollReport, UploadReceipt
from registry.client.poll import Progress as PollProgress
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
    """What a poll brought, in the words of `PHONE_TEXTS`; failures go to standard error."""
    if report.key_change:
        show_key_change(report.key_change, texts)
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
        words = printable(str(failure.error))
        click.echo(f"{failure.path}: {type(failure.error).__name__}: {words}", err=True)
    if report.files_unread:
        click.echo(texts["unread"].format(count=report.files_unread), err=True)
    if report.retry_at is not None:
        click.echo(texts["pause"].format(time=_utc(report.retry_at)), err=True)
    click.echo(texts["next"].format(time=_utc(report.next_poll_at)))


def show_key_change(change: KeyChange, texts: Mapping[str, str]) -> None:
    """Which of the registry's keys came and went."""
    added, removed = (
        printable(", ".join(names)) or texts["none"] for names in (change.added, change.removed)
    )
    click.echo(texts["keys_changed"].format(added=added, removed=removed))


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
