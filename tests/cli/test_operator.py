"""What an operator does by command: keys, links, other authorities, publishing once, retiring."""

import json
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.app import CertificateSigners, Publisher, publisher
from registry.cli import main, operator
from registry.cli.first_run import prepare
from registry.config import Settings, read_settings
from registry.lifecycle.activity import acts_of, check_all_chains
from registry.lifecycle.retire import RetiredCollecting
from registry.models import Shelf, open_database
from registry.protocol.activity import OPERATOR, OPERATORS_CHAIN, decode_act

FORGOTTEN = (None, RetiredCollecting())


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A prepared folder, and an environment that points at it."""
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "var"))
    found = read_settings()
    # The commands read the machine's clock, so the keys must be live by it.
    prepare(found, time.time)
    return found


@pytest.fixture
def registry(settings: Settings) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(main, list(words))


def test_rotation_makes_a_key_that_signs_beside_the_old_one(
    registry: Callable[..., Result], settings: Settings
) -> None:
    assert registry("publish").exit_code == 0
    before = trust(settings)
    said = registry("keys", "rotate")
    assert said.exit_code == 0
    assert "XA_export-2 signs from now on" in said.output
    assert registry("publish").exit_code == 0
    after = trust(settings)
    assert len(before) == 1
    assert [key["key_version"] for key in after] in (["1", "2"], ["2", "1"])
    listed = registry("keys", "list").output
    assert listed.count("live") == 2
    assert (settings.keys_dir / "export" / "XA_export-2.pem").stat().st_mode & 0o077 == 0


def trust(settings: Settings) -> list[dict[str, str]]:
    text = (settings.public_dir / ".well-known" / "exposure-registry.json").read_text()
    keys: list[dict[str, str]] = json.loads(text)["export_signing_keys"]
    return keys


def test_without_a_live_signer_nothing_is_published_and_the_operator_is_told(
    registry: Callable[..., Result], settings: Settings
) -> None:
    (settings.keys_dir / "export" / "XA_export-1.pem").rename(settings.data_dir / "lost.pem")
    said = registry("publish")
    assert said.exit_code == 1
    assert "nothing is published" in said.output
    assert "missing" in registry("keys", "list").output


def test_a_fresh_link_signs_the_first_official_in(registry: Callable[..., Result]) -> None:
    first, second = registry("official", "link").output, registry("official", "link").output
    assert re.fullmatch(r"http://127\.0\.0\.1:8000/portal/sign-in/[\w-]{43}\n", first)
    assert first != second
    assert registry("official", "link", "--id", "nobody").exit_code == 1


def test_another_authority_is_registered_by_its_public_key(
    registry: Callable[..., Result], tmp_path: Path
) -> None:
    pem = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "theirs.pem").write_bytes(pem)
    words = ["authority", "add", "org.other", "--issuer", "i", "--audience", "a", "--region", "XB"]
    said = registry(*words, "--public-key", f"k1={tmp_path / 'theirs.pem'}")
    assert said.exit_code == 0, said.output
    assert registry("publish").exit_code == 0

    bad = registry(*words, "--public-key", f"k1={tmp_path / 'nowhere.pem'}")
    assert bad.exit_code == 2
    assert "nowhere.pem" in bad.output


@pytest.mark.parametrize("region", ["CHINA", "../../x", "X", ""])
def test_a_region_that_is_none_is_refused_before_it_can_stop_publishing(
    registry: Callable[..., Result], tmp_path: Path, region: str
) -> None:
    (tmp_path / "theirs.pem").write_bytes(a_public_key())
    said = registry(*other_authority(region), "--public-key", f"k1={tmp_path / 'theirs.pem'}")
    assert said.exit_code == 2
    assert registry("publish").exit_code == 0


def test_an_authority_that_is_there_is_changed_only_on_purpose(
    registry: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "theirs.pem").write_bytes(a_public_key())
    words = (*other_authority("XB"), "--public-key", f"k1={tmp_path / 'theirs.pem'}")
    assert registry(*words).exit_code == 0
    assert "--replace" in registry(*words).output
    assert registry(*words, "--replace").exit_code == 0


def other_authority(region: str) -> tuple[str, ...]:
    return ("authority", "add", "org.other", "--issuer", "i", "--audience", "a", "--region", region)


def a_public_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_rotating_the_certificate_key_lets_both_sign_and_be_checked(
    registry: Callable[..., Result], settings: Settings
) -> None:
    said = registry("keys", "rotate-certificate")
    assert said.exit_code == 0, said.output
    assert len(list((settings.keys_dir / "certificate").glob("*.pem"))) == 2
    signer = CertificateSigners(settings, time.time)[settings.health_authority_id]
    assert said.output.startswith(signer.key_id)


def acts(settings: Settings) -> list[tuple[str, dict[str, str | int]]]:
    """(kind, detail) of the operator's acts, once the chain has been checked."""
    engine = open_database(settings.issuing_database_url)
    with Session(engine) as session:
        check_all_chains(session)
        found = [decode_act(row.content) for row in acts_of(session, OPERATORS_CHAIN)]
    engine.dispose()
    assert {act.actor for act in found} == {OPERATOR}
    return [(act.kind, dict(act.detail)) for act in found]


