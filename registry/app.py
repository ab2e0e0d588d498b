"""The composition root: one WSGI application per face, the publisher, and one address for all of them.

Knows the time of day, as only the commands do beside it, and hands it on. Web processes are given the
certificate and token keys; the export signing keys are loaded by `publisher()` alone, in its own process.
"""

import json
import logging
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker
from werkzeug.test import run_wsgi_app

from registry.config import Settings, read_settings
from registry.errors import ConfigurationError
from registry.faces.audit import AuditFace, create_audit_app
from registry.faces.device import create_collecting_app, create_issuing_app
from registry.faces.device.settings import CollectingFace, IssuingFace
from registry.faces.portal import PortalFace, create_portal_app
from registry.faces.public import create_public_app
from registry.lifecycle.authorize import IssuingPolicy
from registry.lifecycle.collect import CollectionPolicy
from registry.lifecycle.publish import PublicationPolicy, PublishOutcome, ensure_first_files, publish_due
from registry.lifecycle.retire import RetiredCollecting, RetiredIssuing, retire_collecting, retire_issuing
from registry.models import CertificateKey, HealthAuthority, forget_journal, open_database, transaction
from registry.protocol.certificate import load_public_key
from registry.protocol.intervals import Clock
from registry.protocol.revision_token import RevisionKeyRing
from registry.signing.file_key import FileKey
from registry.storage.local import LocalStorage

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


SIGNERS_READ_EVERY_SECONDS = 60
PUBLISHER_LOCK_SECONDS = 20
FOLDER_MARK = "registry.json"
TO_THE_HOUR = "%Y-%m-%dT%H:00Z"
TO_THE_SECOND = "%Y-%m-%dT%H:%M:%SZ"


def configure_logging(*, when: str) -> None:
    """Plain lines on standard error, in UTC. What may stand in them is decided where they are written.

    `when` is the time's format. A face's is the hour: what it logs must not tell when somebody called.
    """
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", when)
    form.converter = time.gmtime
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(form)
    logging.basicConfig(level=logging.INFO, handlers=[lines])


def issuing_policy(settings: Settings) -> IssuingPolicy:
    """How codes, tokens and certificates are given out."""
    return IssuingPolicy(code_life_seconds=settings.code_life_seconds)


def publication_policy(settings: Settings) -> PublicationPolicy:
    """When keys leave, and how long they stay."""
    return PublicationPolicy(window_seconds=settings.window_seconds, retention_days=settings.retention_days)


def portal(settings: Settings, clock: Clock = time.time) -> Flask:
    """The officials' face. Holds the issuing half."""
    return create_portal_app(
        PortalFace(
            database_url=settings.issuing_database_url,
            clock=clock,
            session_secret=read_secret(settings.keys_dir / "session.key"),
            lookup_key=read_secret(settings.keys_dir / "lookup.key"),
            policy=issuing_policy(settings),
            authority_id=settings.health_authority_id,
            profile=settings.profile,
            region=settings.region,
        )
    )


def issuing(settings: Settings, clock: Clock = time.time) -> Flask:
    """The device face's issuing part: codes, tokens, certificates."""
    tokens = {path.stem: path for path in sorted((settings.keys_dir / "token").glob("*.pem"))}
    if not tokens:
        raise ConfigurationError(f"no token signing key in {settings.keys_dir / 'token'}")
    token_keys = {key_id: FileKey.load(path, key_id, "1") for key_id, path in tokens.items()}
    return create_issuing_app(
        IssuingFace(
            database_url=settings.issuing_database_url,
            clock=clock,
            lookup_key=read_secret(settings.keys_dir / "lookup.key"),
            token_signer=token_keys[max(token_keys)],
            token_public_keys={
                key_id: load_public_key(key.public_key_pem) for key_id, key in token_keys.items()
            },
            certificate_signers=CertificateSigners(settings, clock),
            policy=issuing_policy(settings),
            hold_milliseconds=settings.answer_hold_milliseconds,
            sleep=time.sleep,
            monotonic=time.monotonic,
        )
    )


