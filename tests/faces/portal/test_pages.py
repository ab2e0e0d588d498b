"""What holds on every page: languages, the demonstration's mark, headers, and pages for what goes wrong."""

import hashlib
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import registry.faces.portal
from registry.faces.hardening import CONTENT_SECURITY_POLICY
from registry.faces.portal import consent
from registry.models import Official, transaction
from registry.protocol.codes import LINK_LENGTH, is_link_code
from tests.faces.portal.conftest import ADDRESS, Portal, code_on, field, fill_in, hand_over

PACKAGE = Path(registry.faces.portal.__file__).parent
BOTH = ("zh", "en")


def test_every_text_has_a_chinese_translation_and_none_is_left_over() -> None:
    extracted = extract_from_dir(
        PACKAGE,
        [("**.py", "python"), ("**/templates/**.html", "jinja2")],
        keywords={"_": None, "lazy": None},
    )
    texts = {message for _file, _line, message, _comments, _context in extracted}
    with (PACKAGE / "translations/zh/LC_MESSAGES/messages.po").open("rb") as source:
        translated = {str(entry.id): str(entry.string) for entry in read_po(source, "zh") if entry.id}
    assert texts == set(translated)
    for text, translation in translated.items():
        assert re.search(r"[\u4e00-\u9fff]", translation), text
        assert sorted(re.findall(r"%\(\w+\)s", text)) == sorted(re.findall(r"%\(\w+\)s", translation))


def test_a_consent_text_never_changes_under_its_version() -> None:
    # Officials' records name the version: a new wording needs a new one, and a line here.
    assert {
        (version, language): hashlib.sha256(
            "\n".join(consent.consent_text(version, language)).encode()
        ).hexdigest()[:16]
        for version in ("2026-11", "correction-2026-12")
        for language in BOTH
    } == {
        ("2026-11", "zh"): "c4d9e5a35520e044",
        ("2026-11", "en"): "4559dc92c626b27b",
        ("correction-2026-12", "zh"): "0605943881ac8815",
        ("correction-2026-12", "en"): "022be07a18e6388c",
    }


def test_the_version_in_use_exists_in_each_language_with_as_many_paragraphs() -> None:
    for version in (consent.CONSENT_VERSION, consent.CORRECTION_VERSION):
        texts = consent.texts_of(version)
        assert set(texts) == set(BOTH)
        assert len({len(paragraphs) for paragraphs in texts.values()}) == 1


def test_the_person_is_told_everything_that_is_published_of_them() -> None:
    # Each published key carries its day's distance from the onset of symptoms, and the kind of result.
    texts = {language: "\n".join(consent.texts_of(consent.CONSENT_VERSION)[language]) for language in BOTH}
    for words in ("random keys", "you choose", "kind of result", "before or after your first symptoms"):
        assert words in texts["en"]
    for words in ("随机密钥", "您选定", "结果的类型", "首次出现症状之前或之后"):
        assert words in texts["zh"]


def test_the_commands_that_the_portal_suggests_stand_in_the_readme(portal: Portal) -> None:
    readme = (PACKAGE.parents[2] / "README.md").read_text()
    browser = portal.signed_in()
    code_page = hand_over(browser, fill_in(browser))
    spent = portal.link()
    portal.clock.advance(86_400)
    late = portal.browser()
    link_spent = late.post(spent, data={"csrf_token": field(late.get(spent), "csrf_token")})
    signed_out = portal.browser().get("/portal/signed-out")
    for page, command in (
        (code_page, "upload"),
        (link_spent, "official link"),
        (signed_out, "official link"),
    ):
        suggested = re.findall(r"<code>(.*?)</code>", page.text)
        assert [line.endswith(command) for line in suggested] == [True]
        assert suggested[0] in readme


def test_before_a_change_of_language_empties_the_form_the_page_says_so(portal: Portal) -> None:
    browser = portal.signed_in()
    answers = fill_in(browser, consent_channel="absent")
    for page in (browser.get("/portal/"), hand_over(browser, answers)):
        assert "Switching empties the form." in page.text[: page.text.index("</nav>")]
    assert "Switching" not in browser.get("/portal/signed-out").text