def test_what_an_operator_does_is_on_record(
    registry: Callable[..., Result], settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "theirs.pem").write_bytes(a_public_key())
    words = (*other_authority("XB"), "--public-key", f"k1={tmp_path / 'theirs.pem'}")
    at_the_start = acts(settings)
    kinds = [kind for kind, _ in at_the_start]
    assert kinds == [
        *("log_keys_made", "log_keys_made", "policy_changed"),
        *("api_key_made", "api_key_made", "api_key_made", "sign_in_link"),
    ], "the first start"
    for line in (
        ("official", "link"),
        ("keys", "rotate"),
        ("keys", "rotate-certificate"),
        words,
        words,  # refused: it is there
        (*words, "--replace"),
        ("feed", "set", "xc", "--include", "XB", "--travelers"),
        ("feed", "set", "XC", "--include", "nowhere"),  # refused
        ("authority", "maintenance", "on"),
        ("authority", "maintenance", "off"),
        ("authority", "maintenance", "on", "--authority", "nobody"),  # refused
        ("authority", "codes", "letters"),
        ("authority", "codes", "words"),  # refused
        ("keys", "rotate", "--overlap-days", "-1"),  # refused
        ("official", "link", "--id", "nobody"),  # refused
    ):
        registry(*line)
    done = acts(settings)[len(at_the_start) :]
    assert [kind for kind, _ in done] == [
        "sign_in_link",
        "key_rotated",
        "certificate_key_rotated",
        "authority_added",
        "authority_changed",
        "feed_changed",
        "maintenance_changed",
        "maintenance_changed",
        "code_form_changed",
    ]
    assert done[1][1] == {"key": "XA_export-2"}
    assert done[3][1] == done[4][1] == {"authority": "org.other"}
    assert done[5][1] == {"region": "XC"}
    ours = settings.health_authority_id
    assert [detail for _, detail in done[6:]] == [
        {"authority": ours, "on": 1},
        {"authority": ours, "on": 0},
        {"authority": ours, "form": "letters"},
    ]


@pytest.mark.parametrize("change", ["feed", "authority"])
def test_whoever_uploaded_before_a_change_of_regions_stays_among_decoys(
    registry: Callable[..., Result], settings: Settings, tmp_path: Path, change: str
) -> None:
    """The next publishing draws them for every set of which a shelf is open."""
    (tmp_path / "theirs.pem").write_bytes(a_public_key())
    authority = (*other_authority("XB"), "--public-key", f"k1={tmp_path / 'theirs.pem'}")
    assert registry(*authority).exit_code == 0
    assert served_shelves(settings) == set(), "one authority more changes nobody's set"
    words = {
        "feed": ("feed", "set", "XC", "--include", "XB", "--include", "XC"),
        "authority": (*authority, "--region", "XD", "--replace"),
    }[change]
    assert registry(*words).exit_code == 0
    assert served_shelves(settings) == {"XA", "XB"}


