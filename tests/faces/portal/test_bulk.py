"""Codes for many from a file: interrupted anywhere, gone on with by the same file, never two for a row."""

import csv
import hashlib
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO, StringIO
from threading import Barrier

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from registry.errors import Refusal, RefusalCode
from registry.faces.portal import bulk
from registry.lifecycle import bulk as jobs
from registry.lifecycle.activity import acts_of
from registry.lifecycle.authorize import hash_code
from registry.lifecycle.quota import QuotaLimits, quota_of, set_limits
from registry.lifecycle.retire import retire_issuing
from registry.models import (
    Authority,
    Authorization,
    BulkJob,
    BulkRow,
    Official,
    VerificationCode,
    transaction,
)
from registry.models.official import USUAL_PERMISSIONS, Permission, permission_text
from registry.protocol.activity import decode_act
from registry.protocol.codes import is_link_code, is_well_formed
from tests.faces.portal.conftest import ADDRESS, AUTHORITY, Portal, field, fill_in, hand_over

MINUTE, DAY = 60, 86_400
SENT = {"consent_language": "zh", "consent_channel": "writing", "agreed": "y"}


def file_of(rows: int) -> bytes:
    """Rows that all look alike, as rows of people tested on one day do."""
    return b"testDate,testType\n" + b"2026-06-14,confirmed\n" * rows


@pytest.fixture
def browser(portal: Portal) -> FlaskClient:
    """Wang Fang may issue for many, and Li Na too."""
    with transaction(portal.session):
        held = permission_text(USUAL_PERMISSIONS | {Permission.BULK})
        portal.session.get_one(Official, "official-1").permission_text = held
        portal.session.add(
            Official(id="official-2", authority_id=AUTHORITY, name="Li Na", permission_text=held)
        )
    return portal.signed_in()


def give(browser: FlaskClient, content: bytes, **more: str) -> TestResponse:
    """Open the form, choose the file and send it; the page that it leads to."""
    page = browser.get("/portal/bulk/")
    hidden = {name: field(page, name) for name in ("csrf_token", "once", "consent_version")}
    data: dict[str, object] = {**hidden, **SENT, **more, "file": (BytesIO(content), "results.csv")}
    return browser.post("/portal/bulk/", data=data, follow_redirects=True)


def job_of(page: TestResponse) -> str:
    """The job's id."""
    assert page.status_code == 200, page.text
    return page.request.path.rpartition("/")[2]


def fetch(browser: FlaskClient, page: TestResponse) -> list[dict[str, str]]:
    """Press the button for the result."""
    token = field(browser.get("/portal/bulk/"), "csrf_token")
    answer = browser.post(f"/portal/bulk/{job_of(page)}/result", data={"csrf_token": token})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return list(csv.DictReader(StringIO(answer.text)))


def live(portal: Portal) -> set[bytes]:
    """Hashes of the codes that are good now."""
    portal.session.rollback()
    return set(
        portal.session.scalars(
            select(VerificationCode.code_hash).where(VerificationCode.expires_at > portal.clock())
        )
    )


def hashes(result: list[dict[str, str]]) -> set[bytes]:
    return {hash_code(b"l" * 32, AUTHORITY, line["code"]) for line in result}


def used(portal: Portal) -> int:
    portal.session.rollback()
    policy = portal.app.extensions["registry_portal"].policy.quota
    return quota_of(portal.session, AUTHORITY, None, policy, portal.clock()).used


def limit(portal: Portal, authority: int | None) -> None:
    with transaction(portal.session):
        set_limits(
            portal.session,
            AUTHORITY,
            QuotaLimits(authority),
            official_id="official-1",
            policy=portal.app.extensions["registry_portal"].policy.quota,
            now=portal.clock(),
        )