def collecting(settings: Settings, clock: Clock = time.time) -> Flask:
    """The device face's collecting part: uploads of keys."""
    return create_collecting_app(
        CollectingFace(
            database_url=settings.collecting_database_url,
            clock=clock,
            revision_keys=_revision_keys(settings),
            policy=CollectionPolicy(),
            hold_milliseconds=settings.answer_hold_milliseconds,
            sleep=time.sleep,
            monotonic=time.monotonic,
        )
    )


def public(settings: Settings) -> Flask:
    """Files for phones, the same for all. Holds no database."""
    return create_public_app(settings.public_dir)


def audit(settings: Settings) -> Flask:
    """The auditors' face and the front page. Holds no database."""
    storage = LocalStorage(settings.public_dir)
    return create_audit_app(AuditFace(storage, settings.profile))


def embedded(settings: Settings | None = None, clock: Clock = time.time) -> "WSGIApplication":
    """All faces under one address; what `registry run` serves."""
    settings = settings or read_settings()
    check_folder(settings)
    configure_logging(when=TO_THE_HOUR)
    issue, collect, files = issuing(settings, clock), collecting(settings, clock), public(settings)
    faces: dict[str, WSGIApplication] = {
        "portal": portal(settings, clock),
        "api": issue,
        "jwks": issue,
        "v1": collect,
        "exposures": files,
        ".well-known": files,
        "healthz": issue,
        "readyz": _all_ready(issue, collect),
    }
    front = audit(settings)

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        segment = environ.get("PATH_INFO", "/").split("/", 2)[1:2]
        face = faces.get(segment[0], front) if segment else front
        return face(environ, start_response)

    return application


def _all_ready(*parts: "WSGIApplication") -> "WSGIApplication":
    """Ready when every part is: the first that is not gives the answer."""

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        for part in parts[:-1]:
            body, status, headers = run_wsgi_app(part, dict(environ), buffered=True)
            if not status.startswith("200"):
                start_response(status, headers.to_wsgi_list())
                return body
        return parts[-1](environ, start_response)

    return application


@dataclass(frozen=True)
class Publisher:
    """The process that seals, signs, stores and forgets. The only holder of the export signing keys."""

    settings: Settings
    clock: Clock
    issuing_engine: Engine
    collecting_engine: Engine
    storage: LocalStorage
    holder: str
    """Names this process in the lease."""

    @property
    def new_session(self) -> Callable[[], Session]:
        """Opens a session on the collecting half."""
        return sessionmaker(self.collecting_engine)

    def signers(self) -> list[FileKey]:
        """The export signing keys at hand. Read anew for every run, so that a rotation needs no restart."""
        folder = self.settings.keys_dir / "export"
        found = [path.stem.rsplit("-", 1) for path in sorted(folder.glob("*-*.pem"))]
        return [FileKey.load(folder / f"{name}-{version}.pem", name, version) for name, version in found]

    def ensure_first_files(self) -> None:
        """Index and trust material exist before anything is served."""
        ensure_first_files(
            self.new_session,
            self.storage,
            regions=self.regions(),
            policy=publication_policy(self.settings),
            profile=self.settings.profile,
            now=self.clock(),
        )

    def publish(self) -> PublishOutcome:
        """Publish what is due. Raises NoLiveSigner, StorageConflict and the like; running again mends."""
        return publish_due(
            self.new_session,
            self.storage,
            self.signers(),
            regions=self.regions(),
            policy=publication_policy(self.settings),
            profile=self.settings.profile,
            now=self.clock(),
            holder=self.holder,
        )

    def retire(self) -> tuple[RetiredIssuing, RetiredCollecting]:
        """Forget what the retention period has ended, in both halves. What was forgotten, by kind."""
        now = self.clock()
        with Session(self.issuing_engine) as session, transaction(session):
            issuing_gone = retire_issuing(session, now)
        try:
            collecting_gone = retire_collecting(
                self.new_session,
                self.storage,
                policy=publication_policy(self.settings),
                now=now,
                holder=f"{self.holder}:retire",
            )
        finally:
            # SQLite's journal still holds what was deleted until it is written over.
            forget_journal(self.issuing_engine)
            forget_journal(self.collecting_engine)
        return issuing_gone, collecting_gone

    def regions(self) -> tuple[str, ...]:
        """Every region that a registered authority's keys may go out in."""
        with Session(self.collecting_engine) as session:
            lists = session.scalars(select(HealthAuthority.regions)).all()
        return tuple(sorted({self.settings.region}.union(*lists)))


