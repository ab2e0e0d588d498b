"""A registry's folder just before a publish that has everything to do, made once and copied cheaply.

Two regions, one witness of our own, a log that a publish takes across a full tile; and due in it: uploaded
keys, a withdrawn batch, a new export key with new trust material. A phone has polled, and remembers.
"""

import base64
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import select
from werkzeug.test import Client

from registry.app import begin_own_witness
from registry.client import Enrolment, Phone
from registry.client.transport import Answer
from registry.config import Settings, read_settings
from registry.errors import FetchFailed, Malformed
from registry.faces.witness import WitnessFace, create_witness_app
from registry.models import (
    Batch,
    ExportFile,
    ExportSigningKey,
    HealthAuthority,
    Withdrawal,
    forget_journal,
    transaction,
)
from registry.models.log import newest_shard, sequenced_size
from registry.protocol.export_file import read_zip
from registry.protocol.index import EXPOSURES, GAEN_ZIP, TRUST_PATH
from registry.protocol.note import decode_vkey
from registry.protocol.tiles import WIDTH
from registry.protocol.trust import decode_trust
from registry.protocol.witness_policy import PolicyGroup, PolicyWitness, WitnessPolicy
from registry.publisher import Publisher, publisher
from registry.storage.local import LocalStorage
from registry.transparency.witnesses import SendToWitness, WitnessAnswer
from registry.witness.cosigner import Witness
from tests.app_of_old import fresh_keys
from tests.clock import FakeClock
from tests.publishing import new_signer
from tests.world import World

REGIONS = ["XA", "XB"]
HOLDER = "publisher"
HOUR = 3600
DAY = 86_400
UPLOADS = 2
"""Hours in which somebody uploads, before the last one."""
BASE_URL = "https://keys.example"
WITNESS_URL = "http://witness.example/witness"
TO_COME = 6
"""Leaves of the publish that is prepared: key, trust material, withdrawal, two batches, index."""


@dataclass(frozen=True)
class Place:
    """A registry's folder and databases at the moment `now`, unix seconds."""

    folder: Path
    issuing_url: str
    collecting_url: str
    now: float

    @classmethod
    def on_sqlite(cls, folder: Path, now: float) -> "Place":
        """Both databases lie in the folder too."""
        return cls(
            folder,
            f"sqlite:///{folder / 'issuing.sqlite'}",
            f"sqlite:///{folder / 'collecting.sqlite'}",
            now,
        )

    @property
    def settings(self) -> Settings:
        return replace(
            read_settings(),
            profile="demo",
            data_dir=self.folder,
            issuing_database_url=self.issuing_url,
            collecting_database_url=self.collecting_url,
            window_seconds=HOUR,
            answer_hold_milliseconds=0,
        )

    @property
    def public(self) -> LocalStorage:
        """The public files."""
        return LocalStorage(self.settings.public_dir)

    @property
    def witness_settings(self) -> Settings:
        """Of another authority, which witnesses our log. Its folder is in ours only to be copied along."""
        return replace(self.settings, data_dir=self.folder / "peer")

    @property
    def witness(self) -> Witness:
        """That authority's witness; begun when it is first asked for."""
        self.witness_settings.keys_dir.mkdir(parents=True, exist_ok=True)
        return begin_own_witness(self.witness_settings, "peer.invalid/witness")

    def publisher(
        self,
        *,
        clock: FakeClock | None = None,
        around_witness: Callable[[SendToWitness], SendToWitness] = lambda send: send,
    ) -> Publisher:
        """As the publishing process is put together, but that the witness is asked without a network."""
        clock = clock or FakeClock(self.now)
        own = self.witness
        client = Client(create_witness_app(WitnessFace(lambda: own, clock)))

        def send(url: str, body: bytes) -> WitnessAnswer:
            if not url.startswith(WITNESS_URL):
                raise FetchFailed(f"nobody is at {url}")
            answer = client.post(urlsplit(url).path, data=body)
            kind = answer.headers.get("Content-Type", "")
            return WitnessAnswer(answer.status_code, kind, answer.get_data())

        made = publisher(self.settings, clock, holder=HOLDER)
        witness = PolicyWitness("peer", own.keys[0], WITNESS_URL)
        policy = WitnessPolicy((), (witness,), (PolicyGroup("all", 1, ("peer",)),), "all")
        return replace(made, log=replace(made.log, policy=policy, send=around_witness(send)))

    def phone(self) -> Phone:
        """The phone that polls here, with all that it remembers."""
        randomness = random.Random(7)
        return Phone.open(
            self.folder / "phone.sqlite",
            FolderTransport(self.public),
            clock=FakeClock(self.now),
            random_bytes=randomness.randbytes,
        )


