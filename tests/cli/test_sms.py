"""By command: a key that signs SMS, what the authority does by SMS, and the gateways of a process."""

import json
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy.orm import Session

from registry.app import sms_desk, sms_maker
from registry.cli import main
from registry.cli.first_run import prepare
from registry.config import Settings, read_settings
from registry.delivery.folder_gateway import NEWEST
from registry.delivery.phone_number import read_phone_number
from registry.delivery.sms import Delivery, Sms
from registry.errors import ConfigurationError
from registry.lifecycle.activity import acts_of
from registry.models import open_database
from registry.protocol.activity import OPERATORS_CHAIN, decode_act
from registry.signing.key_file import create_private
from tests.delivery.gateway import suite_gateway

NUMBER = read_phone_number("+8613800138000", "XA")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "var"))
    found = read_settings()
    prepare(found, time.time)
    return found


@pytest.fixture
def registry(settings: Settings) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(main, list(words))


def acts(settings: Settings) -> list[tuple[str, dict[str, str | int]]]:
    with Session(open_database(settings.issuing_database_url)) as session:
        found = [decode_act(event.content) for event in acts_of(session, OPERATORS_CHAIN)]
    return [(act.kind, dict(act.detail)) for act in found]


def test_the_newest_key_signs_and_each_is_on_record(
    settings: Settings, registry: Callable[..., Result]
) -> None:
    assert sms_maker(settings).signers == {}
    for number in range(1, 12):
        told = registry("keys", "sms").output
        assert told.startswith(f"v{number} signs")
    authority = settings.health_authority_id
    signer = sms_maker(settings).signers[authority]
    assert signer.key_id == "v11", "by number, not by letter"
    path = settings.keys_dir / "sms" / f"{authority}~v11.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "BEGIN PUBLIC KEY" in told
    assert "PRIVATE" not in told
    assert ("sms_key_made", {"key": f"{authority}/v11"}) in acts(settings)


def test_what_the_authority_does_is_changed_told_and_on_record(
    settings: Settings, registry: Callable[..., Result]
) -> None:
    assert registry("authority", "sms").output == "generate_sms_allowed: no\nsms_signed: no\n"
    assert registry("authority", "sms", "--signed").output == "generate_sms_allowed: no\nsms_signed: yes\n"
    assert registry("authority", "sms", "--generate", "--no-signed").exit_code == 0
    assert registry("authority", "sms").output == "generate_sms_allowed: yes\nsms_signed: no\n"
    changes = [detail for kind, detail in acts(settings) if kind == "authority_changed"]
    authority = settings.health_authority_id
    assert changes == [
        {"authority": authority, "sms_signed": 1},
        {"authority": authority, "generate_sms_allowed": 1, "sms_signed": 0},
    ]


def test_self_reports_are_off_until_they_are_wanted(
    settings: Settings, registry: Callable[..., Result]
) -> None:
    told = "self-reports: {}, {} a day at the most\n"
    assert registry("authority", "self-report").output == told.format("off", 1000)
    assert registry("authority", "self-report", "--on", "--a-day", "50").output == told.format("on", 50)
    assert registry("authority", "self-report", "--off").output == told.format("off", 50)
    changes = [detail for kind, detail in acts(settings) if kind == "authority_changed"]
    assert [(change["self_report"], change["self_reports_a_day"]) for change in changes] == [(1, 50), (0, 50)]


def test_a_demonstration_writes_sms_down_and_production_sends_none_without_gateways(
    settings: Settings,
) -> None:
    desk = sms_desk(settings)
    assert desk
    assert desk.send(Sms(NUMBER, "text")).delivery is Delivery.SENT
    assert "text" in (settings.data_dir / "sms" / NEWEST).read_text()
    assert sms_desk(replace(settings, profile="production")) is None


def test_gateways_come_from_a_file_that_nobody_else_may_read(settings: Settings, tmp_path: Path) -> None:
    with suite_gateway() as gateway:
        path = tmp_path / "gateways.toml"
        create_private(path, gateway.toml().encode())
        desk = sms_desk(replace(settings, profile="production", sms_gateways_file=path))
        assert desk
        assert desk.send(Sms(NUMBER, "text")).delivery is Delivery.SENT
        assert json.loads(gateway.asked[0].body)["text"] == "text"
        path.chmod(0o640)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            sms_desk(replace(settings, sms_gateways_file=path))
