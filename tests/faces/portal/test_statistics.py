"""The page of figures: what it shows, what it says of what it hides, and who sees it."""

import csv
import io
from datetime import date, timedelta

import pytest
from flask.testing import FlaskClient

from registry.lifecycle.statistics import keep_figures
from registry.models import Authority, Authorization, Official, transaction
from registry.models.official import Permission, permission_text
from tests.faces.portal.conftest import AUTHORITY, Portal

LAST = date(2026, 6, 14)
HERE = "/portal/statistics/"


@pytest.fixture
def viewer(portal: Portal) -> FlaskClient:
    """Somebody who may see figures; 90 days of them, every third hidden, and nothing of today."""
    with transaction(portal.session):
        portal.session.add(
            Official(
                id="viewer",
                authority_id=AUTHORITY,
                name="Li Na",
                permission_text=permission_text({Permission.STATISTICS}),
            )
        )
        for back in range(90):
            day = LAST - timedelta(days=back)
            shown = back % 3 != 2
            for name in ("redeemed", "certified", "uploads"):
                keep_figures(portal.session, AUTHORITY, day, name, {"all": 30} if shown else {})
            keep_figures(portal.session, AUTHORITY, day, "delay", {"1h": 20} if shown else {})
            keep_figures(portal.session, AUTHORITY, day, "regions", {"XA": 25} if shown else {})
        for number in range(4):
            portal.session.add(statement(f"s{number}", LAST))
        portal.session.add(statement("today", LAST + timedelta(days=1)))
    return portal.signed_in("viewer")


def statement(name: str, day: date, authority_id: str = AUTHORITY) -> Authorization:
    return Authorization(id=name, authority_id=authority_id, report_type="confirmed", stated_on=day)


def test_the_funnel_of_a_week_and_what_of_it_is_hidden(viewer: FlaskClient) -> None:
    text = viewer.get(HERE).text
    assert "From 2026-06-08 to 2026-06-14" in text
    for name, n, hidden in (
        ("Codes handed over", 4, 0),
        ("Codes used by a phone", 150, 2),
        ("Uploads published", 150, 2),
        ("up to 1 hour", 100, 2),
        ("XA", 125, 2),
    ):
        assert f'<th scope="row">{name}</th><td>{n}</td><td>{hidden}</td>' in text, name
    assert '<th scope="row">up to 2 hours</th><td>hidden</td><td>7</td>' in text
    assert "less than 15 on a day is hidden" in text
    assert "off by 6 or less" in text
    assert "2026-06-15" not in text, "nothing of a day that is not over"


@pytest.mark.parametrize(("asked", "days"), [("28", 28), ("90", 90), ("8", 7), ("x", 7), ("-1", 7), ("", 7)])
def test_a_period_is_one_of_three(viewer: FlaskClient, asked: str, days: int) -> None:
    text = viewer.get(f"{HERE}?days={asked}").text
    assert f'<option value="{days}" selected>' in text
    assert f"From {LAST - timedelta(days=days - 1)} to {LAST}" in text


def test_each_chart_has_its_title_and_its_table_and_no_bar_for_what_is_hidden(viewer: FlaskClient) -> None:
    text = viewer.get(HERE).text
    uploads = text[text.index('id="chart-uploads"') :]
    assert '<title id="chart-uploads-title">Uploads by the day</title>' in uploads
    assert uploads.count("<rect") == 5
    assert uploads.count("<td>hidden</td>") == 2
    assert '<tr><th scope="row">2026-06-14</th><td>30</td></tr>' in uploads


def test_the_same_as_csv(viewer: FlaskClient) -> None:
    answer = viewer.get(f"{HERE}figures.csv?days=28")
    assert answer.content_type == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="figures.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 28
    newest = rows[-1]
    assert (newest["date"], newest["issued"], newest["redeemed"]) == ("2026-06-14", "4", "30")
    assert (newest["delay_1h"], newest["delay_2h"], newest["uploads_XA"]) == ("20", "", "25")
    assert rows[-3]["redeemed"] == rows[-3]["uploads_XA"] == "", "hidden is not 0"
    assert viewer.get(f"{HERE}figures.csv?days=28").data == answer.data


def test_another_authoritys_figures_are_not_here(viewer: FlaskClient, portal: Portal) -> None:
    before = viewer.get(f"{HERE}figures.csv").data
    with transaction(portal.session):
        portal.session.add(Authority(id="b", name="x", certificate_issuer="x", certificate_audience="x"))
        portal.session.flush()
        portal.session.add(statement("theirs", LAST, "b"))
        keep_figures(portal.session, "b", LAST, "expired", {"all": 99})
    assert viewer.get(f"{HERE}figures.csv").data == before


def test_in_chinese(viewer: FlaskClient) -> None:
    text = viewer.get(f"{HERE}?lang=zh").text
    assert "自2026-06-08至2026-06-14" in text
    assert "每日低于15的数字予以隐去" in text


def test_without_any_figures_it_says_so(portal: Portal) -> None:
    with transaction(portal.session):
        official = portal.session.get_one(Official, "official-1")
        official.permission_text = permission_text({Permission.STATISTICS})
    text = portal.signed_in().get(HERE).text
    assert "None is shown in this period" in text
    assert text.count("<td>hidden</td><td>7</td>") == 3 + 1 + 9
    assert "<rect" not in text


def test_whoever_is_not_permitted_gets_neither_page_nor_file(portal: Portal) -> None:
    browser = portal.signed_in()
    assert browser.get(HERE).status_code == browser.get(f"{HERE}figures.csv").status_code == 403
    assert portal.browser().get(f"{HERE}figures.csv").status_code == 403
