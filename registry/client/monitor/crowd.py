"""What export files show of the people in them, to whoever tries to count them: batches, traces, features.

Attackers' means, all of them published: a user's keys share report type, risk and day of onset, and there is
one of them a day. Belongs to nobody's phone; reads decoded files and knows no secret.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from registry.client.monitor.windows_at_hand import makings, windows_at_hand
from registry.protocol.export_file import ExportFile
from registry.protocol.intervals import EMBARGO_INTERVALS, INTERVALS_PER_DAY, interval_at
from registry.protocol.keys import MAX_ROLLING_PERIOD, ReportType, TemporaryExposureKey

Metadata = tuple[int, int, int, ReportType, int | None]
"""Start, period, risk, report type, days since onset: all that is said of a key."""

Days = Counter[int]
"""How many keys a UTC day (interval number // 144)."""

DAY_SECONDS = 86_400


def metadata_of(key: TemporaryExposureKey) -> Metadata:
    """All that is said of a key but the key itself."""
    return (
        key.rolling_start_interval_number,
        key.rolling_period,
        key.transmission_risk_level,
        key.report_type,
        key.days_since_onset_of_symptoms,
    )


@dataclass(frozen=True, slots=True)
class Trace:
    """What all keys of one user have in common. Many users may share it. Days are UTC days since 1970."""

    report_type: ReportType
    risk: int
    onset_day: int | None


def traces_of(classes: Mapping[Metadata, int]) -> dict[Trace, Days]:
    """Keys a day, by trace. `classes` says how many keys there are of each metadata."""
    traces: dict[Trace, Days] = defaultdict(Counter)
    for (start, _period, risk, report_type, since_onset), count in classes.items():
        day = start // INTERVALS_PER_DAY
        onset = None if since_onset is None else day - since_onset
        traces[Trace(report_type, risk, onset)][day] += count
    return dict(traces)


def users_in(traces: Mapping[Trace, Days]) -> int:
    """The fewest users that leave these traces: of each as many as it has keys on its busiest day."""
    return sum(max(days.values()) for days in traces.values())


@dataclass(frozen=True, slots=True)
class Feature:
    """What is seen of one user in the file of its upload: days from onset to upload, age of the oldest key.

    None is an onset that the file does not say.
    """

    report_type: ReportType
    risk: int
    lag: int | None
    oldest: int


@dataclass(frozen=True, slots=True)
class SeenBatch:
    """The files of one window, of every feed and every regeneration that is at hand.

    It gathers uploads from `since` on, where the last file before it ends; the window itself may be shorter,
    for those between had no file. `cut` counts newest keys, of any file at hand, that a phone cut short in
    the first and in the second half of that time; None unless files late enough to hold them all are at hand.
    """

    window_start: int
    window_end: int
    since: int
    feeds: Mapping[str, tuple[frozenset[bytes], ...]]
    """By region, key bytes of each time that its window was made: once, but for a regeneration."""
    keys: tuple[TemporaryExposureKey, ...]
    revised: tuple[TemporaryExposureKey, ...]
    cut: tuple[int, int] | None

    @property
    def upload_day(self) -> int:
        """The UTC day in which the window ends."""
        return interval_at(self.window_end - 1) // INTERVALS_PER_DAY

    def classes(self) -> Counter[Metadata]:
        """How many keys there are of each metadata."""
        return Counter(map(metadata_of, self.keys))

    def fresh(self, classes: Mapping[Metadata, int]) -> dict[Metadata, int]:
        """Those of `classes` whose keys were uploaded since the last file for certain.

        Their embargo was over before that, so they would have left with it.
        """
        settled = interval_at(self.since) - EMBARGO_INTERVALS
        return {kind: count for kind, count in classes.items() if kind[0] + kind[1] <= settled}

    def features(self) -> Counter[Feature]:
        """The users that `users_in` counts, by what is seen of each.

        A user's days have no gap, so the oldest days of the users on one trace follow from its keys a day.
        """
        found: Counter[Feature] = Counter()
        for trace, days in traces_of(self.fresh(self.classes())).items():
            lag = None if trace.onset_day is None else self.upload_day - trace.onset_day
            reaching = 0
            for day in sorted(days):
                if days[day] > reaching:
                    feature = Feature(trace.report_type, trace.risk, lag, self.upload_day - day)
                    found[feature] += days[day] - reaching
                    reaching = days[day]
        return found


def see(files: Sequence[ExportFile]) -> list[SeenBatch]:
    """The batches of these files by their windows, oldest first. A file twice counts once."""
    cut_at = _cuts(files)
    latest = max((file.end_timestamp for file in files), default=0)
    batches: list[SeenBatch] = []
    for (start, end), found in windows_at_hand(files):
        since = _gathered_since(start, {file.region for file in found}, batches)
        cut = None
        if interval_at(latest) >= interval_at(end) + EMBARGO_INTERVALS + 1:
            counts = [cut_at[interval] for interval in range(interval_at(since), interval_at(end - 1) + 1)]
            cut = (sum(counts[: len(counts) // 2]), sum(counts[len(counts) // 2 :]))
        keys = tuple(_by_bytes(key for file in found for key in file.keys))
        revised = tuple(_by_bytes(key for file in found for key in file.revised_keys))
        batches.append(SeenBatch(start, end, since, _feeds(found), keys, revised, cut))
    return batches


def _gathered_since(start: int, regions: Set[str], earlier: Sequence[SeenBatch]) -> int:
    """Where the region's last file before this window ends, if one of the last day is at hand."""
    ends = [batch.window_end for batch in earlier if regions & batch.feeds.keys()]
    return max((end for end in ends if start - DAY_SECONDS < end <= start), default=start)


def _cuts(files: Iterable[ExportFile]) -> Counter[int]:
    """How many keys were cut short in each interval: it is the last one of their validity."""
    keys = _by_bytes(key for file in files for key in file.keys)
    return Counter(key.end_interval_number - 1 for key in keys if key.rolling_period < MAX_ROLLING_PERIOD)


def _by_bytes(keys: Iterable[TemporaryExposureKey]) -> list[TemporaryExposureKey]:
    return list({key.key_data: key for key in keys}.values())


def _feeds(files: Sequence[ExportFile]) -> dict[str, tuple[frozenset[bytes], ...]]:
    by_region: dict[str, list[frozenset[bytes]]] = defaultdict(list)
    for file in files:
        by_region[file.region].append(frozenset(key.key_data for key in file.keys))
    return {region: makings(parts) for region, parts in by_region.items()}
