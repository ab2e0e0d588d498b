"""Makes a data folder into a registry: databases, keys, one authority, one official, `first-run.json`.

Every step looks at what is there already, so a first start that was killed goes on where it stopped, and
a second start changes nothing but the sign-in link. `first-run.json` is written last and atomically: while
it is missing, the folder counts as not initialised.
"""

import json
import logging
import os
import secrets
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry.app import (
    FOLDER_MARK,
    begin_own_witness,
    check_folder,
    folder_mark,
    publisher,
    read_log_origin,
    read_recall_key,
    read_secret,
)
from registry.cli.rotation import YEAR, carry_out, plan_rotation, registered_keys
from registry.config import Settings
from registry.errors import ConfigurationError, RegistryError
from registry.folder import RECALL_KEY, RECALL_PUBLIC_KEY
from registry.lifecycle.activity import record_operators_act
from registry.lifecycle.api_keys import ApiKeyKind, ApiKeyWanted, make_api_key
from registry.migrations import upgrade
from registry.models import (
    Authority,
    CertificateKey,
    HealthAuthority,
    HealthAuthorityKey,
    Official,
    open_database,
    transaction,
)
from registry.models.official import Permission, Role, new_sign_in_link, permission_text
from registry.protocol.activity import ActKind
from registry.protocol.intervals import Clock
from registry.protocol.note import verifier_key
from registry.protocol.trust_note import fingerprint
from registry.signing.file_key import FileKey, create_key_file
from registry.signing.key_place import open_key_ring

log = logging.getLogger("registry.witness")
recall_log = logging.getLogger("registry.recall")


_AUDIENCE = "positive-key-registry"


def prepare(settings: Settings, clock: Clock) -> dict[str, str]:
    """Initialise or take up `settings.data_dir`; returns what `first-run.json` holds afterwards.

    Raises ConfigurationError when the folder belongs to the other profile.
    """
    now = int(clock())
    _make_folders(settings)
    _mark_folder(settings)
    known = _read_first_run(settings)
    for url in (settings.issuing_database_url, settings.collecting_database_url):
        _make_database_file(url)
    issuing = open_database(settings.issuing_database_url)
    collecting = open_database(settings.collecting_database_url)
    upgrade("issuing", issuing)
    upgrade("collecting", collecting)
    _make_secrets(settings)
    _make_export_key(settings, collecting, now)
    trust_key = _make_trust_key(settings)
    _begin_witness(settings)
    _make_authority(settings, issuing, collecting)
    _make_certificate_key(settings, issuing, collecting, now)
    # Under the name of the publisher that comes next: a start that was killed here holds nobody up.
    publisher(settings, clock, holder=embedded_holder()).ensure_first_files()
    api_keys = {k: v for k, v in known.items() if k.endswith("_api_key")} or _make_api_keys(
        settings, issuing, now
    )
    first_run = {
        "profile": settings.profile,
        "base_url": settings.base_url,
        "region": settings.region,
        "health_authority_id": settings.health_authority_id,
        "log_origin": read_log_origin(settings),
        "trust_fingerprint": fingerprint(trust_key),
        **api_keys,
        "portal_sign_in_url": sign_in_url(settings, issuing, _first_official(settings, issuing), now),
    }
    _write_first_run(settings, first_run)
    return first_run


def embedded_holder() -> str:
    """What the embedded publisher is called in the lease: the folder has one, whatever process it is."""
    return f"{socket.gethostname()}:embedded"


def sign_in_url(settings: Settings, issuing: Engine, official_id: str, now: int) -> str:
    """A fresh one-time link for an official."""
    with Session(issuing) as session, transaction(session):
        token = new_sign_in_link(session, official_id, now=now)
        record_operators_act(session, ActKind.SIGN_IN_LINK, {"official": official_id}, now)
    return f"{settings.base_url}/portal/sign-in/{token}"


