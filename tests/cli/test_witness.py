"""`registry witness`, from nothing to a log that is cosigned, on a machine that holds no registry."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from werkzeug.test import Client

from registry.app import embedded, open_witness
from registry.cli import main
from registry.cli.first_run import prepare
from registry.config import Settings, read_settings
from registry.protocol.note import KeyKind, encode_note, verifier_key
from registry.protocol.witness_policy import decode_policy
from registry.protocol.witness_request import encode_request, origin_hash
from registry.witness.refusals import Inconsistent
from tests.clock import NOON_OF_JUNE_15 as NOON
from tests.witness.shown_log import ORIGIN, ShownLog

NAME = "health.example/witness"

Command = Callable[..., Result]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty folder, and an environment that points at it."""
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("REGISTRY_BASE_URL", "https://health.example")
    return read_settings()


@pytest.fixture
def witness(settings: Settings) -> Command:
    _ = settings
    return lambda *words: CliRunner().invoke(main, ["witness", *words])


@pytest.fixture
def log() -> ShownLog:
    return ShownLog(9)


@pytest.fixture
def begun(witness: Command) -> Command:
    """The same command, in a folder where a witness has begun."""
    assert witness("init", "--name", NAME).exit_code == 0
    return witness


def test_a_witness_begins_once(witness: Command, settings: Settings) -> None:
    for _ in range(2):
        said = witness("init", "--name", NAME)
        assert said.exit_code == 0
        assert f"The witness {NAME} is ready" in said.output
    assert witness("init").exit_code == 0, "its name is known by now"
    for name in ("ed25519.pem", "mldsa44.pem"):
        assert (settings.keys_dir / "witness" / name).stat().st_mode & 0o077 == 0


def test_a_witness_needs_a_name(witness: Command, settings: Settings) -> None:
    said = witness("init")
    assert said.exit_code == 1
    assert "--name" in said.output
    assert not settings.witness_path.exists()


