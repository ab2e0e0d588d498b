"""Chinese and English: by what the browser asks for, and by a link that is remembered."""

import re
from pathlib import Path

from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from tests.faces.audit.conftest import Reading

FACE = Path(__file__).parents[3] / "registry/faces/audit"
PAGES = ("/", "/audit/", "/audit/batches", "/audit/leaf/2026/9", "/audit/witnesses", "/audit/changes",
         "/audit/downloads", "/audit/receipts", "/audit/nowhere")  # fmt: skip


def test_every_text_has_its_translation() -> None:
    methods = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2), "lazy": None}
    said = {
        message if isinstance(message, str) else message[0]
        for _, _, message, _, _ in extract_from_dir(FACE, methods, keywords=keywords)
    }
    with (FACE / "translations/zh/LC_MESSAGES/messages.po").open("rb") as file:
        translated = {m.id if isinstance(m.id, str) else m.id[0] for m in read_po(file) if m.id and m.string}
    assert said == translated


def test_each_page_speaks_the_language_that_the_browser_asks_for(reading: Reading) -> None:
    for path in PAGES:
        for language, code, word in (("en-GB", "en", "Language"), ("zh-CN", "zh-Hans", "语言")):
            page = reading.client.get(path, headers={"Accept-Language": language}).text
            assert f'<html lang="{code}">' in page
            assert f'aria-label="{word}"' in page


def test_a_language_that_was_chosen_is_remembered_and_what_was_asked_is_kept(reading: Reading) -> None:
    page = reading.get("/audit/batches?region=XA")
    link = re.search(r'href="(\?[^"]*lang=zh)"', page)
    assert link
    assert link[1] == "?region=XA&amp;lang=zh"
    assert "第1至4个" in reading.get("/audit/batches?region=XA&lang=zh")
    assert '<html lang="zh-Hans">' in reading.get("/audit/")
    reading.get("/audit/?lang=en", "zh")
    assert '<html lang="en">' in reading.get("/audit/", "zh")


def test_a_language_that_is_not_there_is_not_remembered(reading: Reading) -> None:
    assert "Set-Cookie" not in reading.client.get("/audit/?lang=fr").headers
