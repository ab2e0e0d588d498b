"""A registry on a stage: the real publisher, in a folder of its own, with stand-ins for every key.

What a rehearsal plays on. It holds nothing of the registry that runs, cannot sign in its name and speaks
to nobody: no network, no witness, no token. Its clock is moved by hand.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

from sqlalchemy.orm import Session

from registry.app import publisher
from registry.cli.first_run import prepare
from registry.cli.rotation import ExportKey, RotationPlan, carry_out
from registry.client import Answer
from registry.client.failures import TooLarge
from registry.config import Settings
from registry.errors import ConfigurationError, NoLiveSigner
from registry.lifecycle.shelves import NOW, open_shelves
from registry.migrations import upgrade
from registry.models import DiagnosisKey, ExportSigningKey, open_database, transaction
from registry.models.diagnosis_key import RECALL_TAG_BYTES
from registry.protocol.index import (
    EXPOSURES,
    TRUST_PATH,
    IndexWindow,
    decode_index,
    decode_legacy_index,
    index_path,
    legacy_index_path,
)
from registry.protocol.intervals import INTERVALS_PER_DAY, day_start, interval_at
from registry.protocol.keys import KEY_BYTES, ReportType
from registry.signing import Signer
from registry.signing.keyring import FilesKeyRing
from registry.storage.local import LocalStorage

STAGE_URL = "https://rehearsal.invalid"


@dataclass
class StageClock:
    """A `Clock` that stands still until it is moved."""

    now: float

    def __call__(self) -> float:
        """Unix seconds."""
        return self.now


@dataclass
class StagedFolder:
    """The `Transport` of a phone that finds the stage's public folder at STAGE_URL, and nothing else.

    `withheld` are paths that it does not find though they are there.
    """

    storage: LocalStorage
    withheld: Collection[str] = ()

    def get(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        """As a web server in front of the folder answers; 404 for all that is not there."""
        path = url.removeprefix(f"{STAGE_URL}/")
        content = None if path in self.withheld else self.storage.read(path)
        if content is None:
            return Answer(404, {}, b"")
        tag = f'"{sha256(content).hexdigest()}"'
        if tag in headers.get("If-None-Match", ""):
            return Answer(304, {"etag": tag}, b"")
        if len(content) > max_bytes:
            raise TooLarge(f"{path} has {len(content)} bytes")
        return Answer(200, {"etag": tag}, content)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> Answer:
        """Nothing is sent anywhere in a rehearsal."""
        return Answer(405, {}, b"")


class Stage:
    """A staged registry in `folder`, like that of `settings` but for its keys and addresses."""

    def __init__(
        self, settings: Settings, folder: Path, now: int, keys: Sequence[ExportKey], at_hand: Collection[str]
    ) -> None:
        """Register a stand-in for each of `keys`, with its name and times, before anything is published.

        Those not named in `at_hand` cannot sign here, as the ones they stand for cannot.
        """
        self.clock = StageClock(now)
        self.settings = _staged(settings, folder)
        self.ring = FilesKeyRing(self.settings.keys_dir)
        self.storage = LocalStorage(self.settings.public_dir)
        folder.mkdir(mode=0o700, parents=True)
        self._collecting = open_database(self.settings.collecting_database_url)
        upgrade("collecting", self._collecting)
        self.keys = self._cast(keys, at_hand)
        prepare(self.settings, self.clock)
        self._publisher = publisher(self.settings, self.clock)

    def _cast(self, keys: Sequence[ExportKey], at_hand: Collection[str]) -> list[ExportKey]:
        elsewhere = FilesKeyRing(self.settings.data_dir / "not-at-hand")
        cast = []
        for key in keys:
            ring = self.ring if key.name in at_hand else elsewhere
            signer = ring.create_export_key(key.key_id, key.key_version)
            cast.append(replace(key, public_key_pem=signer.public_key_pem))
        with Session(self._collecting) as session, transaction(session):
            session.add_all(ExportSigningKey(**asdict(key)) for key in cast)
        return cast

    def rotate(self, plan: RotationPlan) -> None:
        """Carry the plan out, as on the registry itself."""
        carry_out(plan, self.ring, self._collecting)

    def signer(self, name: str) -> Signer | None:
        """The stand-in of this `<id>-<version>`, None if it cannot sign here."""
        found = {f"{signer.key_id}-{signer.key_version}": signer for signer in self.ring.export_signers()}
        return found.get(name)

    def publish_one_key(self) -> str | None:
        """Let the present window end and publish it with one made-up key.

        Returns its file's name below /exposures/, None if there is no key that may sign.
        """
        self._collect_one_key()
        window = self.settings.window_seconds
        self.clock.now = (self.clock.now // window + 1) * window
        before = set(self.file_names())
        try:
            self._publisher.publish()
        except NoLiveSigner:
            return None
        made = set(self.file_names()) - before
        if len(made) != 1:
            raise ConfigurationError(f"the stage published {len(made)} files where one was due")
        return made.pop()

    def file_names(self) -> list[str]:
        """What index.txt lists, oldest first."""
        return decode_legacy_index(self._read(legacy_index_path(self.settings.region)))

    def file(self, name: str) -> bytes:
        """A published file, whole."""
        return self._read(f"{EXPOSURES}/{name}")

    def window_of(self, name: str) -> IndexWindow:
        """The window under which the index lists a file."""
        index = decode_index(self._read(index_path(self.settings.region)))
        return next(window for window in index.windows if name in {file.path for file in window.files})

    def trust(self) -> bytes:
        """The trust material as it is published."""
        return self._read(TRUST_PATH)

    def _read(self, path: str) -> bytes:
        content = self.storage.read(path)
        if content is None:
            raise ConfigurationError(f"the stage has no {path}")
        return content

    def _collect_one_key(self) -> None:
        """What an upload leaves in the database: here, a day's key that nobody ever had."""
        end = day_start(interval_at(self.clock())) - INTERVALS_PER_DAY
        key_data = secrets.token_bytes(KEY_BYTES)
        with Session(self._collecting) as session, transaction(session):
            session.add(
                DiagnosisKey(
                    key_data=key_data,
                    rolling_start_interval_number=end - INTERVALS_PER_DAY,
                    rolling_period=INTERVALS_PER_DAY,
                    end_interval_number=end,
                    transmission_risk_level=0,
                    report_type=int(ReportType.CONFIRMED_TEST),
                    days_since_onset_of_symptoms=0,
                    health_authority_id=self.settings.health_authority_id,
                    traveler=False,
                    recall_tag=secrets.token_bytes(RECALL_TAG_BYTES),
                    shelf_id=open_shelves(session, self.settings.region, [NOW])[NOW],
                )
            )


def _staged(settings: Settings, folder: Path) -> Settings:
    """The same policy with other places: what is staged must reach nothing that is real."""
    return replace(
        settings,
        data_dir=folder,
        base_url=STAGE_URL,
        log_origin="rehearsal.invalid/keys",
        issuing_database_url=f"sqlite:///{folder}/issuing.sqlite",
        collecting_database_url=f"sqlite:///{folder}/collecting.sqlite",
        pkcs11_module=None,
        pkcs11_token=None,
        pkcs11_pin_file=None,
        public_bucket=None,
        public_bucket_endpoint=None,
        public_bucket_credentials_file=None,
        witness_policy_file=None,
        answer_hold_milliseconds=0,
        # The one key that is played with must not wait for others.
        slot_seconds=settings.window_seconds,
    )