def publisher(settings: Settings, clock: Clock = time.time, holder: str | None = None) -> Publisher:
    """The publishing process's own root.

    `holder` is its name in the lease. One that comes back under the name of one that died goes on at once;
    any other waits for the lease to run out.
    """
    check_folder(settings)
    return Publisher(
        settings=settings,
        clock=clock,
        issuing_engine=open_database(settings.issuing_database_url, lock_seconds=PUBLISHER_LOCK_SECONDS),
        collecting_engine=open_database(
            settings.collecting_database_url, lock_seconds=PUBLISHER_LOCK_SECONDS
        ),
        storage=LocalStorage(settings.public_dir),
        holder=holder or f"{socket.gethostname()}:{os.getpid()}",
    )


def check_folder(settings: Settings) -> None:
    """Raises ConfigurationError unless the data folder was made for this profile, region and authority."""
    try:
        made_for = json.loads((settings.data_dir / FOLDER_MARK).read_text())
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{settings.data_dir} is no registry's folder yet: `registry run` makes it one"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{settings.data_dir / FOLDER_MARK} is not a registry's") from error
    for name, value in folder_mark(settings).items():
        if made_for.get(name) != value:
            raise ConfigurationError(
                f"{settings.data_dir} belongs to a {made_for.get('profile')} registry with "
                f"{name} {made_for.get(name)}, and the settings say {value}: "
                "name another folder with REGISTRY_DATA_DIR"
            )


def folder_mark(settings: Settings) -> dict[str, str]:
    """What a data folder is made for, once: demonstration keys must never sign for real people."""
    return {
        "profile": settings.profile,
        "region": settings.region,
        "health_authority_id": settings.health_authority_id,
    }


def read_secret(path: Path) -> bytes:
    """A 32-byte secret, kept as hexadecimal in a file that only its owner may read."""
    if path.stat().st_mode & 0o077:
        raise ConfigurationError(f"{path} may be read by others: chmod 600 {path}")
    secret = bytes.fromhex(path.read_text().strip())
    if len(secret) != 32:
        raise ConfigurationError(f"{path} does not hold 32 bytes")
    return secret


def _revision_keys(settings: Settings) -> RevisionKeyRing:
    keys = {path.stem: read_secret(path) for path in sorted((settings.keys_dir / "revision").glob("*.key"))}
    if not keys:
        raise ConfigurationError(f"no revision key in {settings.keys_dir / 'revision'}")
    return RevisionKeyRing(max(keys), keys)


class CertificateSigners(Mapping[str, FileKey]):
    """By authority, the newest of its certificate keys that is live now and whose file is here.

    Looked up at most once a minute, so that a new key signs without a restart and none signs past its end.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._folder = settings.keys_dir / "certificate"
        self._url = settings.issuing_database_url
        self._clock = clock
        self._read_at = -math.inf
        self._signers: dict[str, FileKey] = {}

    def __getitem__(self, authority_id: str) -> FileKey:
        return self._live()[authority_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._live())

    def __len__(self) -> int:
        return len(self._live())

    def _live(self) -> dict[str, FileKey]:
        now = self._clock()
        if not 0 <= now - self._read_at < SIGNERS_READ_EVERY_SECONDS:
            self._signers, self._read_at = self._read(now), now
        return self._signers

    def _read(self, now: float) -> dict[str, FileKey]:
        engine = open_database(self._url)
        live = (
            select(CertificateKey)
            .where(CertificateKey.not_before <= now, CertificateKey.not_after > now)
            .order_by(CertificateKey.not_before)
        )
        with Session(engine) as session:
            keys = [(row.authority_id, row.key_id) for row in session.scalars(live)]
        engine.dispose()
        paths = {(authority_id, key_id): self._folder / f"{key_id}.pem" for authority_id, key_id in keys}
        return {
            authority_id: FileKey.load(path, key_id, "1")
            for (authority_id, key_id), path in paths.items()
            if path.exists()
        }
