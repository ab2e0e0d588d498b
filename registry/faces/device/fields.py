"""Field types of the contract's JSON, stricter than marshmallow's own where a database would stumble.

Members that are null count as not sent, and members that nobody knows are passed over: apps send both.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, pre_load, validate

INT32 = validate.Range(min=-(2**31), max=2**31 - 1)

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class RequestSchema(Schema):
    """Base of every request: what is missing or null gets its default, what is unknown is ignored."""

    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _without_nulls(self, members: Any, **_options: Any) -> Any:
        if not isinstance(members, Mapping):
            return members
        return {name: value for name, value in members.items() if value is not None}


class Text(fields.String):
    """A string that UTF-8 and every database can hold: no lone surrogate, no NUL."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if _NO_TEXT.search(text):
            raise ValidationError("Not a text.")
        return text


class Whole(fields.Integer):
    """A whole JSON number of 32 bits: no fraction, no boolean, no digits in a string."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=INT32, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Truth(fields.Boolean):
    """true or false, and none of the words and numbers that marshmallow would also read so."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Day(Text):
    """A calendar day as `YYYY-MM-DD`, or an empty string for none. Loads as `date` or None."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text == "":
            return None
        if not _DAY.fullmatch(text):
            raise ValidationError("Not a date: write YYYY-MM-DD.")
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise ValidationError("There is no such day.") from error