@dataclass(frozen=True)
class FolderTransport:
    """A phone's transport that reads the public folder as a plain web server would."""

    public: LocalStorage

    def get(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        try:
            content = self.public.read(urlsplit(url).path.lstrip("/"))
        except Malformed:
            content = None
        return Answer(404, {}, b"") if content is None else Answer(200, {}, content)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> Answer:
        raise AssertionError(f"{url}: a phone that polls sends nothing")


@dataclass(frozen=True)
class Prepared:
    """A place that is ready, and what must come out of it: every one of `keys`, once, in every region.

    But for those in the file `withdrawn`, by its path in the public folder: it has been taken back.
    """

    place: Place
    keys: frozenset[bytes]
    withdrawn: str
    withdrawn_keys: frozenset[bytes]
    size: int
    """Leaves that are signed, fewer than a full tile's."""


def prepare_place(place: Place) -> Prepared:
    """Make the registry, in an empty folder and on empty databases, and live through some hours of it."""
    clock = FakeClock(place.now)
    world = World(place.folder, place.issuing_url, place.collecting_url, clock)
    keys: set[bytes] = set()

    def upload() -> None:
        made = fresh_keys(clock(), 3, today=False)
        answer = world.app().upload(world.issue()["code"], made)
        assert answer.status == 200, answer.body
        keys.update(base64.b64decode(key["key"]) for key in made)

    def next_window() -> None:
        clock.advance(HOUR)
        made.publish()

    _let_witness_know(place)
    made = place.publisher(clock=clock)
    with made.new_session() as session, transaction(session):
        session.scalars(select(HealthAuthority)).one().regions = REGIONS
    made.publish()
    for _ in range(UPLOADS):
        upload()
        next_window()
    _grow(made, clock, next_window)
    with replace(place, now=clock()).phone() as phone:
        phone.set_up(Enrolment(BASE_URL, region=REGIONS[0], demonstration=True), confirm=lambda _: True)
        assert phone.poll().is_proven
    upload()
    withdrawn = _take_back_oldest_file(made)
    _announce_export_keys(made, 1, clock() + 100 * DAY)
    clock.advance(HOUR)
    size = _signed_size(made)
    assert size <= WIDTH < size + TO_COME
    for engine in (made.issuing_engine, made.collecting_engine):
        forget_journal(engine)
        engine.dispose()
    taken_back = frozenset(key.key_data for key in read_zip(_there(place, withdrawn))[0].keys)
    return Prepared(replace(place, now=clock()), frozenset(keys), withdrawn, taken_back, size)


def _grow(made: Publisher, clock: FakeClock, next_window: Callable[[], object]) -> None:
    """Let keys without number come and go, each of which leaves two leaves, until a full tile is near."""
    windows = 2 * (len(REGIONS) + 2)  # their batches, and each time trust material and an index
    count = (WIDTH - TO_COME // 2 - windows - _signed_size(made)) // 2
    # A key is named for 22 days after its end: these until the window after the next.
    _announce_export_keys(made, count, clock() + 1.5 * HOUR - 22 * DAY)
    next_window()
    next_window()


def _let_witness_know(place: Place) -> None:
    for vkey in decode_trust(_there(place, TRUST_PATH)).log_vkeys:
        place.witness.add_log(decode_vkey(vkey))


def _there(place: Place, path: str) -> bytes:
    content = place.public.read(path)
    assert content is not None
    return content


def _signed_size(made: Publisher) -> int:
    with made.new_session() as session:
        shard = newest_shard(session)
        assert shard is not None
        assert shard.size == shard.published_size == sequenced_size(session, shard.year)
        return shard.size


def _take_back_oldest_file(made: Publisher) -> str:
    with made.new_session() as session, transaction(session):
        oldest = (
            select(Batch, ExportFile.path)
            .join(ExportFile)
            .where(ExportFile.format == GAEN_ZIP)
            .order_by(Batch.window_end, Batch.region, ExportFile.file_number)
        )
        batch, path = session.execute(oldest.limit(1)).one()
        batch.is_withdrawn = True
        session.add(
            Withdrawal(
                region=batch.region,
                sequence=batch.sequence,
                reason="error",
                salt=bytes(32),
                reference="Samples were mixed up.",
            )
        )
    return f"{EXPOSURES}/{path}"


def _announce_export_keys(made: Publisher, count: int, until: float) -> None:
    """Keys that the trust material names from the next publish on, and that sign nothing yet."""
    announced = [new_signer(key_version=f"{int(until)}-{number}") for number in range(count)]
    with made.new_session() as session, transaction(session):
        session.add_all(
            ExportSigningKey(
                key_id=key.key_id,
                key_version=key.key_version,
                public_key_pem=key.public_key_pem,
                not_before=int(until) - DAY,
                not_after=int(until),
            )
            for key in announced
        )
