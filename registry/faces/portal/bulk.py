"""Codes for many at once: a file in, a file of codes out. The page works with and without its script.

One address takes the file, as often as it is given: each time it goes on where the job stands, a bounded
number of rows further, so that no worker is held for long. The script gives it again by itself, a hundred
rows at a time, until all is done; without it the official does, a thousand at a time. A file is read in
memory, leaves no trace but its keyed hash, and its result stands in one answer alone.
"""

import csv
from datetime import UTC, datetime
from io import BytesIO, StringIO
from typing import IO
from uuid import uuid4

from flask import Blueprint, Flask, Response, abort, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask.wrappers import Request
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from wtforms import FileField, HiddenField, StringField
from wtforms.validators import AnyOf, DataRequired, Regexp

from registry.faces.database import db
from registry.faces.pages.language import LANGUAGES
from registry.faces.portal.bulk_file import (
    COLUMNS,
    LARGEST_FILE_BYTES,
    MOST_FAULTS,
    MOST_ROWS,
    BulkFile,
    PersonRow,
    read_file,
)
from registry.faces.portal.consent import CONSENT_LANGUAGES, CONSENT_VERSION, texts_of
from registry.faces.portal.forms import CHANNELS, PortalForm, TickField
from registry.faces.portal.quota import shown_quota
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import require
from registry.lifecycle.authorize import Statement, date_limits
from registry.lifecycle.bulk import (
    ISSUED,
    ResultRow,
    Worker,
    begin_job,
    fetch_result,
    issue_rows,
    jobs_of,
    progress_of,
    take_back_job,
    take_over_job,
)
from registry.models import Official, transaction
from registry.models.official import Permission
from registry.protocol.codes import group, link_of

ROWS_A_STEP = 20
"""In one transaction: nobody else of the authority's issues meanwhile."""
STEPS_OF_SCRIPT = 5
"""In one request of the script's."""
STEPS_BY_HAND = 50
"""In one request without it."""
BEGINS, GOES_ON = "begins", "goes-on"
"""What the script says of its requests: the first, and those after it."""
_FORM_BYTES = 20_000
"""Beside the file."""

pages = Blueprint("bulk", __name__, url_prefix="/portal/bulk")
pages.before_request(require(Permission.BULK))


class MemoryRequest(Request):
    """A request whose files never touch a disk, however large: all are bounded."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return BytesIO()


def take_files(app: Flask) -> None:
    """Let `app` take such a file, at its one address. Goes before all else that reads a request."""
    app.request_class = MemoryRequest

    @app.before_request
    def _allow() -> None:
        if request.endpoint == "bulk.begin":
            request.max_content_length = LARGEST_FILE_BYTES + _FORM_BYTES


class BulkForm(PortalForm):
    """The file, and that all people in it agreed."""

    elements = {  # noqa: RUF012  # declared with its type above
        "file": "file",
        "consent_language": "consent_language-0",
        "consent_channel": "consent_channel-0",
        "agreed": "agreed",
    }
    once = HiddenField(default=lambda: str(uuid4()), validators=[Regexp(r"[0-9a-f-]{36}\Z")])
    """Becomes the job's id: the same form sent twice cannot begin two."""
    file = FileField(lazy("File"))
    consent_language = StringField(
        lazy("Language of the people, where the file does not say"),
        validators=[
            AnyOf(CONSENT_LANGUAGES, lazy("Choose the language in which the people were given the text."))
        ],
    )
    consent_channel = StringField(
        lazy("How did they agree?"), validators=[AnyOf(CHANNELS, lazy("Choose how they agreed."))]
    )
    consent_version = HiddenField(default=CONSENT_VERSION)
    agreed = TickField(
        lazy("Each of these people was given this text and agreed to it"),
        validators=[
            DataRequired(lazy("Without each person's agreement there are no codes: ask, then tick the box."))
        ],
    )
    is_other = TickField(lazy("These are other people than those of a file before that looks the same"))

    def validate(self, extra_validators: object = None) -> bool:
        """Whether it all holds; if not, each field's `errors` say what to do."""
        sound = super().validate(extra_validators)
        if not request.files.get("file"):
            self.file.errors = [_("Choose the file.")]
            sound = False
        if self.consent_version.data != CONSENT_VERSION:
            self.agreed.errors = [
                _("The text has changed since this page was opened: read it again, then tick.")
            ]
            self.consent_version.data = CONSENT_VERSION
            sound = False
        return bool(sound)


@pages.get("/")
def overview() -> ResponseReturnValue:
    """The form, and the jobs of the last days."""
    return _form_page(BulkForm(formdata=None))