def _read_first_run(settings: Settings) -> dict[str, str]:
    if not settings.first_run_path.exists():
        return {}
    known: dict[str, str] = json.loads(settings.first_run_path.read_text())
    return known


def _mark_folder(settings: Settings) -> None:
    """Write down, first of all, what the folder is made for; refuse one that is made for something else."""
    path = settings.data_dir / FOLDER_MARK
    if not path.exists():
        # A folder that lost its mark is what its first run says; an empty one becomes what is asked for.
        known = _read_first_run(settings)
        mark = {name: known.get(name, value) for name, value in folder_mark(settings).items()}
        mark["log_origin"] = known.get("log_origin") or _new_log_origin(settings)
        _write_private(path, json.dumps(mark) + "\n")
    check_folder(settings)
    mark = json.loads(path.read_text())
    if "log_origin" not in mark:
        # Made by a release that had no log.
        _write_private(path, json.dumps({**mark, "log_origin": _new_log_origin(settings)}) + "\n")


def _new_log_origin(settings: Settings) -> str:
    """Raises ConfigurationError for a production registry without a name for its log."""
    if settings.log_origin is not None:
        return settings.log_origin
    if settings.profile == "production":
        raise ConfigurationError(
            "REGISTRY_LOG_ORIGIN must be set: an address that is yours for ever, such as health.example/keys"
        )
    return f"demo-{secrets.token_hex(4)}.invalid/keys"


def _make_trust_key(settings: Settings) -> str:
    """The trust root; the publisher makes the log's keys. Its vkey."""
    ring = open_key_ring(settings.keys_dir, settings.token)
    ring.create_trust_key()
    return verifier_key(ring.trust_signer(read_log_origin(settings))).vkey


def _begin_witness(settings: Settings) -> None:
    """Our own witness for others' logs, which knows none yet. One that is lost must not stop the registry."""
    try:
        begin_own_witness(settings)
    except RegistryError as error:
        log.warning("no log is cosigned here: %s", error)


def _write_first_run(settings: Settings, first_run: dict[str, str]) -> None:
    _write_private(settings.first_run_path, json.dumps(first_run, indent=2) + "\n")


def _write_private(path: Path, text: str) -> None:
    """A whole file of mode 0600, durably. A crash before the rename leaves the old one, or none."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)


def _make_database_file(url: str) -> None:
    """A SQLite file that only its owner may read; its journals take the same mode from it."""
    path = url.removeprefix("sqlite:///")
    if path != url:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        Path(path).chmod(0o600)


def _make_folders(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in ("export", "certificate", "token", "revision"):
        (settings.keys_dir / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.keys_dir.chmod(0o700)
    settings.public_dir.mkdir(exist_ok=True)


def _make_secrets(settings: Settings) -> None:
    keys = settings.keys_dir
    if (keys / RECALL_PUBLIC_KEY).exists() and not (keys / RECALL_KEY).exists():
        recall_log.warning("%s is lost: of what was stated before only the persons can recall", RECALL_KEY)
    for name in ("lookup.key", "session.key", RECALL_KEY):
        _make_secret(keys / name)
    # Written anew at every start: what is sealed must be for the key that is here.
    _write_private(keys / RECALL_PUBLIC_KEY, read_recall_key(keys).public_key().public_bytes_raw().hex())
    if not list((keys / "revision").glob("*.key")):
        _make_secret(keys / "revision" / "r1.key")
    if not list((keys / "token").glob("*.pem")):
        create_key_file(keys / "token" / "t1.pem")


def _make_secret(path: Path) -> None:
    if path.exists():
        read_secret(path)
    else:
        _write_private(path, secrets.token_hex(32))


def _make_export_key(settings: Settings, collecting: Engine, now: int) -> None:
    if not registered_keys(collecting):
        # From the hour's beginning, so that a window that began before this second can be signed.
        first = plan_rotation([], region=settings.region, now=now - now % 3600, overlap_days=0)
        carry_out(first, open_key_ring(settings.keys_dir, settings.token), collecting)


def _make_authority(settings: Settings, issuing: Engine, collecting: Engine) -> None:
    """The registry's own authority, with an official who may do everything."""
    with Session(issuing) as session:
        if session.get(Authority, settings.health_authority_id):
            return
    with Session(collecting) as session, transaction(session):
        session.merge(accepted_authority(settings.health_authority_id, [settings.region]))
    with Session(issuing) as session, transaction(session):
        # Last: a crash in between leaves an authority that nobody issues for.
        session.add(issuing_authority(settings.health_authority_id, settings.health_authority_name))
        session.flush()
        session.add(
            Official(
                id=str(uuid.uuid4()),
                authority_id=settings.health_authority_id,
                name="First official",
                # Who opens the portal for all others.
                permission_text=permission_text(Permission),
            )
        )


