"""The portal's forms: a positive result with its dates and the person's agreement, and what a recall needs.

Nothing names the person; a telephone number is sent to, and kept nowhere.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import ClassVar
from uuid import uuid4

from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from flask_wtf import FlaskForm
from wtforms import BooleanField, DateField, Field, HiddenField, StringField
from wtforms.validators import AnyOf, DataRequired, Optional, ValidationError

from registry.faces.pages.language import page_language
from registry.faces.portal.consent import CONSENT_LANGUAGES, CONSENT_VERSION, CORRECTION_VERSION
from registry.faces.portal.messages import check_label, check_number
from registry.protocol.codes import CodeForm, form_of, is_well_formed, normalise
from registry.protocol.sms_text import DEFAULT_LABEL

REPORT_TYPES = {"confirmed": lazy("Confirmed by test"), "likely": lazy("Clinical diagnosis")}
NAMES_OF_TYPES = REPORT_TYPES | {"negative": lazy("Negative test after a diagnosis without one")}
"""Of all that officials can state, on whichever page."""
TICKED = "y"
CHANNELS = {"in-person": lazy("In person"), "phone": lazy("By phone"), "writing": lazy("In writing")}
AGREEMENTS = {
    "in-person": lazy("Yes, in person"),
    "phone": lazy("Yes, by phone"),
    "writing": lazy("Yes, in writing"),
    "no": lazy("No, or not yet"),
}
"""Answers to the second question: the channels by which somebody agrees, and that they do not."""
OTHER_DAY, NO_RESULT = "other", "no"
_DAYS_OFFERED = 3

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


class ChosenField(StringField):  # type: ignore[misc]  # nor for this
    """One of several answers; its default is only what an empty form shows. What did not come in is none."""

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        """Take the answer in."""
        self.data = valuelist[0] if valuelist else None


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
    """What an official states. `limits` are the earliest and the latest day that may be named, `today` is the
    day by the clock on the wall.

    Two questions decide whether there is a code: is there a positive result, does the person agree. An answer
    to the first names the day at once, an answer to the second the way in which they agreed.
    """

    text_version: ClassVar[str] = CONSENT_VERSION
    elements = {  # noqa: RUF012  # declared with its type above
        "tested": "tested-0",
        "report_type": "report_type-0",
        "test_date": "test_date",
        "onset_date": "onset_date",
        "consent_language": "consent_language-0",
        "consent_channel": "consent_channel-0",
        "phone": "phone",
        "sms_label": "sms_label-0",
    }
    once = HiddenField(default=lambda: str(uuid4()))
    """Becomes the code's handle: the same form sent twice cannot make two codes."""
    tested = ChosenField(lazy("Is there a positive result?"))
    """A day of the last three as YYYY-MM-DD, another day, or that there is no such result."""
    report_type = ChosenField(
        lazy("How do you know?"),
        default="confirmed",
        validators=[AnyOf(REPORT_TYPES, lazy("Choose how the result was found."))],
    )
    test_date = DayField(lazy("Day of the test"), validators=[Optional()])
    onset_date = DayField(lazy("Day of the first symptoms"), validators=[Optional()])
    consent_version = HiddenField()
    consent_language = ChosenField(
        lazy("Language of the person"),
        default=page_language,
        validators=[
            AnyOf(CONSENT_LANGUAGES, lazy("Choose the language in which the person was given the text."))
        ],
    )
    consent_channel = StringField(
        lazy("Was the person given this text, and do they agree?"),
        validators=[AnyOf(AGREEMENTS, lazy("Choose how the person agreed."))],
    )

    phone = StringField(
        lazy("Telephone number for an SMS, if wanted"), filters=[lambda text: (text or "").strip()]
    )
    sms_label = StringField(lazy("Text of the SMS"), default=DEFAULT_LABEL)

    def __init__(self, limits: tuple[date, date], today: date) -> None:
        super().__init__()
        self.earliest, self.latest = limits
        if not self.is_submitted():
            self.consent_version.data = self.text_version
        self.days = [today - timedelta(days=ago) for ago in range(_DAYS_OFFERED)]
        for day in self.days:
            if day.isoformat() == self.tested.data:
                # What may stand in the field for another day, which does not show then, is not meant.
                self.test_date.process(None, day)

    def validate(self, extra_validators: object = None) -> bool:
        """Whether it all holds; if not, each field's `errors` say what to do."""
        sound = super().validate(extra_validators)
        dates = (self.test_date, self.onset_date)
        if self.tested.data == OTHER_DAY and not any(field.data or field.errors for field in dates):
            self.test_date.errors = [_("Give the day of the test, or the day of the first symptoms.")]
            sound = False
        if self.consent_version.data != self.text_version:
            self.consent_channel.errors = [
                _("The text has changed since this page was opened: read it again, then answer.")
            ]
            self.consent_channel.data = None
            self.consent_version.data = self.text_version
            sound = False
        return bool(sound)

    def validate_tested(self, field: Field) -> None:
        """One of the answers, and not that there is no result."""
        if field.data == NO_RESULT:
            raise ValidationError(_("Without a positive result there is no code. Nothing was recorded."))
        if field.data == OTHER_DAY:
            return
        if field.data not in map(date.isoformat, self.days):
            raise ValidationError(_("Choose when the person was tested."))

    def validate_consent_channel(self, field: Field) -> None:
        """Whoever does not agree gets no code."""
        if field.data not in CHANNELS and field.data in AGREEMENTS:
            raise ValidationError(_("Without the person's agreement there is no code. Nothing was recorded."))

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


