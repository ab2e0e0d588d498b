"""When and how batches go out. Every number here is public: the trust material states it."""

from dataclasses import dataclass

from registry.protocol.intervals import INTERVALS_PER_DAY, interval_at

PUBLISH_LEASE = "publish"
"""Name of the lease that everything which writes public files holds."""

PHONES_TOLERATE_SECONDS = 2 * 3600
"""How far ahead of a phone's clock an index may be issued before the phone refuses it."""


@dataclass(frozen=True, slots=True)
class PublicationPolicy:
    """Windows end at the multiples of `window_seconds`; `floor` is how many uploads a window waits for.

    `lease_seconds` must be longer than a run takes, for after it another publisher takes over.
    """

    window_seconds: int
    retention_days: int = 21
    floor: int = 1
    index_life_seconds: int = 86_400
    lease_seconds: int = 300
    keys_per_file: int = 500_000

    def last_end_retired(self, unix_seconds: float) -> int:
        """Keys that ended at or before this interval, and files with no newer ones, are forgotten."""
        return interval_at(unix_seconds) - self.retention_days * INTERVALS_PER_DAY

    def last_end_unlisted(self, unix_seconds: float) -> int:
        """Files with no key that ended after this interval are not in the index.

        They leave it a day before they go, so that a phone with an index of yesterday still finds each
        file that it names: existing apps give up a whole run at the first one that is missing.
        """
        return self.last_end_retired(unix_seconds) + INTERVALS_PER_DAY
