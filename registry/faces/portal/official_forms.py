"""Forms about officials: who is invited, what they may do, and files of many."""

from collections.abc import Collection
from uuid import UUID

from flask_babel import LazyString
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from flask_wtf.file import FileField, FileRequired
from wtforms import Field, HiddenField, SelectMultipleField, StringField
from wtforms.validators import AnyOf, ValidationError

from registry.faces.portal.forms import PortalForm
from registry.faces.portal.official_files import name_fault
from registry.lifecycle.officials import new_invitation_id
from registry.models.official import Permission, Role

PERMISSIONS: dict[Permission, LazyString] = {
    Permission.ISSUE: lazy("Hand over codes"),
    Permission.BULK: lazy("Hand over codes for many at once, from a file"),
    Permission.RECALL: lazy("Ask for recalls"),
    Permission.APPROVE: lazy("Decide what others asked for"),
    Permission.OFFICIALS: lazy("Invite officials and remove them"),
    Permission.SETTINGS: lazy("Change the settings of the authority"),
    Permission.KEYS: lazy("Make and disable API keys"),
    Permission.STATISTICS: lazy("See the figures"),
}
ROLES = {
    Role.OFFICIAL.value: lazy("An official, at this portal"),
    Role.AUDITOR.value: lazy("An auditor, who sees the receipts and nothing here"),
}


class PermissionsForm(PortalForm):
    """What an official may do, of what whoever fills it in may give."""

    elements = {"permissions": "permissions-0"}  # noqa: RUF012  # a class variable of its base
    permissions = SelectMultipleField(lazy("What they may do"), validate_choice=False)

    def __init__(self, may_give: Collection[Permission], **more: object) -> None:
        super().__init__(**more)
        self.permissions.choices = [
            (each.value, PERMISSIONS[each]) for each in Permission if each in may_give
        ]

    def chosen(self) -> frozenset[Permission]:
        """The permissions that were ticked."""
        return frozenset(map(Permission, self.permissions.data or ()))

    def validate_permissions(self, field: Field) -> None:
        """Nothing but what the page offered."""
        if not {value for value, _label in field.choices}.issuperset(field.data or ()):
            raise ValidationError(_("Choose of the permissions listed: nobody gives what they do not have."))


class InvitationForm(PermissionsForm):
    """Somebody to invite."""

    elements = {  # noqa: RUF012  # as above
        "name": "name",
        "role": "role-0",
        "permissions": "permissions-0",
    }
    once = HiddenField(default=new_invitation_id)
    """Becomes the person's id: the same form sent twice invites once."""
    name = StringField(lazy("Name"))
    role = StringField(
        lazy("Who is it?"),
        default=Role.OFFICIAL.value,
        validators=[AnyOf(ROLES, lazy("Choose who is invited."))],
    )

    def validate_once(self, field: Field) -> None:
        """A UUID, or the form was not ours."""
        try:
            field.data = str(UUID(field.data))
        except (ValueError, TypeError, AttributeError):
            field.data = new_invitation_id()

    def validate_name(self, field: Field) -> None:
        """A name that can be shown and stored."""
        field.data = (field.data or "").strip()
        advice = name_fault(field.data)
        if advice is not None:
            raise ValidationError(advice)

    def validate_permissions(self, field: Field) -> None:
        """An official needs one at least; of an auditor they say nothing."""
        if self.role.data == Role.AUDITOR.value:
            field.data = []
            return
        super().validate_permissions(field)
        if not field.data:
            raise ValidationError(_("Tick at least one."))


class FileForm(PortalForm):
    """A file of many."""

    elements = {"file": "file"}  # noqa: RUF012  # as above
    file = FileField(lazy("CSV file"), validators=[FileRequired(lazy("Choose a file."))])