@pytest.mark.parametrize(
    ("wanted", "spoken"),
    [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-GB", "en"), ("fr", "en"), ("", "en"), ("zh-TW", "zh")],
)
def test_the_page_speaks_what_the_browser_asks_for(portal: Portal, wanted: str, spoken: str) -> None:
    page = portal.browser().get("/portal/", headers={"Accept-Language": wanted})
    assert f'<html lang="{spoken}">' in page.text


def test_a_chosen_language_stays_chosen(portal: Portal) -> None:
    browser = portal.browser()
    assert '<html lang="zh">' in browser.get("/portal/?lang=zh").text
    assert '<html lang="zh">' in browser.get("/portal/").text
    assert "您尚未登录" in browser.get("/portal/").text
    assert '<html lang="en">' in browser.get("/portal/?lang=en").text
    assert '<html lang="en">' in browser.get("/portal/?lang=tlh").text


@pytest.mark.parametrize("language", BOTH)
def test_every_page_of_a_demonstration_says_so(portal: Portal, language: str) -> None:
    browser = portal.signed_in()
    browser.get(f"/portal/?lang={language}")
    answers = fill_in(browser)
    pages = [
        browser.get("/portal/"),
        hand_over(browser, answers | {"consent_channel": ""} | {"report_type": ""}),
        hand_over(browser, answers),
        hand_over(browser, answers),
        browser.get(portal.link()),
        browser.get("/portal/signed-out"),
        browser.get("/portal/nowhere"),
        browser.post("/portal/"),
    ]
    mark = {"zh": "演示系统，不用于真实人员", "en": "Demonstration, not for real people"}[language]
    assert [page.status_code for page in pages] == [200, 400, 200, 200, 200, 200, 404, 400]
    for page in pages:
        assert mark in page.text
        assert f'<html lang="{language}">' in page.text


def test_a_production_portal_does_not_say_so(make_portal: Callable[..., Portal]) -> None:
    portal = make_portal("production")
    browser = portal.signed_in()
    for page in (browser.get("/portal/"), hand_over(browser, fill_in(browser))):
        assert page.status_code == 200
        assert "emonstration" not in page.text


def test_every_answer_has_the_headers_of_a_guarded_page(portal: Portal) -> None:
    browser = portal.signed_in()
    for path in ("/portal/", "/portal/nowhere", "/portal/static/portal.css"):
        headers = browser.get(path).headers
        assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert headers["Referrer-Policy"] == "no-referrer"
    assert browser.get("/portal/").headers["Cache-Control"] == "no-store"
    assert browser.get("/portal/nowhere").headers["Cache-Control"] == "no-store"


def test_pages_hold_no_script_and_no_style_of_their_own(portal: Portal) -> None:
    browser = portal.signed_in()
    for page in (browser.get("/portal/"), hand_over(browser, fill_in(browser))):
        text = page.text.replace('<script src="/portal/static/code.js" defer></script>', "")
        # The link that a phone opens; nobody's browser follows it here.
        text = text.replace(f">{ADDRESS}/v?c=", ">")
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=|https?://", text)


def test_a_wrong_method_names_the_right_one(portal: Portal) -> None:
    answer = portal.browser().get("/portal/sign-out")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_a_form_too_large_is_refused(portal: Portal) -> None:
    browser = portal.signed_in()
    assert hand_over(browser, fill_in(browser, once="x" * 70_000)).status_code == 413


@pytest.mark.parametrize("language", BOTH)
def test_a_fault_of_ours_shows_and_logs_no_detail(
    portal: Portal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    browser = portal.signed_in()
    browser.get(f"/portal/?lang={language}")
    answers = fill_in(browser)

    def broken(*_: object, **__: object) -> None:
        raise LookupError("planted secret")

    monkeypatch.setattr("registry.faces.portal.authorizations.authorize", broken)
    with caplog.at_level(logging.DEBUG):
        page = hand_over(browser, answers)
    assert page.status_code == 500
    assert {"zh": "系统发生故障", "en": "Something went wrong on our side"}[language] in page.text
    assert "LookupError" in caplog.text
    for text in (page.text, caplog.text):
        assert "planted" not in text
    assert "LookupError" not in page.text


def test_a_whole_walk_logs_no_name_no_code_no_address_and_no_link(
    portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        link = portal.link()
        browser = portal.signed_in()
        page = browser.post(
            "/portal/",
            data=fill_in(browser),
            environ_base={"REMOTE_ADDR": "203.0.113.77"},
            headers={"User-Agent": "Planted/1"},
            follow_redirects=True,
        )
        code, link_code = code_on(page), page.text.partition("/v?c=")[2][:LINK_LENGTH]
        assert is_link_code(link_code)
        browser.get(link)
        with transaction(portal.session):
            portal.session.query(Official).one().disabled = True
        browser.get("/portal/")
    for secret in (
        "Wang Fang",
        code,
        code[:6],
        link_code,
        link_code[:6],
        "203.0.113.77",
        "Planted/1",
        link[-43:],
    ):
        assert secret not in caplog.text
