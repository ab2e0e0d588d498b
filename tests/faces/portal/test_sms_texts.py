"""The page of SMS texts: seen as people get them, tried before they are kept, refused with what to mend."""

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from registry.models import Official, SmsTemplate, transaction
from registry.models.official import Permission, permission_text
from tests.faces.portal.conftest import ADDRESS, Portal, field

TEXTS = "/portal/settings/texts"


@pytest.fixture
def browser(portal: Portal) -> FlaskClient:
    with transaction(portal.session):
        official = portal.session.get_one(Official, "official-1")
        official.permission_text = permission_text([Permission.SETTINGS])
    return portal.signed_in()


def send(browser: FlaskClient, **answers: str) -> TestResponse:
    page = browser.get(f"{TEXTS}/text")
    filled = {"label": "county", "language": "en", "text": "Your code: [code] [link]", **answers}
    data = {"csrf_token": field(page, "csrf_token"), **filled}
    return browser.post(f"{TEXTS}/text", data=data, follow_redirects=True)


def test_a_text_is_tried_kept_changed_and_dropped(portal: Portal, browser: FlaskClient) -> None:
    page = send(browser, try_it="1")
    assert f"Your code: 123456789012347 {ADDRESS}/v?c=ABCDEFGHIJKLMNOPQRSTUVWXYZ" in page.text
    assert "1 SMS (GSM-7)</p>" in page.text
    assert "It is not kept yet." in page.text
    assert not portal.rows(SmsTemplate)
    page = send(browser, text="\r\n验证码 [code]\r\n有效[longexpires]小时 ", language="zh")
    assert "验证码 123456789012347\n有效24小时</p>" in page.text
    assert "1 SMS (UCS-2)" in page.text
    (row,) = portal.rows(SmsTemplate)
    assert isinstance(row, SmsTemplate)
    assert row.text == "验证码 [code]\n有效[longexpires]小时"
    again = browser.get(f"{TEXTS}/text?label=county&language=zh")
    assert "验证码 [code]\n有效" in again.text
    data = {"csrf_token": field(again, "csrf_token"), "label": "county", "language": "zh"}
    page = browser.post(f"{TEXTS}/drop", data=data, follow_redirects=True)
    assert "county" not in page.text
    assert not portal.rows(SmsTemplate)


@pytest.mark.parametrize(
    ("answers", "advice"),
    [
        ({"text": "nothing"}, "put in [link] or [code]"),
        ({"text": ""}, "Write the text."),
        ({"text": "[code] [kode]"}, "placeholder that does not exist"),
        ({"text": "[code]" + "x" * 800}, "800 characters are the most"),
        ({"text": "[code] [code]"}, "may stand there once"),
        ({"label": "two words"}, "Use 1 to 40 Latin letters"),
        ({"label": "county\n"}, ""),
        ({"language": "fr"}, "Choose the language of the text."),
    ],
)
def test_what_must_be_mended_is_said_and_nothing_is_kept(
    portal: Portal, browser: FlaskClient, answers: dict[str, str], advice: str
) -> None:
    page = send(browser, **answers)
    if not advice:
        assert page.status_code == 200, "a slip of the space bar is no fault"
        return
    assert page.status_code == 400
    assert page.text.count(advice) == 2, "in the summary and at the field"
    assert 'aria-invalid="true"' in page.text or "language-problem" in page.text
    assert not portal.rows(SmsTemplate)


def test_the_list_shows_what_comes_with_the_registry(browser: FlaskClient) -> None:
    page = browser.get(f"{TEXTS}/?lang=zh")
    assert page.text.count("系统自带") == 2
    assert "From your health authority" in page.text
    assert "【卫生健康部门】" in page.text
