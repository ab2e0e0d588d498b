"""The portal's forms: a positive result with its dates and the person's agreement, and what a recall needs.

Nothing names the person; a telephone number is sent to, and kept nowhere.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import ClassVar
from uuid import uuid4

from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from flask_wtf import FlaskForm
from wtforms import BooleanField, DateField, Field, HiddenField, StringField
from wtforms.validators import AnyOf, DataRequired, Optional, ValidationError

from registry.faces.portal.consent import CONSENT_LANGUAGES, CONSENT_VERSION
from registry.faces.portal.messages import check_label, check_number
from registry.protocol.sms_text import DEFAULT_LABEL

REPORT_TYPES = {"confirmed": lazy("Confirmed by test"), "likely": lazy("Clinical diagnosis")}
TICKED = "y"
CHANNELS = {"in-person": lazy("In person"), "phone": lazy("By phone"), "writing": lazy("In writing")}


REASONS = {
    "mistake": lazy("The statement was a mistake"),
    "consent_withdrawn": lazy("The person takes back the agreement"),
}
KNOWN = lazy("I know that a recall cannot be undone, and that other apps may keep a confirmed warning")


class DayField(DateField):  # type: ignore[misc]  # WTForms publishes no types
    """A day as browsers send it, YYYY-MM-DD."""

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        """Take the day in, or say how to write it."""
        try:
            super().process_formdata(valuelist)
        except ValueError:
            raise ValueError(_("Write the date as year-month-day, like 2026-03-09.")) from None


class TickField(BooleanField):  # type: ignore[misc]  # nor for this
    """A box that counts as ticked only if the page's own value came in, and once."""

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        """Take in whether it was ticked."""
        self.data = list(valuelist) == [TICKED]


class PortalForm(FlaskForm):  # type: ignore[misc]  # nor does Flask-WTF
    """A form that says what must be mended. `elements` are the ids of its fields' first elements."""

    elements: ClassVar[Mapping[str, str]] = {}

    def faults(self) -> list[tuple[str, str]]:
        """(id of the element to go to, what to do) for each field that must be mended, as they stand."""
        return [
            (self.elements[field.name], str(field.errors[0]))
            for field in self
            if field.errors and field.name in self.elements
        ]


class AuthorizationForm(PortalForm):
    """What an official states. `limits` are the earliest and the latest day that may be named."""

    elements = {  # noqa: RUF012  # declared with its type above
        "report_type": "report_type-0",
        "test_date": "test_date",
        "onset_date": "onset_date",
        "consent_language": "consent_language-0",
        "consent_channel": "consent_channel-0",
        "agreed": "agreed",
        "phone": "phone",
        "sms_label": "sms_label-0",
    }
    once = HiddenField(default=lambda: str(uuid4()))
    """Becomes the code's handle: the same form sent twice cannot make two codes."""
    report_type = StringField(
        lazy("How do you know?"),
        validators=[AnyOf(REPORT_TYPES, lazy("Choose how the result was found."))],
    )
    test_date = DayField(lazy("Day of the test"), validators=[Optional()])
    onset_date = DayField(lazy("Day of the first symptoms"), validators=[Optional()])
    consent_version = HiddenField(default=CONSENT_VERSION)
    consent_language = StringField(
        lazy("Language of the person"),
        validators=[
            AnyOf(CONSENT_LANGUAGES, lazy("Choose the language in which the person was given the text."))
        ],
    )
    consent_channel = StringField(
        lazy("How did the person agree?"),
        validators=[AnyOf(CHANNELS, lazy("Choose how the person agreed."))],
    )
    agreed = TickField(
        lazy("The person was given this text and agreed to it"),
        validators=[
            DataRequired(lazy("Without the person's agreement there is no code: ask, then tick the box."))
        ],
    )

    phone = StringField(
        lazy("Telephone number for an SMS, if wanted"), filters=[lambda text: (text or "").strip()]
    )
    sms_label = StringField(lazy("Text of the SMS"), default=DEFAULT_LABEL)

    def __init__(self, limits: tuple[date, date]) -> None:
        super().__init__()
        self.earliest, self.latest = limits

    def validate(self, extra_validators: object = None) -> bool:
        """Whether it all holds; if not, each field's `errors` say what to do."""
        sound = super().validate(extra_validators)
        dates = (self.test_date, self.onset_date)
        if not any(field.data or field.errors for field in dates):
            self.test_date.errors = [_("Give the day of the test, or the day of the first symptoms.")]
            sound = False
        if self.consent_version.data != CONSENT_VERSION:
            self.agreed.errors = [
                _("The text has changed since this page was opened: read it again, then tick.")
            ]
            self.agreed.data = False
            self.consent_version.data = CONSENT_VERSION
            sound = False
        return bool(sound)

    def validate_test_date(self, field: Field) -> None:
        """The day must be possible."""
        self._check_day(field)

    def validate_onset_date(self, field: Field) -> None:
        """The day must be possible."""
        self._check_day(field)

    def validate_phone(self, field: Field) -> None:
        """If there is one, it must be a number that can be sent to."""
        if field.data:
            check_number(field.data)

    def validate_sms_label(self, field: Field) -> None:
        """It must be a text of the authority's."""
        check_label(field.data)

    def _check_day(self, field: Field) -> None:
        if field.data is None:
            return  # unreadable, which is said already
        if field.data > self.latest:
            raise ValidationError(_("This day is in the future: correct the date."))
        if field.data < self.earliest:
            raise ValidationError(
                _(
                    "This day is too long ago: the earliest is %(earliest)s.",
                    earliest=self.earliest.isoformat(),
                )
            )


class RecallForm(PortalForm):
    """Why a statement's upload is to be taken back, by an official who knows what that does."""

    elements = {"reason": "reason-0", "known": "known"}  # noqa: RUF012  # declared with its type above
    reason = StringField(
        lazy("Why is it recalled?"),
        validators=[AnyOf(REASONS, lazy("Choose why it is recalled."))],
    )
    known = TickField(KNOWN, validators=[DataRequired(lazy("Read what a recall does, then tick the box."))])


class ApprovalForm(PortalForm):
    """That a second official knows it too."""

    elements = {"known": "known"}  # noqa: RUF012  # declared with its type above
    known = TickField(KNOWN, validators=[DataRequired(lazy("Read what a recall does, then tick the box."))])


class NumberForm(PortalForm):
    """The number of a statement, to find it by."""

    elements = {"number": "number"}  # noqa: RUF012  # declared with its type above
    number = StringField(
        lazy("Number of the statement"),
        filters=[lambda text: (text or "").strip().lower()],
        validators=[DataRequired(lazy("Type the number that stood below the code."))],
    )
