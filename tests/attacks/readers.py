"""Who reads what a registry publishes: over a wire, by our auditors' tool, by an app without our SDK."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from click.testing import CliRunner
from werkzeug.test import Client

from registry.cli.auditor import audit
from registry.cli.auditor_surroundings import Auditing
from registry.client import Answer, PollReport
from registry.client.failures import TooLarge
from registry.errors import RegistryError
from registry.protocol.certificate import load_public_key
from registry.protocol.export_file import read_zip, verify_signatures
from registry.protocol.index import (
    EXPOSURES,
    TRUST_PATH,
    decode_legacy_index,
    legacy_index_path,
)
from registry.protocol.trust import decode_trust
from tests.attacks.operators import REGION
from tests.clock import FakeClock

MIRROR_URL = "https://mirror.example"
"""Where the auditor finds a second copy of the public files, whosever that is."""

Read = Callable[[str], bytes | None]


def reads(folder: Path) -> Read:
    """A public folder, as files."""

    def read(path: str) -> bytes | None:
        file = folder / path
        return file.read_bytes() if file.is_file() else None

    return read


@dataclass
class Wire:
    """A `Transport` over what stands at each address. `shown` goes before what `places` give, by path."""

    places: dict[str, Client]
    shown: dict[str, bytes | None] = field(default_factory=dict)

    def get(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        parts = urlsplit(url)
        if parts.path[1:] in self.shown:
            content = self.shown[parts.path[1:]]
            return Answer(404, {}, b"") if content is None else Answer(200, {}, content)
        return self._open(url, "GET", headers, None, max_bytes)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> Answer:
        return self._open(url, "POST", headers, body, max_bytes)

    def _open(
        self, url: str, method: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int
    ) -> Answer:
        parts = urlsplit(url)
        client = self.places[f"{parts.scheme}://{parts.netloc}"]
        answer = client.open(parts.path, method=method, headers=dict(headers), data=body)
        content = answer.get_data()
        if len(content) > max_bytes:
            raise TooLarge(url)
        names = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status_code, names, content)


@dataclass(frozen=True)
class Seen:
    """What an auditor's command ended with."""

    code: int
    kinds: set[str]
    faults: Sequence[Mapping[str, Any]] = field(repr=False)
    proven: Sequence[str] = field(repr=False)
    unproven: Sequence[str] = field(repr=False)

    def fault(self, kind: str) -> Mapping[str, Any]:
        """The first fault of that kind."""
        return next(fault for fault in self.faults if fault["kind"] == kind)


class Auditor:
    """Somebody with our auditors' tool, a folder of their own, and no other friend."""

    def __init__(self, folder: Path, wire: Wire, clock: FakeClock, base_url: str, fingerprint: str) -> None:
        self.folder = folder
        self.wire = wire
        self.clock = clock
        self.base_url = base_url
        self.fingerprint = fingerprint

    def run(self, *words: str) -> Seen:
        """`registry audit ...`, its JSON read."""
        surroundings = Auditing(self.wire, self.clock, lambda seconds: None)
        result = CliRunner().invoke(audit, [*words, "--json"], obj=surroundings, catch_exceptions=False)
        assert result.stdout.startswith("{"), result.output
        said = json.loads(result.stdout)
        assert said["exit_code"] == result.exit_code
        kinds = {fault["kind"] for fault in said["faults"]}
        return Seen(result.exit_code, kinds, said["faults"], said["proven"], said["not_proven"])

    def follow(self, source: str | None = None) -> Seen:
        """Look, compare with the last visit, remember."""
        state = str(self.folder / "state")
        return self.run(
            "follow", source or self.base_url, "--state", state, "--fingerprint", self.fingerprint
        )

    def compare(self, other: str = MIRROR_URL) -> Seen:
        """The registry's address against another place."""
        return self.run("compare", self.base_url, other)


class AppWithoutSdk:
    """An app of the GAEN kind: reads index.txt and what it has not read; the OS checks one signature.

    `shows` is the public folder that answers it.
    """

    def __init__(self, folder: Path) -> None:
        # Handed to Apple and Google when the app was made; nothing of it is asked of the registry again.
        trust = decode_trust(reads(folder)(TRUST_PATH) or b"")
        self._keys = {
            (key.key_id, key.key_version): load_public_key(key.public_key_pem)
            for key in trust.export_signing_keys
        }
        self._read: set[str] = set()
        self.keys: list[bytes] = []

    def poll(self, shows: Read) -> int:
        """How many new files it read. Raises Distrusted or Malformed where the OS would refuse one."""
        names = decode_legacy_index(shows(legacy_index_path(REGION)) or b"")
        fresh = [name for name in names if name not in self._read]
        for name in fresh:
            export, signed, signatures = read_zip(shows(f"{EXPOSURES}/{name}") or b"")
            verify_signatures(signed, signatures, self._keys)
            self.keys += [key.key_data for key in export.keys]
            self._read.add(name)
        return len(fresh)


def compact_of(path: str) -> str:
    """The path of the compact file beside a window's first zip."""
    return path.removesuffix(".zip") + ".compact"


def failures(report: PollReport) -> list[tuple[str, type[RegistryError]]]:
    """What a poll could not believe."""
    return [(failure.path, type(failure.error)) for failure in report.failures]


def warnings(report: PollReport) -> list[tuple[str, type[RegistryError]]]:
    """What a poll bears with."""
    return [(warning.path, type(warning.error)) for warning in report.warnings]