def served_shelves(settings: Settings) -> set[str]:
    """The sets of regions of which a shelf is open whose keys may leave at once."""
    engine = open_database(settings.collecting_database_url)
    with Session(engine) as session:
        found = set(session.scalars(select(Shelf.region_set).filter_by(releasable_at=0, is_open=True)))
    engine.dispose()
    return found


@pytest.mark.parametrize("days", ["-1", "99999999999", "many"])
def test_an_overlap_that_is_none_changes_nothing(registry: Callable[..., Result], days: str) -> None:
    assert registry("keys", "rotate", "--overlap-days", days).exit_code == 2
    assert registry("keys", "list").output.count("XA_export") == 1


@pytest.mark.parametrize("words", [("publish",), ("retire",), ("keys", "list"), ("official", "link")])
def test_a_folder_that_is_no_registrys_is_named_without_a_traceback(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "nothing"))
    said = CliRunner().invoke(main, list(words))
    assert said.exit_code == 1
    assert "is no registry's folder yet" in said.output
    assert not (tmp_path / "nothing").exists()


def test_retiring_goes_on_when_publishing_cannot(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (settings.keys_dir / "export" / "XA_export-1.pem").unlink()
    retired = []
    worker = publisher(settings, time.time)
    monkeypatch.setattr(Publisher, "retire", lambda self: retired.append(self) or FORGOTTEN)
    stop = Event()
    monkeypatch.setattr(operator, "Event", lambda: stop)
    monkeypatch.setattr(operator, "_pause", lambda *_: stop.set() or 0)
    operator._publish_for_ever(worker)
    assert len(retired) == 1


def test_retiring_says_what_is_gone(registry: Callable[..., Result]) -> None:
    said = registry("retire")
    assert said.exit_code == 0
    assert "issuing: 0 codes" in said.output
    assert "0 keys" in said.output


def test_every_command_explains_itself(registry: Callable[..., Result]) -> None:
    listed = registry("--help").output
    for command in ("run", "publish", "retire", "official", "keys", "authority", "phone"):
        assert command in listed
        assert registry(command, "--help").exit_code == 0


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PORT", "eighty")
    said = CliRunner().invoke(main, ["run"])
    assert said.exit_code == 1
    assert "REGISTRY_PORT" in said.output


def test_a_batch_is_withdrawn_by_command_with_the_words_that_say_why(
    registry: Callable[..., Result], settings: Settings, tmp_path: Path
) -> None:
    said = registry("withdraw", "XA", "1", "--reason", "other", "--reference-file", str(tmp_path / "none"))
    assert said.exit_code == 2
    words = tmp_path / "order.txt"
    words.write_text("Order 12/2026")
    said = registry("withdraw", "XA", "1", "--reason", "legal_order", "--reference-file", str(words))
    assert said.exit_code == 1
    assert "window 1 of XA is not published" in said.output


def test_a_restored_backup_is_told_plainly_by_publish(
    registry: Callable[..., Result], settings: Settings, tmp_path: Path
) -> None:
    publisher(settings).publish()
    with (
        closing(sqlite3.connect(settings.data_dir / "collecting.sqlite")) as database,
        closing(sqlite3.connect(tmp_path / "backup")) as backup,
    ):
        database.backup(backup)
        publisher(settings, lambda: time.time() + 3600).publish()
        backup.backup(database)
    said = registry("publish")
    assert said.exit_code == 1
    assert "an older backup was restored" in said.output
    assert "Nothing was signed in this run; the next goes on" in said.output
    assert registry("publish").exit_code == 0
