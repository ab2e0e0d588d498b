"""The forms of the page on quotas: more codes for a day, and the limits."""

from collections.abc import Sequence

from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from wtforms import IntegerField, StringField
from wtforms.validators import AnyOf, InputRequired, NumberRange, Optional

from registry.faces.portal.forms import PortalForm
from registry.lifecycle.quota import MOST_A_DAY

OWN, ALL = "own", "all"
WHOSE = {OWN: lazy("For me"), ALL: lazy("For the whole authority")}


class WholeField(IntegerField):  # type: ignore[misc]  # WTForms publishes no types
    """A whole number."""

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        """Take it in, or say how to write it."""
        try:
            super().process_formdata(valuelist)
        except ValueError:
            raise ValueError(_("Write a whole number in digits, like 150.")) from None


def _limit(label: object) -> WholeField:
    return WholeField(
        label,
        validators=[
            Optional(),
            NumberRange(0, MOST_A_DAY, lazy("Give a number from 0 to one million, or leave it empty.")),
        ],
    )


class SurgeForm(PortalForm):
    """More codes for today. `amounts` are the most that may be asked for, for oneself and for all."""

    elements = {"whose": "whose-0", "amount": "amount"}  # noqa: RUF012  # declared with its type above
    whose = StringField(
        lazy("For whom?"), validators=[AnyOf(WHOSE, lazy("Choose for whom more codes are needed."))]
    )
    amount = WholeField(
        lazy("How many more?"), validators=[InputRequired(lazy("Say how many more codes are needed."))]
    )

    def __init__(self, amounts: dict[str, int]) -> None:
        super().__init__()
        self.amounts = amounts

    def validate(self, extra_validators: object = None) -> bool:
        """Whether it all holds; if not, each field's `errors` say what to do."""
        sound = super().validate(extra_validators)
        most = self.amounts.get(self.whose.data or "")
        if sound and most is not None and not 1 <= self.amount.data <= most:
            self.amount.errors = [_("Ask for 1 to %(most)s codes.", most=most)]
            sound = False
        return bool(sound)


class LimitsForm(PortalForm):
    """Codes a day; what is left empty goes by the forecast, or by the registry's settings."""

    elements = {  # noqa: RUF012  # declared with its type above
        "authority_most": "authority_most",
        "official_most": "official_most",
        "bulk_most": "bulk_most",
    }
    authority_most = _limit(lazy("The whole authority"))
    official_most = _limit(lazy("Each official"))
    bulk_most = _limit(lazy("Each official who may issue from a file"))
