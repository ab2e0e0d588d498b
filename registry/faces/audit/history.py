"""What the charts show: batches, keys, sizes and delays by the UTC day of the window's end."""

from collections.abc import Callable
from datetime import UTC, date, datetime

from flask_babel import gettext as _

from registry.faces.audit.record import Record
from registry.faces.audit.wording import delay, number, size
from registry.faces.pages.charts import Chart, Series, by_day, days_to, median
from registry.faces.pages.language import page_language

Daily = dict[date, list[float]]


def charts(record: Record, now: float) -> list[Chart]:
    """The four charts, over the newest days of the log; drawn once for each reading, day and language."""
    key = (_day(now), page_language())
    if key not in record.charts:
        record.charts[key] = _drawn(record, now)
    return record.charts[key]


def _drawn(record: Record, now: float) -> list[Chart]:
    ends = [_day(batch.leaf.window_end) for batch in record.batches]
    days = days_to(_day(now), min(ends, default=None))
    kept = [
        (_day(batch.leaf.window_end), manifest)
        for batch in record.batches
        if (manifest := record.manifest(batch)) is not None
    ]
    some = by_day(days, ((day, 1) for day, manifest in kept if manifest.files))
    none = by_day(days, ((day, 1) for day, manifest in kept if not manifest.files))
    gone = by_day(days, _unknown(record))
    keys = by_day(days, ((day, manifest.key_count) for day, manifest in kept))
    sizes = by_day(days, ((day, file.size) for day, manifest in kept for file in manifest.files))
    delays = by_day(
        days,
        (
            (_day(batch.leaf.window_end), max(0, batch.published_at - batch.leaf.window_end))
            for batch in record.batches
            if batch.published_at is not None
        ),
    )
    return [
        Chart(
            "batches",
            _("Batches a day"),
            _("How many windows were sealed on each day, in all regions."),
            days,
            (
                _series(_("with keys"), days, some, sum),
                _series(_("without keys"), days, none, sum),
                _series(_("no longer kept"), days, gone, sum),
            ),
            number,
        ),
        Chart(
            "keys",
            _("Keys a day, decoys included"),
            _("How many keys the files of each day hold. Decoys are among them and cannot be told apart."),
            days,
            (_series(_("keys"), days, keys, sum),),
            number,
        ),
        Chart(
            "sizes",
            _("File sizes a day"),
            _("All files of each day together, and the largest of them."),
            days,
            (_series(_("all files"), days, sizes, sum), _series(_("largest file"), days, sizes, _most)),
            size,
            is_stacked=False,
        ),
        Chart(
            "delays",
            _("From a window’s end to its publication"),
            _("The longest delay of each day, and the one in the middle."),
            days,
            (_series(_("longest"), days, delays, _most), _series(_("median"), days, delays, median)),
            delay,
            is_stacked=False,
        ),
    ]


def _unknown(record: Record) -> list[tuple[date, float]]:
    return [(_day(batch.leaf.window_end), 1) for batch in record.batches if record.manifest(batch) is None]


def _series(name: str, days: tuple[date, ...], daily: Daily, total: Callable[[list[float]], float]) -> Series:
    return Series(name, tuple(float(total(daily[day])) for day in days))


def _most(numbers: list[float]) -> float:
    return max(numbers, default=0)


def _day(unix_seconds: float) -> date:
    # A window that ends at midnight belongs to the day that it closes.
    return datetime.fromtimestamp(unix_seconds - 1, UTC).date()
