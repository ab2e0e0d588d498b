"""/v1/withdraw: a phone takes back what it uploaded, at once and without anybody's leave."""

from flask import Response
from marshmallow import Schema
from werkzeug.exceptions import UnsupportedMediaType

from registry.errors import RefusalCode
from registry.faces.database import db
from registry.faces.device.answers import padded
from registry.faces.device.calls import answer_chaff, is_chaff, is_json, members_of, receive_body
from registry.faces.device.schemas import WithdrawRequest
from registry.faces.device.settings import CollectingFace
from registry.lifecycle.recall import recall_own_keys
from registry.models import CollectingChaff, transaction

_WITHDRAW: Schema = WithdrawRequest()


class WithdrawalViews:
    """The endpoint of withdrawals. No API key: the revision token is the permission."""

    def __init__(self, face: CollectingFace) -> None:
        self._face = face

    def withdraw(self) -> Response:
        """POST /v1/withdraw. The answer says nothing: not even how many keys there were."""
        session, body = db.session(), receive_body(RefusalCode.BAD_REQUEST)
        if is_chaff():
            return answer_chaff(session, body, _WITHDRAW, CollectingChaff)
        if not is_json():
            raise UnsupportedMediaType("the Content-Type must be application/json")
        members = members_of(body, _WITHDRAW, RefusalCode.BAD_REQUEST)
        with transaction(session):
            recall_own_keys(session, members["revision_token"], self._face.revision_keys)
        # A crash here loses the reply only: sent again, it finds all done and gets the same answer.
        return padded({})
