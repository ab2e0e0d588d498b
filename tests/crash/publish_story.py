"""A registry's life, window by window, of which each publish is spoilt once, and what must come of it.

Two regions, keys of one and of both, decoy users in every window, revisions, recalls before and after the
release, keys under embargo, compact and day files, years that turn. Nothing may be lost, doubled or early, no
file may change, and whatever was spoilt, the next ordinary run mends it.
"""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise

from sqlalchemy import select

from registry.lifecycle.publish import PublicationPolicy
from registry.lifecycle.recall import recall_uploads
from registry.models import DiagnosisKey, HealthAuthority, Shelf, transaction
from registry.models.shelf import regions_of_set
from registry.protocol.export_file import ExportFile, check_export, read_zip, verify_signatures
from registry.protocol.index import EXPOSURES, legacy_index_path
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.protocol.population import WHOLE, Distribution, PopulationModel
from tests.publishing import AUTHORITY, DAY, HOUR, Published, Publishing, key_ending
from tests.transparency.public_log import PublicLog

REGIONS = ("XA", "XB")
STEP_DAYS = 6
"""From publish to publish: a day of its own for each, and decoy users of the last are still revised."""

AUTUMN_DAYS = 100
"""After the clock's June: a short story sees the year turn as well."""

POLICY = PublicationPolicy(
    window_seconds=HOUR,
    keys_per_file=20,
    floor=2,
    population=PopulationModel(extra_users=Distribution({1: WHOLE})),
)


class Onlooker:
    """Sees every file that ever lies in public: that it holds nothing early, and never changes."""

    def __init__(self, stage: Publishing, regions: Sequence[str]) -> None:
        self.stage = stage
        self.regions = regions
        self.log = PublicLog(stage.storage, stage.log)
        self.digests: dict[str, str] = {}
        self.published: dict[str, Published] = {region: Counter() for region in regions}
        """By region, how often each (key, as a revision) lies in the windows' zips."""

    def look(self) -> None:
        """As a phone does that polls right now: what the indexes name is there, verifies and agrees.

        A file is verified when it is first seen; from then on it must not change.
        """
        there = [name for name in self.stage.storage.names(EXPOSURES) if name.endswith((".zip", ".compact"))]
        for name in there:
            content = self.stage.fetch(name)
            digest = sha256(content).hexdigest()
            if name not in self.digests and name.endswith(".zip") and "/daily/" not in name:
                export, signed, signatures = read_zip(content)
                verify_signatures(signed, signatures, self.stage.trusted())
                check_export(export, now=self.stage.clock())
                self._count(export)
            assert self.digests.setdefault(name, digest) == digest, f"{name} has changed"
        for region in self.regions:
            if self.stage.storage.read(legacy_index_path(region)) is not None:
                assert {f"{EXPOSURES}/{name}" for name in self.stage.names(region)} <= set(there)
                self.log.check_phone(region)
                index = self.stage.index(region)
                for newest in (*index.windows[-1:], *index.days[-1:]):
                    self.stage.held(newest.files)

    def _count(self, file: ExportFile) -> None:
        published = self.published[file.region]
        for key in (*file.keys, *file.revised_keys):
            release = key.end_interval_number + EMBARGO_INTERVALS
            assert release <= min(interval_at(file.end_timestamp), interval_at(self.stage.clock())), "early"
        published.update((key.key_data, False) for key in file.keys)
        published.update((key.key_data, True) for key in file.revised_keys)