def test_its_name_may_stand_in_the_settings(witness: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_WITNESS_NAME", "w.example/w1")
    assert "The witness w.example/w1 is ready" in witness("init").output


@pytest.mark.parametrize("name", ["two words", "a+b", "x" * 201])
def test_a_name_that_no_key_can_have_is_refused(
    monkeypatch: pytest.MonkeyPatch, witness: Command, name: str
) -> None:
    monkeypatch.setenv("REGISTRY_WITNESS_NAME", name)
    assert "REGISTRY_WITNESS_NAME" in witness("init").output


@pytest.mark.parametrize("command", [("logs",), ("keys",), ("evidence",), ("serve",), ("remove-log", "x")])
def test_nothing_works_before_it_has_begun(witness: Command, command: tuple[str, ...]) -> None:
    said = witness(*command)
    assert said.exit_code == 1
    assert "registry witness init" in said.output


def test_a_lost_state_ends_the_witness(begun: Command, settings: Settings) -> None:
    settings.witness_path.unlink()
    for command in (("init", "--name", NAME), ("serve",), ("logs",)):
        said = begun(*command)
        assert said.exit_code == 1
        assert "must never cosign again" in said.output
    assert not settings.witness_path.exists()


def test_its_keys_are_lines_for_a_policy(begun: Command) -> None:
    said = begun("keys")
    policy = decode_policy((said.output + "quorum none\n").encode())
    assert [(w.name, KeyKind(w.key.kind), w.key.name, w.url) for w in policy.witnesses] == [
        ("health.example-witness", KeyKind.COSIGNATURE_V1, NAME, "https://health.example/witness"),
        ("health.example-witness-mldsa44", KeyKind.ML_DSA_44, NAME, "https://health.example/witness"),
    ]
    elsewhere = begun("keys", "--url", "https://w.example/x")
    assert "https://w.example/x" in elsewhere.output


def test_a_policy_is_checked_before_it_is_used(begun: Command, tmp_path: Path) -> None:
    keys = begun("keys").output
    file = tmp_path / "policy"
    file.write_text(keys + "quorum health.example-witness\n")
    said = begun("check-policy", str(file))
    assert said.exit_code == 0
    assert "health.example-witness: counts for the quorum; https://health.example/witness" in said.output
    assert "health.example-witness-mldsa44: is asked, and never counted" in said.output
    assert "while every witness is honest" in said.output

    file.write_text(keys)
    assert "no quorum line" in begun("check-policy", str(file)).output


def test_a_log_is_added_shown_and_removed(begun: Command, settings: Settings, log: ShownLog) -> None:
    vkey = verifier_key(log.signers[0]).vkey
    assert ORIGIN in begun("add-log", vkey, "--contact", "ops@registry.example").output
    assert "never" in begun("logs").output

    open_witness(settings).add_checkpoint(log.request(0), NOON)

    listed = begun("logs").output
    assert "2026-06-15 12:00:00 UTC" in listed
    assert begun("remove-log", ORIGIN).exit_code == 0
    assert begun("remove-log", ORIGIN).exit_code == 1
    assert ORIGIN not in begun("logs").output


def test_next_years_shard_is_another_log_beside_this_years(begun: Command) -> None:
    for year in (2026, 2027):
        shard = ShownLog(1, origin=f"registry.example/keys/{year}")
        assert begun("add-log", verifier_key(shard.signers[0]).vkey).exit_code == 0
    listed = begun("logs").output
    assert "keys/2026" in listed
    assert "keys/2027" in listed


def test_a_list_of_logs_is_read(begun: Command, tmp_path: Path, log: ShownLog) -> None:
    other = ShownLog(1, origin="other.example/log")
    keys = [verifier_key(one.signers[0]).vkey for one in (log, other)]
    file = tmp_path / "list"
    file.write_text("logs/v0\n" + "".join(f"vkey {key}\nqpd 96\ncontact a@b.example\n" for key in keys))
    assert begun("add-logs", str(file)).exit_code == 0
    assert begun("logs").output.count("a@b.example") == 2

    file.write_text("logs/v1\n")
    assert begun("add-logs", str(file)).exit_code == 1


def test_the_policy_that_a_registry_publishes_names_its_logs(begun: Command, tmp_path: Path) -> None:
    shards = [ShownLog(origin=f"registry.example/keys/{year}") for year in (2026, 2027)]
    keys = [verifier_key(signer).vkey for shard in shards for signer in shard.signers]
    file = tmp_path / "policy"
    file.write_text("".join(f"log {key}\n" for key in keys) + "quorum none\n")

    said = begun("add-logs", str(file), "--contact", "ops@registry.example")

    assert said.output.splitlines() == [f"{shard.origin} is cosigned." for shard in shards]
    assert begun("logs").output.splitlines() == [
        f"{shard.origin}: never cosigned yet, 2 key(s), ops@registry.example" for shard in shards
    ]


@pytest.mark.parametrize("vkey", ["nonsense", "a+00000000+AAAA"])
def test_a_key_that_is_none_is_refused(begun: Command, vkey: str) -> None:
    assert begun("add-log", vkey).exit_code == 1


def test_evidence_is_printed_whole(begun: Command, settings: Settings, log: ShownLog) -> None:
    assert begun("evidence").exit_code == 0
    ours = open_witness(settings)
    ours.add_log(verifier_key(log.signers[0]))
    ours.add_checkpoint(log.request(0, 8), NOON)
    fork = log.forked(5, 8, "other")
    with pytest.raises(Inconsistent):
        ours.add_checkpoint(encode_request(8, [], encode_note(fork.note())), NOON)

    said = begun("evidence")

    assert said.exit_code == 3
    assert "it has forked" in said.output
    for shown in (log.note(8), fork.note(8)):
        assert shown.text in said.output


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A whole registry's folder, as its first start leaves it."""
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "registry"))
    monkeypatch.setenv("REGISTRY_LOG_ORIGIN", "health.example/keys")
    found = read_settings()
    prepare(found, time.time)
    return found


def test_an_embedded_registry_is_a_witness_that_knows_no_log(registry: Settings, log: ShownLog) -> None:
    ours = open_witness(registry)
    assert (ours.keys[0].name, ours.logs()) == (NAME, [])
    web = Client(embedded(registry))
    assert web.post("/witness/add-checkpoint", data=log.request(0)).status_code == 404

    ours.add_log(verifier_key(log.signers[0]))

    assert web.post("/witness/add-checkpoint", data=log.request(0)).status_code == 200
    assert web.get(f"/witness/{origin_hash(ORIGIN)}/checkpoint").text.startswith(ORIGIN)


def test_a_registry_whose_witness_is_lost_goes_on_without(
    registry: Settings, log: ShownLog, caplog: pytest.LogCaptureFixture
) -> None:
    registry.witness_path.unlink()
    prepare(registry, time.time)
    assert "must never cosign again" in caplog.text
    web = Client(embedded(registry))
    assert web.post("/witness/add-checkpoint", data=log.request(0)).status_code == 503
    assert web.get("/readyz").status_code == 200
    assert not registry.witness_path.exists()


def test_a_folder_that_is_a_registrys_names_its_witness_by_the_log(
    witness: Command, settings: Settings
) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "registry.json").write_text('{"log_origin": "health.example/keys"}')
    assert f"The witness {NAME} is ready" in witness("init").output
