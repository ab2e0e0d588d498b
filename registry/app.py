"""The composition root: one WSGI application per face, the publisher, and one address for all of them.

Knows the time of day, as only the commands do beside it, and hands it on. Web processes are given the
certificate and token keys; the export signing keys are loaded by `publisher()` alone, in its own process.
"""

import functools
import json
import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker
from werkzeug.test import run_wsgi_app

from registry.config import Settings, read_settings
from registry.delivery.folder_gateway import FolderGateway
from registry.delivery.gateways_file import read_gateways
from registry.delivery.messages import SmsMaker
from registry.delivery.sms import SmsDesk
from registry.errors import ConfigurationError
from registry.faces.audit import AuditFace, ReceiptsAccess, create_audit_app
from registry.faces.device import create_collecting_app, create_issuing_app
from registry.faces.device.settings import CollectingFace, IssuingFace
from registry.faces.person import PersonFace, create_person_app
from registry.faces.portal import PortalFace, create_portal_app
from registry.faces.portal.openid import OpenIdPolicy, OpenIdProvider
from registry.faces.public import create_public_app
from registry.faces.witness import WitnessFace, create_witness_app
from registry.folder import (
    FOLDER_MARK,
    check_folder,
    folder_mark,
    read_log_origin,
    read_recall_key,
    read_recall_public_key,
    read_secret,
)
from registry.lifecycle.authorize import IssuingPolicy
from registry.lifecycle.collect import CollectionPolicy
from registry.lifecycle.forecast import ForecastBounds
from registry.lifecycle.quota import QuotaPolicy
from registry.models import CertificateKey, open_database
from registry.models.official import Permission
from registry.protocol.certificate import load_public_key
from registry.protocol.guessing import ROOM, GuessBudget
from registry.protocol.intervals import Clock
from registry.protocol.revision_token import RevisionKeyRing
from registry.public_files import public_storage
from registry.publisher import Publisher, publication_policy, publisher
from registry.signing import NoteSigner
from registry.signing.file_key import FileKey
from registry.signing.key_file import read_private
from registry.signing.keyring import FilesKeyRing
from registry.witness.beginning import begin_witness
from registry.witness.cosigner import Witness
from registry.witness.state import has_state, read_identity

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


__all__ = [
    "FOLDER_MARK",
    "Publisher",
    "check_folder",
    "folder_mark",
    "publication_policy",
    "publisher",
    "read_log_origin",
    "read_recall_key",
    "read_secret",
]
"""What stands in modules of its own, and is the commands' by this one."""

SIGNERS_READ_EVERY_SECONDS = 60
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
    return IssuingPolicy(
        code_life_seconds=settings.code_life_seconds,
        quota=QuotaPolicy(
            ForecastBounds(settings.quota_start, settings.quota_least, settings.quota_most),
            settings.quota_official,
            settings.quota_bulk,
        ),
    )


def sms_desk(settings: Settings) -> SmsDesk | None:
    """What sends SMS; None where there is no gateway. A demonstration's lie in its folder, unsent."""
    if settings.sms_gateways_file is None:
        demo = settings.profile == "demo"
        return SmsDesk([FolderGateway(settings.data_dir / "sms")]) if demo else None
    return SmsDesk(read_gateways(read_private(settings.sms_gateways_file).decode(), read_private))


def sms_maker(settings: Settings) -> SmsMaker:
    """What makes SMS and sends them. Each authority's newest signing key signs."""
    newest: dict[str, FileKey] = {}
    for path in sorted((settings.keys_dir / "sms").glob("*~v*.pem"), key=sms_key_version):
        authority_id, _, key_id = path.stem.partition("~")
        newest[authority_id] = FileKey.load(path, key_id, "1")
    only_shows = settings.profile == "demo" and settings.sms_gateways_file is None
    return SmsMaker(sms_desk(settings), newest, settings.region, settings.base_url, only_shows)


