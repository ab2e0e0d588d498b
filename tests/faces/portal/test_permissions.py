"""Each official finds and may do what they were permitted, and nothing else."""

import pytest

from registry.models import Official, transaction
from registry.models.official import Permission, permission_text
from tests.faces.portal.conftest import AUTHORITY, Portal

PLACES = {
    "/portal/": frozenset({Permission.ISSUE}),
    "/portal/bulk/": frozenset({Permission.BULK}),
    "/portal/codes/": frozenset({Permission.ISSUE}),
    "/portal/quota": frozenset(
        {
            Permission.ISSUE,
            Permission.BULK,
            Permission.APPROVE,
            Permission.OFFICIALS,
            Permission.SETTINGS,
        }
    ),
    "/portal/settings/codes/": frozenset({Permission.SETTINGS}),
    "/portal/recalls/": frozenset({Permission.RECALL, Permission.APPROVE}),
    "/portal/settings/texts/": frozenset({Permission.SETTINGS}),
    "/portal/officials/": frozenset({Permission.OFFICIALS}),
    "/portal/keys/": frozenset({Permission.KEYS}),
    "/portal/statistics/": frozenset({Permission.STATISTICS}),
}


def _hire(portal: Portal, *permissions: Permission) -> str:
    with transaction(portal.session):
        portal.session.add(
            Official(
                id="official-2",
                authority_id=AUTHORITY,
                name="Li Na",
                permission_text=permission_text(permissions),
            )
        )
    return "official-2"


@pytest.mark.parametrize("permission", Permission)
def test_a_permission_opens_its_places_and_no_others(portal: Portal, permission: Permission) -> None:
    browser = portal.signed_in(_hire(portal, permission))
    for place, needed in PLACES.items():
        answer = browser.get(place, follow_redirects=place == "/portal/")
        # The portal's start leads on whoever finds something else.
        leads_on = place == "/portal/" and any(permission in opens for opens in PLACES.values())
        assert answer.status_code == (200 if permission in needed or leads_on else 403), place
        listed = [path for path in PLACES if f'<li><a href="{path}"' in answer.text]
        assert listed == [path for path, opens in PLACES.items() if permission in opens]


def test_whoever_may_only_approve_cannot_ask(portal: Portal) -> None:
    browser = portal.signed_in(_hire(portal, Permission.APPROVE))
    assert browser.get("/portal/recalls/ask/unknown").status_code == 403


def test_a_permission_that_is_taken_away_is_gone_on_the_next_request(portal: Portal) -> None:
    browser = portal.signed_in(_hire(portal, Permission.ISSUE))
    assert browser.get("/portal/").status_code == 200
    with transaction(portal.session):
        portal.session.get_one(Official, "official-2").permission_text = ""
    assert browser.get("/portal/").status_code == 403