def test_a_file_in_a_file_of_codes_out(portal: Portal, browser: FlaskClient) -> None:
    page = give(browser, b"language,testDate\nen,2026-06-14\n,2026-06-13\n")
    assert "All codes are made" in page.text
    assert "2 of 2 rows." in page.text
    result = fetch(browser, page)
    assert [line["row"] for line in result] == ["2", "3"]
    for line in result:
        assert line["outcome"] == "issued"
        assert re.fullmatch(r"\d{3}( \d{3}){4}", line["code"])
        assert is_well_formed(line["code"].replace(" ", ""))
        assert line["link"].startswith(f"{ADDRESS}/v?c=")
        assert is_link_code(line["link"].rpartition("=")[2])
        assert line["expires"] == "2026-06-16T12:00Z"
    assert hashes(result) == live(portal)
    assert used(portal) == 2
    portal.session.rollback()
    kinds = [decode_act(event.content).kind for event in acts_of(portal.session, AUTHORITY)]
    assert kinds.count("bulk_begun") == 1
    assert kinds.count("code_issued") == 2


def test_each_statement_is_of_the_row_and_of_the_official(portal: Portal, browser: FlaskClient) -> None:
    page = give(browser, b"language,testDate,testType\nen,2026-06-14,likely\n,2026-06-13,\n")
    result = fetch(browser, page)
    portal.session.rollback()
    stated = [portal.session.get_one(Authorization, line["statement"]) for line in result]
    assert [
        (one.report_type, one.consent_language, one.consent_channel, one.official_id) for one in stated
    ] == [
        ("likely", "en", "writing", "official-1"),
        ("confirmed", "zh", "writing", "official-1"),
    ]


def test_a_request_goes_only_so_far_and_the_same_file_goes_on(
    portal: Portal, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "ROWS_A_STEP", 4)
    monkeypatch.setattr(bulk, "STEPS_OF_SCRIPT", 1)
    page = give(browser, file_of(10), step="begins")
    assert "Not all codes are made yet" in page.text
    assert "4 of 10 rows." in page.text
    page = give(browser, file_of(10), step="begins")
    assert "8 of 10 rows." in page.text
    page = give(browser, file_of(10), step="begins")
    assert "10 of 10 rows." in page.text
    result = fetch(browser, page)
    assert len(hashes(result)) == 10
    assert hashes(result) == live(portal)
    assert len(portal.rows(BulkJob)) == 1


def test_without_a_script_one_request_makes_more_steps(
    browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "ROWS_A_STEP", 1)
    monkeypatch.setattr(bulk, "STEPS_BY_HAND", 10)
    assert "10 of 12 rows." in give(browser, file_of(12)).text
    assert "12 of 12 rows." in give(browser, file_of(12)).text


def test_codes_that_nobody_saw_end_when_another_session_goes_on(
    portal: Portal, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "ROWS_A_STEP", 4)
    monkeypatch.setattr(bulk, "STEPS_OF_SCRIPT", 1)
    give(browser, file_of(10), step="begins")
    before = live(portal)
    other = portal.signed_in()  # the tablet was lost; another one signs in
    page = other.get(f"/portal/bulk/{job_of(give(other, file_of(10), step='begins'))}")
    assert before.isdisjoint(live(portal)), "they ended, for nobody can have them"
    assert len(live(portal)) == 4
    assert used(portal) == 4, "what they took of the quota was given back"
    for _ in range(2):
        page = give(other, file_of(10), step="begins")
    result = fetch(other, page)
    assert len(result) == 10
    assert hashes(result) == live(portal)
    assert used(portal) == 10


def test_of_two_at_the_same_file_the_one_that_came_last_goes_on(
    portal: Portal, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "ROWS_A_STEP", 4)
    monkeypatch.setattr(bulk, "STEPS_OF_SCRIPT", 1)
    other = portal.signed_in("official-2")
    assert 'data-goes-on="yes"' in give(browser, file_of(10), step="begins").text
    give(other, file_of(10), step="begins")
    page = give(browser, file_of(10), step="goes-on")
    assert "goes on with this file" in page.text
    assert 'data-goes-on="no"' in page.text
    for _ in range(2):
        page = give(other, file_of(10), step="goes-on")
    result = fetch(other, page)
    assert len(result) == 10
    assert hashes(result) == live(portal)
    assert {line["code"] for line in fetch(browser, page)} == {""}
    assert used(portal) == 10