def sms_key_version(path: Path) -> int:
    """The number of an SMS signing key, from its file's name: `<authority>~v<number>.pem`."""
    return int(path.stem.rpartition("~v")[2])


def portal(settings: Settings, clock: Clock = time.time) -> Flask:
    """The officials' face. Holds the issuing half."""
    return create_portal_app(
        PortalFace(
            database_url=settings.issuing_database_url,
            clock=clock,
            session_secret=read_secret(settings.keys_dir / "session.key"),
            lookup_key=read_secret(settings.keys_dir / "lookup.key"),
            recall_key=read_recall_key(settings.keys_dir),
            policy=issuing_policy(settings),
            authority_id=settings.health_authority_id,
            profile=settings.profile,
            region=settings.region,
            address=settings.base_url,
            web_processes=settings.web_processes,
            sms=sms_maker(settings),
            idle_seconds=settings.portal_idle_seconds,
            openid=openid_provider(settings),
        )
    )


def person(settings: Settings, clock: Clock = time.time) -> Flask:
    """Pages for people with a code or without. Holds the issuing half, and no key that opens a handle."""
    return create_person_app(
        PersonFace(
            database_url=settings.issuing_database_url,
            clock=clock,
            lookup_key=read_secret(settings.keys_dir / "lookup.key"),
            profile=settings.profile,
            policy=issuing_policy(settings),
            sms=sms_maker(settings),
            sleep=time.sleep,
            monotonic=time.monotonic,
            hold_milliseconds=settings.answer_hold_milliseconds,
        )
    )


def openid_provider(settings: Settings) -> OpenIdProvider | None:
    """The organisation's, where there is one. It is not asked before somebody wants to come in by it.

    Raises ConfigurationError for groups that give what there is not, and for a secret that others can read.
    """
    if settings.oidc_issuer is None or settings.oidc_client_secret_file is None:
        return None
    groups: dict[str, frozenset[Permission]] = {}
    for line in filter(None, map(str.strip, settings.oidc_groups.split(";"))):
        group, _, words = line.partition("=")
        try:
            groups[group.strip()] = frozenset(map(Permission, words.split()))
        except ValueError as error:
            raise ConfigurationError(f"REGISTRY_OIDC_GROUPS: {error}") from error
        if not group.strip() or not words.strip():
            raise ConfigurationError("REGISTRY_OIDC_GROUPS is group=permissions;group=permissions")
    path = settings.oidc_client_secret_file
    try:
        secret = path.read_text().strip()
        open_to_others = path.stat().st_mode & 0o077
    except OSError as error:
        raise ConfigurationError(f"REGISTRY_OIDC_CLIENT_SECRET_FILE: {error.strerror}") from error
    if open_to_others or not secret:
        raise ConfigurationError("REGISTRY_OIDC_CLIENT_SECRET_FILE must hold the secret, with mode 0600")
    return OpenIdProvider(
        OpenIdPolicy(
            issuer=settings.oidc_issuer,
            client_id=settings.oidc_client_id or "",
            client_secret=secret,
            scopes=settings.oidc_scopes,
            groups_claim=settings.oidc_groups_claim,
            groups=groups,
            acr=frozenset(settings.oidc_acr.split()),
            amr=frozenset(settings.oidc_amr.split()),
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
            recall_public_key=read_recall_public_key(settings.keys_dir),
            policy=issuing_policy(settings),
            guess_budget=GuessBudget().share(settings.web_processes),
            guess_room=ROOM.share(settings.web_processes),
            trusted_proxies=settings.trusted_proxies,
            test_codes=settings.test_codes,
            hold_milliseconds=settings.answer_hold_milliseconds,
            sleep=time.sleep,
            monotonic=time.monotonic,
            sms=sms_maker(settings),
        )
    )


def collecting(settings: Settings, clock: Clock = time.time) -> Flask:
    """The device face's collecting part: uploads of keys."""
    return create_collecting_app(collecting_face(settings, clock))


