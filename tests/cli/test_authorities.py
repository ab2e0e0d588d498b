"""`registry authority jwks` and `registry apikey`, as an operator gives them."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug import Request, Response
from werkzeug.serving import make_server
from werkzeug.test import Client

from registry.app import issuing
from registry.cli import main
from registry.cli.first_run import prepare
from registry.config import Settings, read_settings
from registry.lifecycle.activity import acts_of, check_all_chains
from registry.models import HealthAuthorityKey, open_database
from registry.protocol.activity import OPERATORS_CHAIN, decode_act
from registry.protocol.certificate import read_jwt
from registry.protocol.jwt import jwk_of
from tests.authority import MadeSigner


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A prepared folder, and an environment that points at it."""
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("REGISTRY_ANSWER_HOLD_MILLISECONDS", "0")
    found = read_settings()
    prepare(found, time.time)
    return found


@pytest.fixture
def registry(settings: Settings) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(main, list(words))


@pytest.fixture
def other(registry: Callable[..., Result], tmp_path: Path) -> None:
    """An outside authority with one key, k0."""
    (tmp_path / "k0.pem").write_text(MadeSigner("k0").public_key_pem)
    words = ["authority", "add", "org.other", "--issuer", "i", "--audience", "a", "--region", "XB"]
    assert registry(*words, "--public-key", f"k0={tmp_path / 'k0.pem'}").exit_code == 0


def key_set(*key_ids: str) -> bytes:
    keys = [jwk_of(MadeSigner(key_id).public_key_pem, key_id) for key_id in key_ids]
    return json.dumps({"keys": keys}).encode()


def keys_until(settings: Settings) -> dict[str, int]:
    with Session(open_database(settings.collecting_database_url)) as session:
        rows = session.scalars(
            select(HealthAuthorityKey).where(HealthAuthorityKey.health_authority_id == "org.other")
        )
        return {row.key_id: row.not_after for row in rows}


def last_act(settings: Settings) -> tuple[str, dict[str, str | int]]:
    with Session(open_database(settings.issuing_database_url)) as session:
        check_all_chains(session)
        act = decode_act(acts_of(session, OPERATORS_CHAIN)[-1].content)
        return act.kind, dict(act.detail)


class Publisher:
    """Serves a key set of choice at /jwks, and sends elsewhere from /moved."""

    def __init__(self) -> None:
        self.content = key_set("k1")
        self.server = make_server("127.0.0.1", 0, Request.application(self._answer))
        self.address = f"http://127.0.0.1:{self.server.port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def _answer(self, request: Request) -> Response:
        if request.path == "/moved":
            return Response(status=302, headers={"Location": f"{self.address}/jwks"})
        return Response(self.content, status=200 if request.path == "/jwks" else 404)


@pytest.fixture
def published() -> Iterator[Publisher]:
    publisher = Publisher()
    yield publisher
    publisher.server.shutdown()
    publisher.thread.join()
    publisher.server.server_close()


@pytest.mark.usefixtures("other")
def test_a_key_set_is_taken_up_from_its_address_and_is_on_record(
    registry: Callable[..., Result], settings: Settings, published: Publisher
) -> None:
    said = registry("authority", "jwks", "ORG.other", f"{published.address}/jwks")
    assert said.exit_code == 0, said.output
    assert said.output == "new: k1\nends: k0\n"
    until = keys_until(settings)
    assert until["k0"] - time.time() <= 3600 < until["k1"] - time.time()
    detail = {"authority": "org.other", "keys_new": 1, "keys_kept": 0, "keys_ended": 1}
    assert last_act(settings) == ("authority_changed", detail)


