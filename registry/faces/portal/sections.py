"""The portal's sections, in the order of its menu: whoever may do what is in one finds it there."""

from dataclasses import dataclass

from flask import Flask, g
from flask_babel import LazyString
from flask_babel import lazy_gettext as lazy

from registry.faces.portal.quota import VISITORS
from registry.models.official import Permission


@dataclass(frozen=True, slots=True)
class Section:
    """A line of the menu: its page, its name, and the permissions of which one is enough to see it."""

    endpoint: str
    name: LazyString
    permissions: frozenset[Permission]


SECTIONS = (
    Section("authorizations.statement", lazy("Hand over a code"), frozenset({Permission.ISSUE})),
    Section("bulk.overview", lazy("Many at once"), frozenset({Permission.BULK})),
    Section("codes.overview", lazy("My codes"), frozenset({Permission.ISSUE})),
    Section("quota.today", lazy("Today"), VISITORS),
    Section("recalls.overview", lazy("Recalls"), frozenset({Permission.RECALL, Permission.APPROVE})),
    Section("statistics.overview", lazy("Statistics"), frozenset({Permission.STATISTICS})),
    Section("officials.overview", lazy("Officials"), frozenset({Permission.OFFICIALS})),
    Section("keys.overview", lazy("Keys"), frozenset({Permission.KEYS})),
    Section("code_settings.overview", lazy("Form of codes"), frozenset({Permission.SETTINGS})),
    Section("sms_texts.overview", lazy("Texts of SMS"), frozenset({Permission.SETTINGS})),
)


def show_sections(app: Flask) -> None:
    """Give the pages of `app` the sections of whoever is signed in."""

    @app.context_processor
    def _on_every_page() -> dict[str, object]:
        official = g.get("official")
        return {"sections": [] if official is None else sections_for(official.permissions)}


def sections_for(permissions: frozenset[Permission]) -> list[Section]:
    """What somebody with these permissions finds in the menu."""
    return [section for section in SECTIONS if not section.permissions.isdisjoint(permissions)]
