"""An operator's keys: listed with their places, rotated by a plan, and rehearsed before that."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update
from sqlalchemy.orm import Session

from registry.app import publisher
from registry.cli import main
from registry.cli.first_run import prepare
from registry.cli.rehearsal import (
    FRESH,
    LOST,
    NEW_APP,
    OFFLINE,
    OLD_APP,
    RETURNED,
    STEADY,
    Rehearsal,
    Scene,
    rehearse,
)
from registry.cli.rotation import plan_rotation, registered_keys
from registry.config import DAY, Settings, read_settings
from registry.models import ExportSigningKey, open_database, transaction
from registry.protocol.checkpoint import open_checkpoint
from registry.protocol.index import TRUST_PATH
from registry.protocol.note import KeyKind, decode_vkey
from registry.protocol.trust import decode_trust
from registry.signing.key_place import TokenPlace, open_key_ring
from registry.signing.keyring import FilesKeyRing
from registry.signing.pkcs11_token import Pkcs11Token
from tests.clock import FakeClock
from tests.softhsm import make_token


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A prepared folder, and an environment that points at it."""
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "200")
    found = read_settings()
    # The commands read the machine's clock, so the keys must be live by it.
    prepare(found, time.time)
    return found


@pytest.fixture
def registry(settings: Settings) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(main, list(words))


@pytest.fixture
def played(settings: Settings, tmp_path: Path) -> Callable[[int], Rehearsal]:
    """Function from the days of overlap to what the rehearsal saw."""

    def play(overlap_days: int) -> Rehearsal:
        keys = registered_keys(open_database(settings.collecting_database_url))
        plan = plan_rotation(keys, region=settings.region, now=int(time.time()), overlap_days=overlap_days)
        folder = tmp_path / f"stage-{overlap_days}"
        folder.mkdir()
        return rehearse(settings, keys, open_key_ring(settings.keys_dir), plan, folder)

    return play


