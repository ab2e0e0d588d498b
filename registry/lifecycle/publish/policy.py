"""When and how batches go out. Every number here is public: the trust material states it."""

from dataclasses import dataclass

from registry.protocol.intervals import INTERVALS_PER_DAY, interval_at
from registry.protocol.population import PopulationModel

PUBLISH_LEASE = "publish"
"""Name of the lease that everything which writes public files holds."""

PHONES_TOLERATE_SECONDS = 2 * 3600
"""How far ahead of a phone's clock an index may be issued before the phone refuses it."""


@dataclass(frozen=True, slots=True)
class PublicationPolicy:
    """Windows end at the multiples of `window_seconds`, slots at those of `slot_seconds`.

    At a window's end a region's batch goes out if it holds `floor` uploads or more; at a slot's end every
    region's does, whatever it holds. `slot_seconds` of 0 makes every window a slot. `lease_seconds` must be
    longer than a run takes, for after it another publisher takes over.
    """

    window_seconds: int
    slot_seconds: int = 0
    retention_days: int = 21
    floor: int = 0
    index_life_seconds: int = 86_400
    population: PopulationModel | None = None
    """Whom decoy users are drawn from; None draws none, and then a batch without keys has no file."""
    lease_seconds: int = 300
    keys_per_file: int = 500_000

    def window_end(self, now: float) -> int:
        """The end of the window that ended last, unix seconds."""
        return int(now // self.window_seconds) * self.window_seconds

    def ends_slot(self, window_start: int, window_end: int) -> bool:
        """Whether the end of a slot lies in (window_start, window_end]; after downtime also a missed one."""
        slot = self.slot_seconds or self.window_seconds
        return window_end // slot > window_start // slot

    def last_end_retired(self, unix_seconds: float) -> int:
        """Keys that ended at or before this interval, and files with no newer ones, are forgotten."""
        return interval_at(unix_seconds) - self.retention_days * INTERVALS_PER_DAY

    def last_end_unlisted(self, unix_seconds: float) -> int:
        """Files with no key that ended after this interval are not in the index.

        They leave it a day before they go, so that a phone with an index of yesterday still finds each
        file that it names: existing apps give up a whole run at the first one that is missing.
        """
        return self.last_end_retired(unix_seconds) + INTERVALS_PER_DAY