def test_sessions_that_give_the_same_file_at_once_and_issue_beside_it_never_wait_for_each_other(
    portal: Portal, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "ROWS_A_STEP", 3)
    monkeypatch.setattr(bulk, "STEPS_BY_HAND", 4)
    browsers = [portal.signed_in(f"official-{1 + number % 2}") for number in range(4)]
    start = Barrier(len(browsers) + 2)

    def give_often(one: FlaskClient) -> None:
        start.wait()
        for _ in range(3):
            assert give(one, file_of(12)).status_code == 200

    def issue_often(one: FlaskClient) -> None:
        start.wait()
        for _ in range(6):
            assert hand_over(one, fill_in(one)).status_code == 200

    singles = [portal.signed_in("official-1"), portal.signed_in("official-2")]
    with ThreadPoolExecutor(len(browsers) + 2) as pool:
        work = [pool.submit(give_often, one) for one in browsers]
        work += [pool.submit(issue_often, one) for one in singles]
        for one in work:
            one.result()
    last = portal.signed_in()
    page = give(last, file_of(12))
    assert "All codes are made" in page.text
    assert hashes(fetch(last, page)) < live(portal)
    assert len(live(portal)) == 12 + 12
    assert used(portal) == 12 + 12


def test_what_was_fetched_is_not_made_again(portal: Portal, browser: FlaskClient) -> None:
    result = fetch(browser, give(browser, file_of(3)))
    other = portal.signed_in("official-2")
    page = give(other, file_of(3))
    assert "This very file was given before" in page.text
    assert "Begun on 2026-06-15 by Wang Fang." in page.text
    assert [line["outcome"] for line in fetch(other, page)] == ["not_shown_any_more"] * 3
    assert {line["code"] for line in fetch(other, page)} == {""}
    assert hashes(result) == live(portal)
    assert fetch(browser, page) == result, "its own session can fetch it again, for a quarter of an hour"
    portal.clock.advance(15 * MINUTE)
    assert "Fetch the result" not in browser.get(f"/portal/bulk/{job_of(page)}").text


def test_what_was_not_fetched_in_time_is_made_anew(portal: Portal, browser: FlaskClient) -> None:
    page = give(browser, file_of(3))
    portal.clock.advance(15 * MINUTE)
    page = browser.get(f"/portal/bulk/{job_of(page)}")
    assert "cannot be shown any more: 3." in page.text
    page = give(browser, file_of(3))
    assert "All codes are made" in page.text
    assert hashes(fetch(browser, page)) == live(portal)
    assert used(portal) == 3


def test_the_same_form_sent_twice_begins_one_job_even_for_other_people(
    portal: Portal, browser: FlaskClient
) -> None:
    fetch(browser, give(browser, file_of(2)))
    once = field(browser.get("/portal/bulk/"), "once")
    pages = [give(browser, file_of(2), is_other="y", once=once) for _ in range(3)]
    assert len({job_of(page) for page in pages}) == 1
    assert len(portal.rows(BulkJob)) == 2
    assert len(live(portal)) == 4
    assert hashes(fetch(browser, pages[0])) < live(portal)


def test_a_form_that_was_sent_before_takes_another_file_too(portal: Portal, browser: FlaskClient) -> None:
    once = field(browser.get("/portal/bulk/"), "once")
    first, second = (give(browser, file_of(rows), once=once) for rows in (1, 2))
    assert job_of(first) != job_of(second)
    assert len(live(portal)) == 3


