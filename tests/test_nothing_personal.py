"""Nothing that names a person or a phone is left anywhere: a full run is searched for what was planted.

Planted: a telephone number in a lab's messages, in requests for an SMS, which gateways accept, refuse, quote
and drop, and in a person's own report; the address that the phones call from (a loopback address of its own,
so that it is really theirs), their user agent, an official's user agent, a query string. Searched: every file
of the data folder (databases, their journals, keys, public files), the log, the metrics, and in PostgreSQL
every column of every table.
"""

import base64
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine, select

from registry.signing.key_file import create_private
from tests.app_of_old import AppOfOld, fresh_keys
from tests.delivery.gateway import SuiteGateway, suite_gateway
from tests.running import Running, free_port

PHONE_NUMBER = "+8613800138000"
ADDRESS = "127.77.66.55"
USER_AGENT = "PlantedPhone/7.5 (serial 4711-0815)"
QUERY = "planted-query-9931"
FHIR = {"Content-Type": "application/fhir+json"}
SPELLINGS = ("13800138000", "138 0013 8000", "138-0013-8000", "%2B86", "8613800138", "138001")
PLANTED = (PHONE_NUMBER, *SPELLINGS, ADDRESS, "PlantedPhone", "4711-0815", QUERY)


@dataclass
class PlantedCaller:
    """Calls as somebody who can be recognised in everything that a server is tempted to write down."""

    port: int

    def __call__(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=20, source_address=(ADDRESS, 0)
        )
        planted = {"User-Agent": USER_AGENT, "X-Forwarded-For": ADDRESS, "Forwarded": f"for={ADDRESS}"}
        connection.request(method, path, body=body or None, headers={**headers, **planted})
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found


@pytest.fixture
def gateway() -> Iterator[SuiteGateway]:
    with suite_gateway() as there:
        yield there


@pytest.fixture
def registry(
    tmp_path: Path, empty_database: Callable[[str], str], gateway: SuiteGateway
) -> Iterator[Running]:
    create_private(tmp_path / "gateways.toml", gateway.toml().encode())
    running = Running(
        tmp_path / "var",
        REGISTRY_SMS_GATEWAYS_FILE=str(tmp_path / "gateways.toml"),
        REGISTRY_ISSUING_DATABASE_URL=empty_database("issuing"),
        REGISTRY_COLLECTING_DATABASE_URL=empty_database("collecting"),
        REGISTRY_WINDOW_SECONDS="1",
        REGISTRY_ANSWER_HOLD_MILLISECONDS="0",
        REGISTRY_METRICS_PORT=str(free_port()),
    ).start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def test_nothing_planted_is_found_anywhere_after_a_full_run(registry: Running, gateway: SuiteGateway) -> None:
    live_a_day(registry)
    send_sms(registry, gateway)
    metrics = metrics_of(registry)
    registry.stop()
    places = {"metrics": metrics, "log": registry.log_path.read_bytes()}
    places |= {str(path.name): path.read_bytes() for path in registry.folder.rglob("*") if path.is_file()}
    for name in ("ISSUING", "COLLECTING"):
        places |= dict(dump(registry.environment[f"REGISTRY_{name}_DATABASE_URL"]))
    found = [
        (place, planted)
        for place, content in places.items()
        for planted in PLANTED
        if planted.encode() in content
    ]
    assert found == []
    assert b"registry_publish" in metrics
    assert sum(map(len, places.values())) > 10_000, "there was something to search"


def live_a_day(registry: Running) -> None:
    """Everything that leaves traces: success, refusal, fault, chaff, portal, polling, publishing."""
    call = PlantedCaller(registry.port)
    first_run = registry.first_run
    app = AppOfOld(call, first_run["device_api_key"], first_run["health_authority_id"])
    admin = first_run["admin_api_key"]
    refused = app.post("/api/issue", {"testType": "confirmed", "phone": PHONE_NUMBER}, admin)
    assert refused.status == 400
    codes = [
        app.post("/api/issue", {"testType": "confirmed", "symptomDate": days_ago(2)}, admin) for _ in range(2)
    ]
    assert [code.status for code in codes] == [200, 200]
    assert call("POST", "/api/fhir", {"X-API-Key": admin, **FHIR}, lab_message())[0] == 200
    keys = fresh_keys(time.time() - 2 * 86_400)
    uploaded = app.upload(codes[0].body["code"], keys, phone=PHONE_NUMBER, deviceId="4711-0815")
    assert uploaded.status == 200, uploaded.body
    assert app.verify("12345").status == 400
    app.send("/v1/publish", b"PlantedPhone " + PHONE_NUMBER.encode(), None)
    app.send("/api/verify", b'{"code": "%s"}' % PHONE_NUMBER.encode(), first_run["device_api_key"])
    chaff = {"X-API-Key": first_run["device_api_key"], "X-Chaff": "1", "Content-Type": "application/json"}
    padding = base64.b64encode(PHONE_NUMBER.encode() * 50)
    assert call("POST", "/api/verify", chaff, b'{"padding": "%s"}' % padding)[0] == 200
    link = first_run["portal_sign_in_url"].removeprefix(first_run["base_url"])
    assert call("GET", f"{link}?{QUERY}", {}, b"")[0] == 200
    assert call("GET", f"/nothing/here?{QUERY}", {}, b"")[0] == 404
    assert call("GET", f"/exposures/XA/index.json?{QUERY}", {}, b"")[0] == 200
    registry.wait_until(registry.file_names)