@pages.post("/")
def begin() -> ResponseReturnValue:
    """Begin with the file, or go on with it, and lead to its job's page; or say what to mend."""
    face, form = this_face(), BulkForm()
    if not form.validate():
        return _form_page(form), 400
    content = request.files["file"].read()
    read = read_file(content, date_limits(face.policy, face.clock()))
    if read.faults:
        form.file.errors = [_("Nothing was issued: mend the file as the list below says.")]
        return _form_page(form, read), 400
    with transaction(db.session()) as session:
        # A crash after this commit leaves a job without rows, which the same file finds.
        job_id, was_begun = begin_job(
            session,
            content,
            len(read.rows),
            once=form.once.data,
            is_other=form.is_other.data,
            worker=_worker(),
            lookup_key=face.lookup_key,
            now=face.clock(),
        )
        if request.form.get("step") != GOES_ON:
            take_over_job(session, job_id, _worker())
    statements = {row.row: _statement(row, form) for row in read.rows}
    by_script = request.form.get("step") in {BEGINS, GOES_ON}
    for _step in range(STEPS_OF_SCRIPT if by_script else STEPS_BY_HAND):
        if not _issue_step(job_id, statements):
            break
    return redirect(url_for("bulk.job", job_id=job_id, again=int(was_begun) or None), 303)


@pages.get("/<job_id>")
def job(job_id: str) -> ResponseReturnValue:
    """How far it is, and the result as long as it can be fetched."""
    progress = progress_of(db.session(), job_id, worker=_worker(), now=this_face().clock())
    if progress is None:
        abort(404)
    return render_template(
        "portal/bulk_job.html",
        progress=progress,
        is_taken_over=progress.job.worked_by not in {None, _worker().mark},
        quota=shown_quota(),
        was_begun="again" in request.args,
        begun_by=db.session().get_one(Official, progress.job.begun_by).name,
    )


@pages.post("/<job_id>/result")
def result(job_id: str) -> ResponseReturnValue:
    """The codes, as a file."""
    face = this_face()
    with transaction(db.session()) as session:
        # A crash after this commit leaves codes that count as fetched: for a quarter of an hour they still
        # can be, and then the job can be taken back.
        rows = fetch_result(session, job_id, worker=_worker(), now=face.clock())
        lines = [_line(row) for row in rows]
    if not lines:
        abort(404)
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["row", "outcome", "code", "link", "expires", "statement"])
    writer.writerows(lines)
    answer = Response(text.getvalue(), content_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = 'attachment; filename="codes.csv"'
    return answer


@pages.post("/<job_id>/take-back")
def take_back(job_id: str) -> ResponseReturnValue:
    """End all its codes and forget it."""
    with transaction(db.session()) as session:
        take_back_job(session, job_id, worker=_worker(), now=this_face().clock())
    return redirect(url_for("bulk.overview"), 303)


def _issue_step(job_id: str, statements: dict[int, Statement]) -> bool:
    face = this_face()
    with transaction(db.session()) as session:
        # A crash after this commit leaves codes that this session can fetch; any other makes new ones.
        return issue_rows(
            session,
            job_id,
            statements,
            worker=_worker(),
            lookup_key=face.lookup_key,
            policy=face.policy,
            most=ROWS_A_STEP,
            now=face.clock(),
        )


def _statement(row: PersonRow, form: BulkForm) -> Statement:
    return Statement(
        report_type=row.report_type,
        test_date=row.test_date,
        onset_date=row.onset_date,
        official_id=g.official.official_id,
        consent_version=form.consent_version.data,
        consent_language=row.language or form.consent_language.data,
        consent_channel=form.consent_channel.data,
    )


def _line(row: ResultRow) -> list[str | int]:
    """A row of the result. No cell is of anybody's making but ours."""
    expires = (
        "" if row.expires_at is None else f"{datetime.fromtimestamp(row.expires_at, UTC):%Y-%m-%dT%H:%MZ}"
    )
    number = row.authorization_id or ""
    if row.at_hand is None:
        outcome = "not_shown_any_more" if row.outcome == ISSUED else row.outcome
        return [row.row, outcome, "", "", expires, number]
    link = link_of(this_face().address, row.at_hand.link_code)
    # In groups: spreadsheets would take so many digits for a number, and round it.
    return [row.row, row.outcome, " ".join(group(row.at_hand.code)), link, expires, number]


def _worker() -> Worker:
    return Worker(g.official.authority_id, g.official.official_id, g.official.secret)


def _form_page(form: BulkForm, read: BulkFile | None = None) -> str:
    faults = () if read is None else read.faults
    return render_template(
        "portal/bulk.html",
        form=form,
        channels=CHANNELS,
        person_languages={language: LANGUAGES[language] for language in CONSENT_LANGUAGES},
        consent_texts=texts_of(CONSENT_VERSION),
        columns=COLUMNS,
        most_rows=MOST_ROWS,
        file_faults=faults[:MOST_FAULTS],
        faults_more=len(faults[MOST_FAULTS:]),
        jobs=jobs_of(db.session(), g.official.authority_id),
        quota=shown_quota(),
    )
