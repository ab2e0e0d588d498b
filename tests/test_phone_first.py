"""The phone makes a code, an official makes it good, and the upload goes on."""

import re

from registry.protocol.codes import new_code
from tests.world import World

CODE = new_code(lambda limit: 45_678_901_234_567 % limit)


def test_a_phones_code_uploads_once_it_was_activated_and_not_before(world: World) -> None:
    app = world.app()
    assert app.verify(CODE).code == "code_invalid"
    browser = world.client
    path = "/" + world.first_run["portal_sign_in_url"].split("/", 3)[3]
    token = re.search(r'name="csrf_token" value="([^"]*)"', browser.get(path).text)
    assert token is not None
    browser.post(path, data={"csrf_token": token[1]})
    page = browser.get("/portal/activate/").text
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    tested = re.findall(r'name="tested" value="([\d-]+)"', page)[2]
    answers = {"tested": tested, "report_type": "confirmed", "consent_language": "en"}
    sent = browser.post(
        "/portal/activate/",
        data=hidden | answers | {"consent_channel": "in-person", "phone_code": CODE},
    )
    assert sent.status_code == 303
    verified = app.verify(CODE)
    assert (verified.status, verified.body["testDate"]) == (200, tested)
    assert app.verify(CODE).code == "code_invalid", "it is used up like any other"
