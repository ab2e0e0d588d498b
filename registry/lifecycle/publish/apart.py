"""Regions are served apart: whatever goes wrong in one is kept until the others were served, then told."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from registry.errors import LeaseLost, LogForked, LogSetBack, Outcome, PublishingFailed


class Failures:
    """What went wrong in one run, by region; the first thing in each."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._by_region: dict[str, Exception] = {}

    def __contains__(self, region: object) -> bool:
        return region in self._by_region

    @contextmanager
    def kept(self, *regions: str) -> Iterator[None]:
        """Keep what the block raises, as the trouble of these regions.

        A lost lease ends the run, and so does a log that has been set back or forked: raised at once.
        """
        try:
            yield
        except (LeaseLost, LogForked, LogSetBack):
            raise
        except Exception as failure:  # whatever it is, it must not silence the other regions
            # The next region needs a session without half a transaction in it.
            self._session.rollback()
            self._by_region |= {region: failure for region in regions if region not in self._by_region}

    def tell(self, outcome: Outcome) -> Outcome:
        """`outcome`, when nothing went wrong. Raises PublishingFailed with it and all that did."""
        if not self._by_region:
            return outcome
        causes = ExceptionGroup("regions that were not served", list(self._by_region.values()))
        raise PublishingFailed(self._by_region, outcome) from causes