def test_when_the_quota_ends_in_the_middle_the_job_stops_there_and_goes_on_later(
    portal: Portal, browser: FlaskClient
) -> None:
    limit(portal, 3)
    page = give(browser, file_of(5))
    assert "3 of 5 rows." in page.text
    assert "No code is left for today." in page.text
    assert 'data-goes-on="no"' in page.text
    assert "3 of 5 rows." in give(browser, file_of(5)).text
    limit(portal, 4)
    assert "4 of 5 rows." in give(browser, file_of(5)).text
    first = fetch(browser, give(browser, file_of(5)))
    assert len(first) == 4
    portal.clock.advance(DAY / 2)
    browser = portal.signed_in()
    page = give(browser, file_of(5))
    assert "5 of 5 rows." in page.text
    assert [line["outcome"] for line in fetch(browser, page)] == ["not_shown_any_more"] * 4 + ["issued"]


def test_maintenance_stops_a_job_and_no_row_is_lost_by_it(portal: Portal, browser: FlaskClient) -> None:
    with transaction(portal.session):
        portal.session.get_one(Authority, AUTHORITY).maintenance = True
    stopped = give(browser, file_of(3))
    assert "All codes are made" not in stopped.text
    assert live(portal) == set()
    with transaction(portal.session):
        portal.session.get_one(Authority, AUTHORITY).maintenance = False
    page = give(browser, file_of(3))
    assert "3 of 3 rows." in page.text
    assert len(live(portal)) == 3


def test_a_file_with_a_fault_issues_nothing(portal: Portal, browser: FlaskClient) -> None:
    page = give(browser, b"testDate,language\n2026-06-14,zh\n13812345678,zh\n")
    assert page.status_code == 400
    assert "Nothing was issued" in page.text
    assert "Row 3, testDate: Write the date" in page.text
    assert "13812345678" not in page.text
    assert portal.rows(BulkJob) == portal.rows(VerificationCode) == []


@pytest.mark.parametrize(
    ("more", "element"),
    [
        ({"agreed": ""}, "agreed"),
        ({"consent_channel": ""}, "consent_channel-0"),
        ({"consent_language": "tlh"}, "consent_language-0"),
        ({"consent_version": "2020-01"}, "agreed"),
    ],
)
def test_without_their_agreement_there_are_no_codes(
    portal: Portal, browser: FlaskClient, more: dict[str, str], element: str
) -> None:
    page = give(browser, file_of(1), **more)
    assert page.status_code == 400
    assert f'<a href="#{element}">' in page.text
    assert portal.rows(BulkJob) == []


def test_without_a_file_the_page_asks_for_one(browser: FlaskClient) -> None:
    page = browser.get("/portal/bulk/")
    hidden = {name: field(page, name) for name in ("csrf_token", "once", "consent_version")}
    page = browser.post("/portal/bulk/", data=hidden | SENT)
    assert page.status_code == 400
    assert '<a href="#file">Choose the file.' in page.text


def test_a_date_that_grew_too_old_meanwhile_is_that_rows_outcome_alone(
    portal: Portal, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "ROWS_A_STEP", 1)
    content = b"testDate\n2026-06-14\n2026-06-13\n"
    real = jobs.authorize

    def fussy(session: object, statement: object, **more: object) -> object:
        if "06-13" in str(getattr(statement, "test_date", "")):
            raise Refusal(RefusalCode.INVALID_DATE, "too old")
        return real(session, statement, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs, "authorize", fussy)
    page = give(browser, content)
    assert "Rows without a code: 1." in page.text
    assert [line["outcome"] for line in fetch(browser, page)] == ["issued", "invalid_date"]


def test_a_wrong_file_is_taken_back_and_can_be_given_anew(portal: Portal, browser: FlaskClient) -> None:
    page = give(browser, file_of(3))
    fetch(browser, page)
    answer = browser.post(
        f"/portal/bulk/{job_of(page)}/take-back", data={"csrf_token": field(page, "csrf_token")}
    )
    assert answer.status_code == 303
    assert live(portal) == set()
    assert portal.rows(BulkJob) == portal.rows(BulkRow) == []
    assert len(hashes(fetch(browser, give(browser, file_of(3))))) == 3


