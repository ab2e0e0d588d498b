"""Pages for people with a code: where links end, and taking back by letter."""

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import registry.faces.person
from tests.world import World

PACKAGE = Path(registry.faces.person.__file__).parent
UNKNOWN = "ABCDEFGHIJKLMNOPQRSTUVWX27"


def test_every_text_has_a_chinese_translation_and_none_is_left_over() -> None:
    methods = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
    found = extract_from_dir(PACKAGE, methods, keywords={"_": None, "lazy": None})
    texts = {message for _file, _line, message, _comments, _context in found}
    with (PACKAGE / "translations/zh/LC_MESSAGES/messages.po").open("rb") as source:
        translated = {str(entry.id): str(entry.string) for entry in read_po(source, "zh") if entry.id}
    assert texts == set(translated)
    for text, translation in translated.items():
        assert re.search(r"[\u4e00-\u9fff]", translation), text


def test_a_link_that_no_app_has_taken_ends_at_its_code(world: World) -> None:
    code = "ABCDEFGHIJKLMNOPQRSTUVWX27"
    for language, words in (("en", "tap “Enter a code”"), ("zh", "点“输入验证码”")):
        page = world.client.get(f"/v?c={code.lower()}", headers={"Accept-Language": language})
        assert words in page.text
        assert f">{code}<" in page.text
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "no-referrer"
    for query in ("", "?c=", f"?c={code[:-1]}", "?c=<b>x</b>"):
        page = world.client.get(f"/v{query}")
        assert "This link is not whole" in page.text
        assert "<b>x" not in page.text


@pytest.mark.parametrize(
    ("answers", "element", "advice"),
    [
        ({"code": UNKNOWN}, "sure", "Tick the box"),
        ({"sure": "y"}, "code", "The code has 26 letters and digits"),
        ({"sure": "y", "code": UNKNOWN[:-1]}, "code", "The code has 26 letters and digits"),
        ({"sure": "y", "code": "\0\ud800"}, "code", "The code has 26 letters and digits"),
        ({"sure": "y", "code": UNKNOWN}, "code", "No letter has this code any more"),
    ],
)
def test_what_is_no_letters_code_says_what_to_do(
    world: World, answers: dict[str, str], element: str, advice: str
) -> None:
    sent = {name: value.encode("utf-8", "surrogatepass") for name, value in answers.items()}
    page = world.client.post("/withdraw/", data=sent)
    assert page.status_code == 400
    assert "<title>Error: " in page.text
    assert re.search(rf'<a href="#{element}">{advice}', page.text)
    assert UNKNOWN not in page.text


def test_no_visit_leaves_a_cookie_but_a_language_that_was_chosen(world: World) -> None:
    for path in ("/v", "/withdraw/", "/withdraw/nowhere"):
        assert "Set-Cookie" not in world.client.get(path).headers
    chosen = world.client.get("/withdraw/?lang=zh")
    assert "person_language=zh" in chosen.headers["Set-Cookie"]
    assert "收回您分享的内容" in chosen.text


def test_an_address_that_is_not_there_says_so(world: World) -> None:
    page = world.client.get("/withdraw/nowhere")
    assert page.status_code == 404
    assert "Compare the address" in page.text
