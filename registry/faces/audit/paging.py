"""A long list a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from flask import abort

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Items `first` to `last` (counted from 1) of `total`; page `number` of `count`."""

    items: Sequence[Item]
    number: int
    count: int
    first: int
    last: int
    total: int


def page_of(items: Sequence[Item], asked: str, per_page: int) -> Page[Item]:
    """The page whose number was `asked` for. An empty list has one page; any other number is a 404."""
    count = max(1, -(-len(items) // per_page))
    number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 9 else 0
    if not 1 <= number <= count:
        abort(404)
    begin = (number - 1) * per_page
    shown = items[begin : begin + per_page]
    return Page(shown, number, count, begin + 1 if shown else 0, begin + len(shown), len(items))