def lab_message() -> bytes:
    """A positive result with a person in every place that FHIR has for one."""
    person = {"display": PHONE_NUMBER, "identifier": {"value": "4711-0815"}}
    message = {
        "resourceType": "Observation",
        "id": "PlantedPhone",
        "identifier": [{"value": PHONE_NUMBER}],
        "text": {"status": "generated", "div": f"<div>{PHONE_NUMBER}</div>"},
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "94500-6", "display": PHONE_NUMBER}]},
        "subject": person,
        "performer": [person],
        "effectiveDateTime": days_ago(2),
        "valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "10828004"}]},
        "note": [{"text": PHONE_NUMBER}],
    }
    return json.dumps(message).encode()


def send_sms(registry: Running, gateway: SuiteGateway) -> None:
    """By SMS, in several spellings, through a gateway in every mood; and a person's own report."""
    first_run = registry.first_run
    app = AppOfOld(
        PlantedCaller(registry.port), first_run["device_api_key"], first_run["health_authority_id"]
    )
    told = subprocess.run(  # our own command
        [sys.executable, "-m", "registry.cli", "authority", "self-report", "--on"],
        env=registry.environment,
        check=True,
        capture_output=True,
    )
    assert b"on" in told.stdout
    statement = {"testType": "confirmed", "symptomDate": days_ago(2)}
    spellings = (PHONE_NUMBER, "+86 138 0013 8000", " +86 138-0013-8000 ", "+86-13800138000", PHONE_NUMBER)
    for behaviour, phone in zip((200, "echo", 500, "die", "hang"), spellings, strict=True):
        gateway.behaviour = behaviour
        sent = app.post("/api/issue", {**statement, "phone": phone}, first_run["admin_api_key"])
        assert (sent.status == 200) is (behaviour == 200), sent.body
        assert not any(spelling in str(sent.body) for spelling in SPELLINGS)
    label = {"phone": PHONE_NUMBER, "smsTemplateLabel": "none"}
    assert app.post("/api/issue", {**statement, **label}, first_run["admin_api_key"]).status == 400
    gateway.behaviour = "echo"
    nonce = base64.b64encode(bytes(256)).decode()
    own = {"phone": PHONE_NUMBER, "nonce": nonce, "symptomDate": days_ago(2)}
    assert app.post("/api/user-report", own, first_run["device_api_key"]).status == 200
    registry.wait_until(lambda: len(gateway.asked) == 6)
    gateway.behaviour = 200
    registry.wait_until(
        lambda: (
            app.post("/api/user-report", own, first_run["device_api_key"]).status == 200
            and len(gateway.asked) == 7
        )
    )
    assert {asked.path for asked in gateway.asked} == {"/send"}
    assert {asked.json()["to"] for asked in gateway.asked} == {PHONE_NUMBER}


def metrics_of(registry: Running) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", int(registry.environment["REGISTRY_METRICS_PORT"]))
    connection.request("GET", "/metrics")
    content = connection.getresponse().read()
    connection.close()
    return content


def dump(url: str) -> Iterator[tuple[str, bytes]]:
    """Every table as text, binary columns as they are and decoded."""
    engine = create_engine(url)
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            rows = connection.execute(select(table)).all()
            cells = [v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row]
            yield f"table {table.name}", b"\n".join(cells)
    engine.dispose()


def test_the_log_does_not_tell_when_a_phone_called(registry: Running) -> None:
    app = AppOfOld(
        registry.call, registry.first_run["device_api_key"], registry.first_run["health_authority_id"]
    )
    registry.wait_until(lambda: "whole walk" in registry.log_path.read_text())
    before = len(registry.log_path.read_text())
    app.verify("12345")
    headers = {"X-API-Key": app.device_api_key, "X-Chaff": "1", "Content-Type": "application/json"}
    registry.call("POST", "/api/verify", headers, b'{"padding": "AAAA"}')
    app.post("/v1/publish", {})
    said = registry.log_path.read_text()[before:]
    assert [line for line in said.splitlines() if "registry.publisher" not in line] == []


def days_ago(days: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - days * 86_400))
