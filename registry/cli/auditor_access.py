"""`registry audit reconcile`: what only somebody with access to the databases can check. Reads, never writes.

Counts of both halves, every receipt against its commitment and manifest, real against decoy, every
attestation in a receipt against what is on record, and the officials' hash chains against their anchors in
the log. Prints sums and ids of batches; never a row.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import click
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from registry.cli.auditor_books import COLLECTING, ISSUING, Books, Halves
from registry.cli.auditor_report import AuditReport
from registry.cli.auditor_surroundings import Auditing, with_auditing
from registry.config import read_settings
from registry.errors import ConfigurationError, FetchFailed
from registry.models import open_database


@click.command()
@click.argument("source")
@click.option("--issuing", help="URL of the issuing database; a role that can only read is enough.")
@click.option("--collecting", help="URL of the collecting database; a role that can only read is enough.")
@click.option("--settings", "from_settings", is_flag=True, help="Take both from this machine's REGISTRY_*.")
@with_auditing
def reconcile(
    auditing: Auditing, source: str, issuing: str | None, collecting: str | None, from_settings: bool
) -> None:
    """Hold the registry's books against what SOURCE published.

    issued >= redeemed >= certified >= uploaded >= published; every receipt in its manifest, real against
    decoy; every attestation on record; officials' chains unbroken and anchored. What cannot be checked for
    want of a database is said, and then the command ends with 1.
    """
    if from_settings:
        settings = read_settings()
        issuing = issuing or settings.issuing_database_url
        collecting = collecting or settings.collecting_database_url
    opened = auditing.source(source)
    now = auditing.now(opened)
    report = AuditReport("reconcile", opened.name, now)
    view = auditing.read_whole_log(opened, report)
    books = Books(report, view, opened.read, now)
    with ExitStack() as sessions:
        halves = Halves(
            sessions.enter_context(_opened(issuing, ISSUING)) if issuing else None,
            sessions.enter_context(_opened(collecting, COLLECTING)) if collecting else None,
        )
        report.is_complete = books.check(halves)
    auditing.finish(report)


@contextmanager
def _opened(url: str, name: str) -> Iterator[Session]:
    """A session that nothing is ever committed in. The address may hold a password, so it is not repeated."""
    try:
        engine = open_database(url)
        with Session(engine) as session:
            yield session
            session.rollback()
        engine.dispose()
    except (SQLAlchemyError, ConfigurationError) as error:
        kind = type(error).__qualname__
        raise FetchFailed(
            f"{name} cannot be read ({kind}): is its address right, and may you read it?"
        ) from error
