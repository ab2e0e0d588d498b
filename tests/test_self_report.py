"""A person's own report from the first call to the published file, through a whole registry."""

import base64
import re
import secrets
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from registry.delivery.folder_gateway import NEWEST
from registry.models import Authority, open_database, transaction
from registry.protocol.keys import ReportType
from tests.app_of_old import fresh_keys
from tests.world import World

NUMBER = "+8613800138000"


def test_a_self_report_is_published_as_what_it_is(world: World) -> None:
    with Session(open_database(world.settings.issuing_database_url)) as session, transaction(session):
        session.get_one(Authority, world.settings.health_authority_id).self_report = True
    app, nonce = world.app(), base64.b64encode(secrets.token_bytes(256)).decode()
    day = (datetime.fromtimestamp(world.clock(), UTC) - timedelta(days=3)).date().isoformat()
    asked = app.post(
        "/api/user-report",
        {"phone": NUMBER, "nonce": nonce, "symptomDate": day, "smsLanguage": "en"},
        app.device_api_key,
    )
    assert asked.status == 200, asked.body
    text = _newest_sms(world)
    assert NUMBER[1:] not in text
    code = re.search(r"(?<!\d)\d{15}(?!\d)", text)
    assert code
    verified = app.post("/api/verify", {"code": code[0], "nonce": nonce}, app.device_api_key)
    assert verified.body["testtype"] == "user-report"
    keys = fresh_keys(world.clock(), 4)
    certified = app.certify(verified.body["token"], keys)
    assert app.post("/v1/publish", app.publish_body(certified.body["certificate"], keys)).status == 200
    world.clock.advance(2 * 86_400)
    world.publish()
    published = [key for name in world.file_names() for key in world.file(name).keys]
    own = {base64.b64decode(key["key"]) for key in keys}
    found = [key for key in published if key.key_data in own]
    assert len(found) == 4
    assert {key.report_type for key in found} == {ReportType.SELF_REPORT}


def _newest_sms(world: World) -> str:
    path = world.settings.data_dir / "sms" / NEWEST
    ends = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < ends, "no SMS was written"
        time.sleep(0.01)
    return path.read_text()