def accepted_authority(authority_id: str, regions: Sequence[str]) -> HealthAuthority:
    """An authority of this registry's, as the collecting half knows it."""
    return HealthAuthority(
        id=authority_id,
        certificate_issuer=f"{authority_id}/certificates",
        certificate_audience=_AUDIENCE,
        regions=list(regions),
    )


def issuing_authority(authority_id: str, name: str) -> Authority:
    """The same, as the issuing half knows it."""
    return Authority(
        id=authority_id,
        name=name,
        certificate_issuer=f"{authority_id}/certificates",
        certificate_audience=_AUDIENCE,
    )


def create_certificate_key(
    settings: Settings,
    authority_id: str,
    issuing: Engine,
    collecting: Engine,
    not_before: int,
    not_after: int,
) -> str:
    """Make a certificate key for an authority: its file, the half that checks, then the half that signs.

    In this order no certificate is ever signed that the other half does not know. A crash in between leaves
    a key that signs nothing.
    """
    key_id = f"c-{secrets.token_hex(4)}"
    path = settings.keys_dir / "certificate" / f"{key_id}.pem"
    create_key_file(path)
    times = {"not_before": not_before, "not_after": not_after}
    public_key_pem = FileKey.load(path, key_id, "1").public_key_pem
    with Session(collecting) as session, transaction(session):
        session.add(
            HealthAuthorityKey(
                health_authority_id=authority_id, key_id=key_id, public_key_pem=public_key_pem, **times
            )
        )
    with Session(issuing) as session, transaction(session):
        session.add(
            CertificateKey(key_id=key_id, authority_id=authority_id, public_key_pem=public_key_pem, **times)
        )
    return key_id


def _make_certificate_key(settings: Settings, issuing: Engine, collecting: Engine, now: int) -> None:
    with Session(issuing) as session:
        known = session.scalars(
            select(CertificateKey.key_id)
            .where(CertificateKey.authority_id == settings.health_authority_id)
            .limit(1)
        ).first()
    if not known:
        create_certificate_key(
            settings, settings.health_authority_id, issuing, collecting, now - now % 3600, now + YEAR
        )


def _make_api_keys(settings: Settings, issuing: Engine, now: int) -> dict[str, str]:
    """One key of each kind. Keys of a start that was killed before it could show them are known to nobody."""
    lookup_key = read_secret(settings.keys_dir / "lookup.key")
    with Session(issuing) as session, transaction(session):
        return {
            f"{kind}_api_key": make_api_key(
                session,
                ApiKeyWanted(kind, "First run"),
                settings.health_authority_id,
                lookup_key=lookup_key,
                by=None,
                now=now,
            )
            for kind in ApiKeyKind
        }


def _first_official(settings: Settings, issuing: Engine) -> str:
    with Session(issuing) as session:
        return session.scalars(
            select(Official.id).where(
                Official.authority_id == settings.health_authority_id,
                Official.disabled.is_(False),
                Official.role == Role.OFFICIAL.value,
            )
        ).first() or _no_official(settings)


def _no_official(settings: Settings) -> str:
    raise ConfigurationError(f"no official of {settings.health_authority_id} may sign in")
