"""Day files: when a UTC day is closed, one file holds what its windows held, for phones that were away.

Made from the rows of the very shelves that the windows' files were made of, under a name of its own, once;
the windows' files stay. A day of which a window was withdrawn has none, for it would bring back what was
taken away.
"""

from itertools import groupby

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.lifecycle.publish.batches import spool_shelves
from registry.lifecycle.publish.files import Contents, file_jobs
from registry.lifecycle.publish.run import ExportKeys, Run
from registry.lifecycle.publish.side_by_side import Work
from registry.models import Batch, BatchShelf, BatchState, DayFile

DAY_SECONDS = 86_400


def finish_days(run: Run, keys: ExportKeys, region: str) -> Work:
    """Make, store and record the files of the region's closed days that have none.

    A crash leaves whole files under their names, which nothing lists and the next run adopts. Raises what
    `file_jobs` say.
    """
    due = _due_days(run.session, run, region)
    run.session.expunge_all()
    run.session.rollback()
    for windows in due:
        yield from _finish(run, keys, windows)


def days_to_come(session: Session, run: Run, region: str) -> list[list[Batch]]:
    """The published windows, oldest first, of each day of the region, closed or not, that will have a file.

    None of a day of which a window was withdrawn, which is rolled up already, or whose keys are not listed
    any more.
    """
    listed = run.policy.last_end_unlisted(run.now)
    rolled_up = select(func.coalesce(func.max(DayFile.last_sequence), -1)).where(DayFile.region == region)
    batches = session.scalars(
        select(Batch)
        .where(
            Batch.region == region,
            Batch.state == BatchState.PUBLISHED,
            Batch.sequence > rolled_up.scalar_subquery(),
        )
        .order_by(Batch.sequence)
    )
    to_come = []
    for _, of_day in groupby(batches, key=lambda batch: (batch.window_end - 1) // DAY_SECONDS):
        windows = list(of_day)
        ends = [batch.newest_key_end for batch in windows if batch.newest_key_end is not None]
        if max(ends, default=listed) > listed and not any(one.is_withdrawn for one in windows):
            to_come.append(windows)
    return to_come


def _due_days(session: Session, run: Run, region: str) -> list[list[Batch]]:
    """Those days to come that are closed: the region's newest window lies after them."""
    newest_end = session.scalar(
        select(func.max(Batch.window_end)).where(Batch.region == region, Batch.state == BatchState.PUBLISHED)
    )
    closed = (newest_end or 0) // DAY_SECONDS * DAY_SECONDS
    return [windows for windows in days_to_come(session, run, region) if windows[-1].window_end <= closed]


def _finish(run: Run, keys: ExportKeys, windows: list[Batch]) -> Work:
    first, last = windows[0], windows[-1]
    shelves = list(
        run.session.scalars(
            select(BatchShelf.shelf_id)
            .where(BatchShelf.batch_id.in_([batch.id for batch in windows]))
            .distinct()
        )
    )
    newer_than = run.policy.last_end_retired(last.window_end)
    with spool_shelves(run.session, shelves, newer_than=newer_than) as (fresh, revised):
        contents = Contents(
            region=first.region,
            start=first.window_start,
            end=last.window_end,
            sequence=first.sequence,
            last_sequence=last.sequence,
            keys=fresh,
            revised_keys=revised,
            daily=True,
        )
        files = yield file_jobs(
            run.storage, contents, keys, keys_per_file=run.policy.keys_per_file, now=run.now
        )
        newest_key_end = contents.newest_key_end
    if newest_key_end is None:
        return
    with run.fenced() as session:
        session.add_all(
            DayFile(
                path=file.path,
                region=first.region,
                sequence=first.sequence,
                last_sequence=last.sequence,
                window_start=first.window_start,
                window_end=last.window_end,
                sha256=file.sha256,
                size=file.size,
                format=file.format,
                newest_key_end=newest_key_end,
            )
            for file in files
        )
