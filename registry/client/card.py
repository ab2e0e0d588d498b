"""The card that a person sees. Pure: what is known in, what is shown out.

It is honest about freshness: a phone that has not read everything for 48 hours never shows a plain green
card, and an orange one says that it may be out of date.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from registry.client.risk import Risk
from registry.client.sightings import CLOCK_TOLERANCE_SECONDS
from registry.client.texts import CARD_TEXTS, Language

STALE_AFTER_SECONDS = 48 * 3600

CardState = Literal["green", "orange", "stale"]


@dataclass(frozen=True, slots=True)
class Card:
    """What is shown. `exposed_on` is a UTC day, `last_checked` unix seconds of the last good poll.

    `state` is orange whenever there is an exposure, also if `stale`; it is stale only without one.
    """

    state: CardState
    stale: bool
    exposed_on: date | None
    withdrawn_on: tuple[date, ...]
    last_checked: float | None
    region: str
    demonstration: bool
    staged: bool


def draw_card(
    risk: Risk, *, last_good_poll: float | None, now: float, region: str, demonstration: bool, staged: bool
) -> Card:
    """The card at `now` (unix seconds)."""
    # A last check in the future means that the clock was moved: then its age is not known.
    stale = last_good_poll is None or not (
        -CLOCK_TOLERANCE_SECONDS <= now - last_good_poll <= STALE_AFTER_SECONDS
    )
    state: CardState = "orange" if risk.exposed_on else "stale" if stale else "green"
    return Card(
        state=state,
        stale=stale,
        exposed_on=risk.exposed_on,
        withdrawn_on=risk.withdrawn_on,
        last_checked=last_good_poll,
        region=region,
        demonstration=demonstration,
        staged=staged,
    )


def card_lines(card: Card, language: Language) -> list[str]:
    """The card in words, the headline first."""
    texts = CARD_TEXTS[language]
    lines = [texts[card.state]]
    if card.exposed_on:
        lines += [texts["exposed"].format(day=card.exposed_on.isoformat()), texts["advice"]]
    if card.stale:
        lines.append(texts["never_checked" if card.last_checked is None else "not_checked"])
    if card.last_checked is not None:
        time = datetime.fromtimestamp(card.last_checked, UTC).strftime("%Y-%m-%d %H:%M")
        lines.append(texts["last_checked"].format(time=time))
    lines += [texts["withdrawn"].format(day=day.isoformat()) for day in card.withdrawn_on]
    if card.demonstration:
        lines.append(texts["demonstration"])
    if card.staged:
        lines.append(texts["staged"])
    return lines


def card_members(card: Card) -> dict[str, object]:
    """The card as members of a JSON object; days as YYYY-MM-DD (UTC), time in unix seconds."""
    return {
        "state": card.state,
        "stale": card.stale,
        "exposed_on": card.exposed_on.isoformat() if card.exposed_on else None,
        "withdrawn_on": [day.isoformat() for day in card.withdrawn_on],
        "last_checked": card.last_checked,
        "region": card.region,
        "demonstration": card.demonstration,
        "staged": card.staged,
    }