def test_another_authoritys_jobs_and_files_are_nobodys_business(portal: Portal, browser: FlaskClient) -> None:
    page = give(browser, file_of(1))
    with transaction(portal.session):
        portal.session.add(Authority(id="other", name="x", certificate_issuer="x", certificate_audience="x"))
        portal.session.flush()
        held = permission_text({Permission.BULK})
        portal.session.add(Official(id="o-3", authority_id="other", name="Zhao", permission_text=held))
    stranger = portal.signed_in("o-3")
    assert stranger.get(f"/portal/bulk/{job_of(page)}").status_code == 404
    token = field(stranger.get("/portal/bulk/"), "csrf_token")
    for button in ("result", "take-back"):
        stranger.post(f"/portal/bulk/{job_of(page)}/{button}", data={"csrf_token": token})
    assert len(live(portal)) == 1
    assert "given before" not in give(stranger, file_of(1)).text
    assert len(portal.rows(BulkJob)) == 2


def test_the_codes_of_a_file_do_not_crowd_the_list_of_own_codes(browser: FlaskClient) -> None:
    give(browser, file_of(3))
    assert "There is none." in browser.get("/portal/codes/").text


def test_only_this_address_takes_more_than_a_form_and_not_without_end(
    portal: Portal, browser: FlaskClient
) -> None:
    assert give(browser, file_of(5000), step="begins").status_code == 200
    page = give(browser, b"x" * 450_000)
    assert page.status_code == 413
    assert "This is too large" in page.text
    token = field(browser.get("/portal/bulk/"), "csrf_token")
    large = {"csrf_token": token, "file": (BytesIO(b"x" * 70_000), "x.csv")}
    assert browser.post("/portal/", data=large).status_code == 413


def test_of_file_and_rows_nothing_is_kept_but_hash_and_outcome(portal: Portal, browser: FlaskClient) -> None:
    give(browser, file_of(2))
    (job,) = portal.rows(BulkJob)
    assert isinstance(job, BulkJob)
    assert (job.row_count, job.number, job.begun_on.isoformat()) == (2, 1, "2026-06-15")
    assert job.file_hash != hashlib.sha256(file_of(2)).digest(), "keyed: a file cannot be guessed from it"
    rows = portal.rows(BulkRow)
    assert [row.outcome for row in rows] == ["issued"] * 2  # type: ignore[attr-defined]


def test_jobs_are_forgotten_after_a_week(portal: Portal, browser: FlaskClient) -> None:
    give(browser, file_of(2))
    for days, gone in ((7, 0), (1, 1)):
        portal.clock.advance(days * DAY)
        with transaction(portal.session):
            assert retire_issuing(portal.session, portal.clock()).bulk_jobs == gone
    assert portal.session.scalar(select(func.count()).select_from(BulkRow)) == 0


def test_what_is_planted_in_a_file_is_in_no_table_page_or_log(
    portal: Portal, browser: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = ("13812345678", "王芳")
    with caplog.at_level(logging.DEBUG):
        pages = [
            give(browser, f"testDate,phone\n2026-06-14,{secrets[0]}\n".encode()),
            give(browser, f"{secrets[1]},{secrets[0]}\n2026-06-14,\n".encode()),
            give(browser, f"testDate,language\n2026-06-14,{secrets[1]}\n{secrets[0]},zh\n".encode()),
            give(browser, f"testDate\n2026-06-14\n{secrets[0]},{secrets[1]}\n".encode("gb18030")),
            give(browser, file_of(2)),
        ]
    assert [page.status_code for page in pages] == [400] * 4 + [200]
    portal.session.rollback()
    tables = [str(portal.session.execute(select(table)).all()) for table in BulkJob.metadata.sorted_tables]
    for text in (*(page.text for page in pages), *tables, caplog.text):
        assert not any(secret in text for secret in secrets)