def content_of(folder: Path) -> dict[str, str]:
    """Digest of every file, by name. Of a database what it says: its files change when a reader closes it."""
    return {
        str(path.relative_to(folder)): sha256(_dump(path) if path.suffix == ".sqlite" else path.read_bytes())
        .digest()
        .hex()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def _dump(database: Path) -> bytes:
    with closing(sqlite3.connect(database)) as connection:
        return "\n".join(connection.iterdump()).encode()


# -------------------------------------------------------------------- listing


def test_the_list_shows_every_key_and_where_it_lies(
    registry: Callable[..., Result], settings: Settings
) -> None:
    ring = FilesKeyRing(settings.keys_dir)
    year = time.gmtime().tm_year
    ring.create_log_keys(year)
    ring.create_trust_key()
    ring.create_witness_keys()
    listed = registry("keys", "list")
    assert listed.exit_code == 0, listed.output
    for line in (
        "file keys/export/XA_export-1.pem",
        f"file keys/log/{year}.pem",
        f"file keys/log/{year}-mldsa44.pem",
        "file keys/trust/root.pem",
        "file keys/witness/ed25519.pem",
    ):
        assert line in listed.output


def test_the_list_misses_what_is_not_there(registry: Callable[..., Result], settings: Settings) -> None:
    (settings.keys_dir / "export" / "XA_export-1.pem").rename(settings.data_dir / "lost.pem")
    listed = registry("keys", "list")
    assert [line for line in listed.output.splitlines() if "XA_export-1" in line and "missing" in line]


# ------------------------------------------------------------------- rotation


def test_a_rotation_tells_its_plan_first(registry: Callable[..., Result]) -> None:
    said = registry("keys", "rotate")
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    assert lines[0].startswith("The plan: XA_export-2, made in a file, signs from ")
    assert lines[1].startswith("  XA_export-1 ends ")
    assert lines[2].startswith("XA_export-2 signs from now on; older keys sign beside it until ")


def test_a_rehearsal_changes_nothing_and_says_that_the_rotation_is_safe(
    registry: Callable[..., Result], settings: Settings
) -> None:
    assert registry("publish").exit_code == 0
    before = content_of(settings.data_dir)
    said = registry("keys", "rotate", "--rehearse")
    assert said.exit_code == 0, said.output
    assert "Safe:" in said.output
    assert "XA_export-1 is at hand and signs." in said.output
    assert content_of(settings.data_dir) == before
    assert [line for line in said.output.splitlines() if f"{LOST}, file 4: UntrustedKey: " in line]


def test_a_rehearsal_of_too_short_an_overlap_fails(registry: Callable[..., Result]) -> None:
    said = registry("keys", "rotate", "--rehearse", "--overlap-days", "10")
    assert said.exit_code == 1
    assert "NOT SAFE" in said.output
    assert "NO!" in said.output


# ------------------------------------------------------------ what clients see


def seen(rehearsal: Rehearsal) -> dict[tuple[str, Scene], bool]:
    return {(reading.client, reading.scene): reading.reads for reading in rehearsal.readings}


def test_with_the_default_overlap_everybody_reads_what_they_must_and_refuses_the_rest(
    played: Callable[[int], Rehearsal],
) -> None:
    rehearsal = played(21)
    assert rehearsal.safe
    refusals = {(one.client, one.scene): one.refusal for one in rehearsal.readings}
    refused = {place: word for place, word in refusals.items() if word is not None}
    assert refused.keys() == {(LOST, Scene.ALONE), (OLD_APP, Scene.ALONE), (FRESH, Scene.STOLEN)}
    assert "UntrustedKey" in refused[LOST, Scene.ALONE]
    assert refused[OLD_APP, Scene.ALONE] == "there is no signature by XA_export 1"
    assert "UntrustedKey" in refused[FRESH, Scene.STOLEN]
    read = refusals.keys() - refused.keys()
    assert read == {
        (STEADY, Scene.BEFORE), (STEADY, Scene.BOTH), (STEADY, Scene.LATE), (STEADY, Scene.ALONE),
        (STEADY, Scene.LONG_AFTER),
        (OFFLINE, Scene.BEFORE), (OFFLINE, Scene.LATE), (LOST, Scene.BEFORE),
        (RETURNED, Scene.BEFORE), (RETURNED, Scene.LONG_AFTER),
        (FRESH, Scene.BEFORE), (FRESH, Scene.BOTH), (FRESH, Scene.LATE), (FRESH, Scene.ALONE),
        (OLD_APP, Scene.BEFORE), (OLD_APP, Scene.BOTH), (OLD_APP, Scene.LATE),
        (NEW_APP, Scene.BOTH), (NEW_APP, Scene.LATE), (NEW_APP, Scene.ALONE),
    }  # fmt: skip


def test_without_any_overlap_phones_that_were_off_are_left_out(played: Callable[[int], Rehearsal]) -> None:
    rehearsal = played(0)
    assert not rehearsal.safe
    assert not seen(rehearsal)[OFFLINE, Scene.LATE]
    assert not seen(rehearsal)[OLD_APP, Scene.LATE]
    assert seen(rehearsal)[STEADY, Scene.ALONE]


def test_a_key_that_is_not_the_registered_one_is_found_out(
    settings: Settings, played: Callable[[int], Rehearsal]
) -> None:
    path = settings.keys_dir / "export" / "XA_export-1.pem"
    path.rename(settings.data_dir / "aside.pem")
    FilesKeyRing(settings.keys_dir).create_export_key("XA_export", "1")
    rehearsal = played(21)
    assert not rehearsal.safe
    assert [check.word for check in rehearsal.keys] == ["is another key than the one that is registered"]


def test_without_the_old_key_nothing_came_out_before_and_the_rotation_is_not_safe(
    settings: Settings, played: Callable[[int], Rehearsal]
) -> None:
    (settings.keys_dir / "export" / "XA_export-1.pem").rename(settings.data_dir / "lost.pem")
    rehearsal = played(21)
    assert not rehearsal.safe
    assert [check.word for check in rehearsal.keys] == ["is not at hand, so it signs nothing"]
    assert {one.refusal for one in rehearsal.readings if one.scene is Scene.BEFORE} == {
        "nothing was published"
    }
    assert not seen(rehearsal)[OLD_APP, Scene.BOTH]
    assert seen(rehearsal)[NEW_APP, Scene.BOTH]


def test_with_no_live_key_there_is_nothing_to_rehearse(
    registry: Callable[..., Result], settings: Settings
) -> None:
    with Session(open_database(settings.collecting_database_url)) as session, transaction(session):
        session.execute(update(ExportSigningKey).values(not_after=int(time.time()) - DAY))
    said = registry("keys", "rotate", "--rehearse")
    assert said.exit_code == 1
    assert "no export key is live" in said.output


# -------------------------------------------------------------------- a token


@pytest.fixture
def token(
    system_tool: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TokenPlace]:
    """A fresh token, and an environment that points at it."""
    token = make_token(system_tool("softhsm2-util"), tmp_path / "softhsm")
    monkeypatch.setenv("SOFTHSM2_CONF", str(token.configuration))
    monkeypatch.setenv("REGISTRY_PKCS11_MODULE", str(token.place.module))
    monkeypatch.setenv("REGISTRY_PKCS11_TOKEN", token.place.label)
    monkeypatch.setenv("REGISTRY_PKCS11_PIN_FILE", str(token.place.pin_file))
    yield token.place
    if Pkcs11Token._of_process is not None:
        Pkcs11Token._of_process.close()


@pytest.fixture
def with_token(settings: Settings, token: TokenPlace) -> Settings:
    """A registry that began with files, and is told to make its keys in a token from now on."""
    return replace(
        settings, pkcs11_module=token.module, pkcs11_token=token.label, pkcs11_pin_file=token.pin_file
    )


def test_with_a_token_the_new_key_is_made_there_and_signs_beside_the_file(
    registry: Callable[..., Result], with_token: Settings
) -> None:
    rehearsed = registry("keys", "rotate", "--rehearse")
    assert rehearsed.exit_code == 0, rehearsed.output
    assert "made in the token registry" in rehearsed.output
    assert registry("keys", "rotate").exit_code == 0
    listed = registry("keys", "list").output
    assert [line for line in listed.splitlines() if "XA_export-2" in line and "token registry" in line]
    assert not (with_token.keys_dir / "export" / "XA_export-2.pem").exists()
    signers = publisher(with_token, time.time).key_ring.export_signers()
    assert sorted(signer.key_version for signer in signers) == ["1", "2"]
    assert registry("publish").exit_code == 0


@pytest.mark.usefixtures("token")
def test_a_registry_that_began_with_a_token_has_its_log_key_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "fresh"))
    settings = read_settings()
    clock = FakeClock()
    prepare(settings, clock)
    clock.advance(settings.window_seconds)
    publisher(settings, clock).publish()
    assert not (settings.keys_dir / "log" / "2026.pem").exists()
    assert not list((settings.keys_dir / "export").glob("*"))
    trust = decode_trust((settings.public_dir / TRUST_PATH).read_bytes())
    keys = [decode_vkey(vkey) for vkey in trust.log_vkeys]
    note, checkpoint = open_checkpoint((settings.public_dir / "log" / "checkpoint").read_bytes(), keys)
    assert checkpoint.origin == f"{trust.log_origin}/2026"
    shard = [key for key in keys if key.name == checkpoint.origin]
    assert sorted(key.kind for key in shard) == [KeyKind.ED25519, KeyKind.ML_DSA_44]
    assert all(any(line.is_by(key) for line in note.signatures) for key in shard)


def test_a_token_that_is_not_there_is_named_with_its_setting(
    registry: Callable[..., Result], with_token: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_PKCS11_TOKEN", "another")
    said = registry("keys", "list")
    assert said.exit_code == 1
    assert "REGISTRY_PKCS11_TOKEN" in said.output


def test_a_token_is_named_whole_or_not_at_all(
    registry: Callable[..., Result], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_PKCS11_TOKEN", "registry")
    said = registry("keys", "list")
    assert said.exit_code == 1
    assert "set all three or none" in said.output
