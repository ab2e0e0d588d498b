"""Where there is no gateway: the newest SMS lies in a file, to be looked at. For demonstrations alone.

The file holds the text, and of the number the country: nothing that leads to anybody is ever written down.
"""

import os
import secrets
from pathlib import Path

from registry.delivery.phone_number import PhoneNumber
from registry.delivery.sms import Answer, Sms

NEWEST = "newest.txt"


class FolderGateway:
    """Writes each SMS over the one before it. Is an `SmsGateway`."""

    name = "demonstration"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def serves(self, _number: PhoneNumber) -> bool:
        """Every country, for it sends to none."""
        return True

    def send(self, sms: Sms) -> Answer:
        """Write it, mode 0600. A full disk is a gateway that fails."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            draft = self._folder / f".{secrets.token_hex(8)}"
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"An SMS to {sms.to}, which this demonstration does not send:\n\n{sms.text}\n")
            draft.replace(self._folder / NEWEST)
        except OSError:
            return Answer.FAILED
        return Answer.ACCEPTED