class ActivationForm(AuthorizationForm):
    """The same, for a code that the person's phone has made and shows."""

    elements = {**AuthorizationForm.elements, "phone_code": "phone_code"}  # noqa: RUF012  # declared above
    phone_code = StringField(
        lazy("Code on the person's phone"),
        filters=[lambda text: normalise(text or "")],
        validators=[DataRequired(lazy("Type the 15 digits that the person's phone shows."))],
    )

    def validate_phone_code(self, field: Field) -> None:
        """Fifteen digits, of which the last one checks the others."""
        if form_of(field.data) is not CodeForm.DIGITS or not is_well_formed(field.data):
            raise ValidationError(
                _("A digit is wrong or missing: compare it with the phone, group by group.")
            )


class CorrectionForm(AuthorizationForm):
    """That a test was negative, for somebody whose warning rested on less than a test."""

    text_version = CORRECTION_VERSION
    tested = ChosenField(lazy("Is there a negative result?"))
    report_type = HiddenField(
        default="negative", validators=[AnyOf(("negative",), lazy("Open this page again."))]
    )

    def validate_tested(self, field: Field) -> None:
        """One of the answers, and not that there is no result."""
        if field.data == NO_RESULT:
            raise ValidationError(_("Without a negative result there is no code. Nothing was recorded."))
        super().validate_tested(field)


class CodeFormForm(PortalForm):
    """Which form codes are to have; eight digits only by who knows what that means."""

    elements = {"code_form": "code_form-0", "known": "known"}  # noqa: RUF012  # declared with its type above
    code_form = StringField(
        lazy("Form of new codes"),
        validators=[AnyOf([form.value for form in CodeForm], lazy("Choose a form."))],
    )
    known = TickField(lazy("I know that codes of 8 digits can be guessed"))

    def validate_known(self, field: Field) -> None:
        """Whoever chooses eight digits says so."""
        if self.code_form.data == CodeForm.SHORT and not field.data:
            raise ValidationError(_("Read what 8 digits mean, then tick the box, or choose another form."))


class RecallForm(PortalForm):
    """Why a statement's upload is to be taken back, by an official who knows what that does."""

    elements = {"reason": "reason-0", "known": "known"}  # noqa: RUF012  # declared with its type above
    reason = StringField(
        lazy("Why is it recalled?"),
        validators=[AnyOf(REASONS, lazy("Choose why it is recalled."))],
    )
    known = TickField(KNOWN, validators=[DataRequired(lazy("Read what a recall does, then tick the box."))])


class RecallOfManyForm(RecallForm):
    """Whose statements are recalled, and of which days. `whose` holds what may be chosen."""

    elements = {  # noqa: RUF012  # declared with its type above
        "whose": "whose",
        "first": "first",
        "last": "last",
        **RecallForm.elements,
    }
    whose = ChosenField(lazy("Whose statements?"))
    first = DayField(lazy("First day (UTC)"), validators=[Optional()])
    last = DayField(lazy("Last day (UTC)"), validators=[Optional()])

    def __init__(self, whose: Collection[str], today: date) -> None:
        super().__init__()
        self.may_be_chosen, self.today = whose, today

    def validate_whose(self, field: Field) -> None:
        """One of those who stated something here."""
        if field.data not in self.may_be_chosen:
            raise ValidationError(_("Choose whose statements are recalled."))

    def validate(self, extra_validators: object = None) -> bool:
        """Whether it all holds; if not, each field's `errors` say what to do."""
        sound = super().validate(extra_validators)
        for day in (self.first, self.last):
            if not day.data and not day.errors:
                day.errors = [_("Give the day.")]
                sound = False
        if self.first.data and self.last.data and self.last.data < self.first.data:
            self.last.errors = [_("The last day is before the first: correct one of the two.")]
            sound = False
        if self.first.data and self.first.data > self.today:
            self.first.errors = [_("This day is in the future: correct the date.")]
            sound = False
        return bool(sound)


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