@pytest.mark.usefixtures("other")
def test_a_set_that_would_leave_none_or_is_no_set_changes_nothing(
    registry: Callable[..., Result], settings: Settings, published: Publisher, tmp_path: Path
) -> None:
    before, act = keys_until(settings), last_act(settings)
    for content, said in (
        (b'{"keys": []}', "stay as they are"),
        (b"<html>", "not JSON"),
        (key_set("k1") + b" " * 200_000, "larger than 64000 bytes"),
    ):
        published.content = content
        (tmp_path / "set.json").write_bytes(content)
        for place in (f"{published.address}/jwks", str(tmp_path / "set.json")):
            refused = registry("authority", "jwks", "org.other", place)
            assert refused.exit_code == 1
            assert said in refused.output
    published.content = key_set("k1")
    for place, said in (
        (f"{published.address}/moved", "answers 302"),
        (f"{published.address}/nowhere", "answers 404"),
        ("http://keys.example/jwks", "must begin with https://"),
        ("http://127.0.0.1:9/jwks", "cannot be read: ConnectionError"),
        (str(tmp_path / "nowhere.json"), "cannot be read"),
    ):
        refused = registry("authority", "jwks", "org.other", place)
        assert refused.exit_code == 1
        assert said in refused.output
    assert registry("authority", "jwks", "org.unknown", f"{published.address}/jwks").exit_code == 1
    assert (keys_until(settings), last_act(settings)) == (before, act)


def test_an_api_key_is_shown_once_works_at_once_and_ends_at_once(
    registry: Callable[..., Result], settings: Settings
) -> None:
    made = registry("apikey", "create", "device", "App of Hubei")
    assert re.fullmatch(r"[\w-]{64}\n", made.output)
    api_key = made.output.strip()
    phones = Client(issuing(settings))

    def verify() -> int:
        headers = {"X-API-Key": api_key, "Content-Type": "application/json"}
        return phones.post("/api/verify", data=b'{"code": "1"}', headers=headers).status_code

    assert verify() == 400  # the code is none, the key is good
    listed = registry("apikey", "list").output
    assert api_key not in listed
    (line,) = [line for line in listed.splitlines() if "App of Hubei" in line]
    assert re.search(r"device  \S{6}…  enabled   \d{4}-\d\d-\d\d  App of Hubei$", line)
    key_id = line.split()[0]
    assert registry("apikey", "disable", key_id).exit_code == 0
    assert verify() == 401
    assert last_act(settings)[0] == "api_key_disabled"
    assert registry("apikey", "enable", key_id).exit_code == 0
    assert verify() == 400
    assert registry("apikey", "disable", key_id[:4]).exit_code == 1
    assert registry("apikey", "disable", "0" * 12).exit_code == 1
    assert registry("apikey", "create", "king", "x").exit_code == 2
    assert registry("apikey", "create", "device", " ").exit_code == 2
    assert registry("apikey", "create", "device", "x", "--authority", "nobody").exit_code == 1
    assert verify() == 400


def test_a_second_authority_issues_codes_of_its_own_and_the_first_sees_nothing_of_it(
    registry: Callable[..., Result], settings: Settings
) -> None:
    hosted = registry("authority", "host", "Org.Second", "The second", "--region", "XB")
    assert hosted.exit_code == 0, hosted.output
    assert (
        "is registered already" in registry("authority", "host", "org.second", "x", "--region", "XB").output
    )
    keys = {
        kind: registry("apikey", "create", kind, "lab", "--authority", "org.second").output.strip()
        for kind in ("admin", "device")
    }
    client = Client(issuing(settings))

    def call(path: str, key: str, **members: str) -> dict[str, str]:
        answer = client.post(path, json=members, headers={"X-API-Key": key})
        found: dict[str, str] = json.loads(answer.get_data())
        return found

    today = time.strftime("%Y-%m-%d", time.gmtime())
    code = call("/api/issue", keys["admin"], testType="confirmed", testDate=today)["code"]
    first_run = json.loads(settings.first_run_path.read_text())
    assert call("/api/verify", first_run["device_api_key"], code=code)["errorCode"] == "code_invalid"
    token = call("/api/verify", keys["device"], code=code)["token"]
    named = {"token": token, "ekeyhmac": "A" * 43 + "="}
    certificate = call("/api/certificate", keys["device"], **named)["certificate"]
    listed = json.loads(client.get("/jwks/org.second").get_data())["keys"]
    assert [key["kid"] for key in listed] == [read_jwt(certificate)[0]["kid"]]
    added = registry("official", "add", "Zhao", "--authority", "org.second").output.strip()
    assert registry("official", "link", "--id", added).exit_code == 0
    assert registry("official", "add", "Zhao", "--authority", "nobody").exit_code == 1
    old = listed[0]["kid"]
    assert registry("keys", "rotate-certificate", "--authority", "org.second").exit_code == 0
    now_listed = {key["kid"] for key in json.loads(client.get("/jwks/org.second").get_data())["keys"]}
    assert len(now_listed - {old}) == 1
