"""A whole registry in one process, with a clock that the test moves: every face, publisher, both databases.

Built by the same functions as `registry run`; only the clock, the answer's hold and the lock of idle pages
differ.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import make_url, select
from sqlalchemy.orm import Session
from werkzeug.test import Client

from registry.app import Publisher, embedded, publisher
from registry.cli.first_run import prepare
from registry.config import read_settings
from registry.lifecycle.publish import PublishOutcome
from registry.migrations import upgrade
from registry.models import Batch, open_database
from registry.protocol.decoys import decoy_keys, window_intervals
from registry.protocol.export_file import ExportFile, decode_export, decode_signatures
from registry.protocol.population import PopulationModel
from tests.app_of_old import AppOfOld
from tests.clock import FakeClock


@cache
def _migrated(half: str) -> bytes:
    """A SQLite file in which all migrations of `half` have been run."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "migrated.sqlite3"
        engine = open_database(f"sqlite:///{path}")
        upgrade(half, engine)
        engine.dispose()
        return path.read_bytes()


def _lay_migrated(half: str, url: str) -> None:
    """Spare a new SQLite database its migrations, which take half of the time that a world's making takes."""
    path = make_url(url).database if url.startswith("sqlite:") else None
    if path is not None and not Path(path).exists():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(_migrated(half))


class World:
    """A registry in `folder` on two databases, at the time that `clock` tells."""

    def __init__(self, folder: Path, issuing_url: str, collecting_url: str, clock: FakeClock) -> None:
        self.clock = clock
        self.settings = replace(
            read_settings(),
            profile="demo",
            data_dir=folder,
            issuing_database_url=issuing_url,
            collecting_database_url=collecting_url,
            answer_hold_milliseconds=0,
            # A test's hours pass in an instant, while an official sits there.
            portal_idle_seconds=0,
        )
        for half, url in (("issuing", issuing_url), ("collecting", collecting_url)):
            _lay_migrated(half, url)
        self.first_run = prepare(self.settings, clock)
        self.start_web()

    def start_web(self) -> None:
        """Start the web process, again if need be: nothing but the databases and files is carried over."""
        self.client = Client(embedded(self.settings, self.clock))

    def call(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One HTTP exchange."""
        answer = self.client.open(path, method=method, headers=dict(headers), data=body)
        return answer.status_code, dict(answer.headers), answer.get_data()

    def app(self) -> AppOfOld:
        """A new phone."""
        return AppOfOld(self.call, self.first_run["device_api_key"], self.first_run["health_authority_id"])

    def issue(self, test_type: str = "confirmed", days_ago: int = 2, **more: Any) -> dict[str, Any]:
        """A code from a lab's system, for a test and onset `days_ago`."""
        day = (datetime.fromtimestamp(self.clock(), UTC) - timedelta(days=days_ago)).date().isoformat()
        answer = self.app().post(
            "/api/issue",
            {"testType": test_type, "testDate": day, "symptomDate": day, **more},
            self.first_run["admin_api_key"],
            pad=False,
        )
        assert answer.status == 200, answer.body
        return answer.body

    def publish(self) -> PublishOutcome:
        """One run of the publisher."""
        return self.publisher().publish()

    def publisher(self) -> Publisher:
        """The publishing process."""
        return publisher(self.settings, self.clock)

    def next_window(self) -> PublishOutcome:
        """Let the present window end, and publish."""
        window = self.settings.window_seconds
        self.clock.advance(window - self.clock() % window)
        return self.publish()

    def get(self, path: str) -> bytes:
        """A public file."""
        answer = self.client.get(path)
        assert answer.status_code == 200, (path, answer.status)
        return answer.get_data()

    def index(self) -> dict[str, Any]:
        """The native index."""
        found: dict[str, Any] = json.loads(self.get(f"/exposures/{self.settings.region}/index.json"))
        return found

    def file_names(self) -> list[str]:
        """What index.txt lists."""
        return self.get(f"/exposures/{self.settings.region}/index.txt").decode().split()

    def file(self, name: str) -> ExportFile:
        """A published file, decoded."""
        with zipfile.ZipFile(BytesIO(self.get(f"/exposures/{name}"))) as archive:
            return decode_export(archive.read("export.bin"))

    def decoys(self) -> frozenset[bytes]:
        """Every decoy key, by the batches' seeds: as an auditor finds them once these are opened."""
        model = PopulationModel()
        engine = open_database(self.settings.collecting_database_url)
        with Session(engine) as session:
            found = [
                decoy_keys(
                    batch.seed,
                    count,
                    regions=region_set.split(","),
                    uploaded=window_intervals(batch.decoys_since[region_set], batch.window_end),
                    model=model,
                )
                for batch in session.scalars(select(Batch))
                for region_set, count in batch.decoys.items()
            ]
        engine.dispose()
        return frozenset[bytes]().union(*found)

    def published_keys(self, region: str | None = None) -> list[bytes]:
        """Every person's key in every file, in order; a key published twice stands there twice."""
        decoys = self.decoys()
        names = self.get(f"/exposures/{region or self.settings.region}/index.txt").decode().split()
        keys = [key.key_data for name in names for key in self.file(name).keys]
        return [key_data for key_data in keys if key_data not in decoys]

    def file_signature(self, name: str) -> bytes:
        """The first signature (DER) in a published file's export.sig."""
        with zipfile.ZipFile(BytesIO(self.get(f"/exposures/{name}"))) as archive:
            return decode_signatures(archive.read("export.sig"))[0][1]