def collecting_face(settings: Settings, clock: Clock) -> CollectingFace:
    """What that part is given."""
    return CollectingFace(
        database_url=settings.collecting_database_url,
        clock=clock,
        revision_keys=_revision_keys(settings),
        policy=CollectionPolicy(),
        hold_milliseconds=settings.answer_hold_milliseconds,
        sleep=time.sleep,
        monotonic=time.monotonic,
    )


def public(settings: Settings) -> Flask:
    """Files for phones, the same for all. Holds no database."""
    return create_public_app(public_storage(settings))


def audit(settings: Settings, clock: Clock = time.time, *, with_receipts: bool = True) -> Flask:
    """The auditors' face and the front page. `with_receipts` it looks into both databases, for that page."""
    access = None
    if with_receipts:
        access = ReceiptsAccess(
            issuing=sessionmaker(open_database(settings.issuing_database_url)),
            collecting=sessionmaker(open_database(settings.collecting_database_url)),
            form_secret=read_secret(settings.keys_dir / "session.key"),
        )
    storage = public_storage(settings)
    return create_audit_app(AuditFace(storage, settings.profile, settings.base_url, clock, access))


def open_witness(settings: Settings) -> Witness:
    """Our own witness. Raises ConfigurationError if it has not begun, or its state or keys are lost."""
    name, _ = read_identity(settings.witness_path)
    return Witness(settings.witness_path, FilesKeyRing(settings.keys_dir).witness_signers(name))


def begin_own_witness(settings: Settings, name: str | None = None) -> Witness:
    """Our own witness, made at the first call. Raises ConfigurationError if one that was here is lost.

    Its name, where none is given: the setting's, or the host of the log's origin with /witness.
    """
    ring = FilesKeyRing(settings.keys_dir)
    wanted = name or settings.witness_name or _witness_name_by_origin(settings)

    def make_keys() -> Sequence[NoteSigner]:
        ring.create_witness_keys()
        return ring.witness_signers(wanted)

    return begin_witness(
        settings.witness_path,
        wanted,
        has_keys=not ring.places().keys().isdisjoint({"witness", "witness-mldsa44"}),
        make_keys=make_keys,
    )


def _witness_name_by_origin(settings: Settings) -> str:
    if has_state(settings.witness_path):
        return read_identity(settings.witness_path)[0]
    try:
        origin = json.loads((settings.data_dir / FOLDER_MARK).read_text())["log_origin"]
    except (FileNotFoundError, KeyError) as error:
        raise ConfigurationError(
            "the witness needs a name: give it with --name or REGISTRY_WITNESS_NAME, such as "
            "health.example/witness"
        ) from error
    return f"{str(origin).partition('/')[0]}/witness"


def witness(settings: Settings, clock: Clock = time.time) -> Flask:
    """The witness's face. What it cosigns with is opened when it is first asked, and faults are its own."""
    return create_witness_app(WitnessFace(functools.cache(lambda: open_witness(settings)), clock))


def witness_alone() -> Flask:
    """What `registry witness serve` serves."""
    configure_logging(when=TO_THE_SECOND)
    return witness(read_settings())


def embedded(settings: Settings | None = None, clock: Clock = time.time) -> "WSGIApplication":
    """All faces under one address; what `registry run` serves."""
    settings = settings or read_settings()
    check_folder(settings)
    configure_logging(when=TO_THE_HOUR)
    issue, collect, files = issuing(settings, clock), collecting(settings, clock), public(settings)
    people = person(settings, clock)
    faces: dict[str, WSGIApplication] = {
        "v": people,
        "withdraw": people,
        "report": people,
        "person": people,
        "portal": portal(settings, clock),
        "api": issue,
        "jwks": issue,
        "v1": collect,
        "witness": witness(settings, clock),
        "exposures": files,
        "log": files,
        ".well-known": files,
        "healthz": issue,
        "readyz": _all_ready(issue, collect),
    }
    front = audit(settings, clock)

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