class Story:
    """What happens before each publish on `stage`, how it is mended, and what must have come of it all."""

    def __init__(self, stage: Publishing) -> None:
        self.stage = stage
        self.onlooker = Onlooker(stage, REGIONS)
        self.wanted: dict[str, Published] = {region: Counter() for region in REGIONS}
        self._people: set[bytes] = set()
        """The keys that people uploaded; all others are decoy users'."""
        self._mended = 0
        self._to_revise: TemporaryExposureKey | None = None
        self._to_recall: list[tuple[bytes, Sequence[TemporaryExposureKey]]] = []
        """(handle, those of its keys that have left by the next window)."""
        stage.clock.advance(AUTUMN_DAYS * DAY)
        with transaction(stage.new_session()) as session:
            session.get_one(HealthAuthority, AUTHORITY.id).regions = list(REGIONS)

    def prepare(self, at: int) -> None:
        """Go on to the next window, and let there be everything that publishing deals with."""
        self.stage.clock.advance(STEP_DAYS * DAY - self.stage.clock() % HOUR)
        self._take_back()
        end = interval_at(self.stage.clock()) - EMBARGO_INTERVALS
        alone = [key_ending(end, 10 * at + number) for number in range(3)]
        shared = [key_ending(end, 10 * at + number) for number in range(3, 5)]
        young = [key_ending(end + 1, 10 * at + 5)]
        recalled = [key_ending(end + 1, 10 * at + 6)]
        left, waiting = (bytes([which]) + at.to_bytes(15) for which in range(2))
        self._upload(alone, REGIONS[:1])
        self._upload(shared, REGIONS, left)
        self._upload(young, REGIONS)
        self._upload(recalled, REGIONS, waiting, leaves=False)
        self._to_revise = alone[0]
        self._to_recall = [(left, shared), (waiting, [])]

    def mend(self) -> None:
        """The spoilt process is gone: look, let another publish, look again."""
        self.onlooker.look()
        self.stage.clock.advance(POLICY.lease_seconds)
        self.stage.publish(regions=REGIONS, policy=POLICY, holder="second")
        self.onlooker.look()
        self._mended += 1
        if self._mended % 8 == 0:
            # Or there would be hundreds of files to look at. Only now: a day's file is made of keys that are
            # still there.
            self.stage.retire(policy=POLICY)

    def end(self, runs: int) -> None:
        """All that was to leave has left, once, in its regions; and rows, files and indexes agree."""
        self.stage.clock.advance(2 * DAY)
        self._take_back()
        self.stage.publish(regions=REGIONS, policy=POLICY)
        self.onlooker.look()
        self.onlooker.log.check(*REGIONS)
        for region in REGIONS:
            of_people = Counter(
                {
                    what: times
                    for what, times in self.onlooker.published[region].items()
                    if what[0] in self._people
                }
            )
            assert of_people == self.wanted[region]
            windows = self.stage.batches(region)
            assert windows[-1].sequence == runs + 1
            assert all(before.window_end == after.window_start for before, after in pairwise(windows))
        self._check_decoys()
        self.stage.retire(policy=POLICY)
        # A file that has just left the index is kept for a day, for phones that hold the old index.
        self.stage.clock.advance(DAY)
        self.stage.retire(policy=POLICY)
        for region in REGIONS:
            self.stage.check_agreement(region)

    def _take_back(self) -> None:
        if self._to_revise is not None:
            self.stage.revise(self._to_revise, ReportType.REVOKED)
            self._want([self._to_revise], REGIONS[:1], is_revised=True)
        handles = [handle for handle, _ in self._to_recall]
        with transaction(self.stage.new_session()) as session:
            recall_uploads(session, handles, self.stage.clock())
        for _, keys in self._to_recall:
            self._want(keys, REGIONS, is_revised=True)
        self._to_revise, self._to_recall = None, []

    def _upload(
        self,
        keys: Sequence[TemporaryExposureKey],
        regions: Sequence[str],
        handle: bytes | None = None,
        *,
        leaves: bool = True,
    ) -> None:
        self.stage.collect(keys, regions=regions, handle=handle)
        self._people.update(key.key_data for key in keys)
        if leaves:
            self._want(keys, regions)

    def _want(
        self, keys: Sequence[TemporaryExposureKey], regions: Sequence[str], *, is_revised: bool = False
    ) -> None:
        for region in regions:
            self.wanted[region].update((key.key_data, is_revised) for key in keys)

    def _check_decoys(self) -> None:
        """Each once, in its regions alone; none that left is missing, revisions are of keys that left."""
        seen, of_both = (
            {what: times for what, times in published.items() if what[0] not in self._people}
            for published in self.onlooker.published.values()
        )
        # No keys go out in the second region alone.
        assert of_both.items() < seen.items()
        assert set(seen.values()) == {1}
        assert any(is_revised for _, is_revised in of_both)
        assert all((key, False) in seen for key, _ in seen)
        assert all((key, False) in of_both for key, _ in of_both)
        with self.stage.new_session() as session:
            rows = session.execute(
                select(DiagnosisKey.key_data, Shelf.region_set)
                .join(Shelf, Shelf.id == DiagnosisKey.shelf_id)
                .where(Shelf.window_end.is_not(None))
            )
            for key_data, region_set in rows:
                for region, published in self.onlooker.published.items():
                    assert ((key_data, False) in published) == (region in regions_of_set(region_set))
