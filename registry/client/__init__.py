"""The SDK: all that a phone needs to keep a card, importing neither a web framework nor a server's database.

Matching happens here and nowhere else; nothing that this package sends tells two phones apart before a person
uploads. Everything from outside is handed in: a transport, a clock, a source of random bytes. Every error
raised on purpose is a `registry.errors.RegistryError`; the phone's own stand in `registry.client.failures`.

    import secrets, time
    from pathlib import Path
    from registry.client import Enrolment, HttpTransport, Phone, card_lines

    with Phone.open(
        Path("phone.db"), HttpTransport(), clock=time.time, random_bytes=secrets.token_bytes
    ) as phone:
        phone.set_up(Enrolment("http://127.0.0.1:8000", demonstration=True))
        report = phone.poll()
        for failure in report.failures:
            print(failure.path, type(failure.error).__name__, failure.error)
        print("\\n".join(card_lines(phone.card(), "en")))

The parts can be used without `Phone`. Pure: `proof` (what must hold before an index is the newest), `verify`
(what must hold before a file is believed), `match` (which keys were met), `risk` (from matches to a day),
`card` (from a day to words), `sightings` and `advertise` (from and to a scanner), `unread` (which files are
left to read). With side effects: `poll`, `newest`, `files`, `upload`, `withdraw`, `store`, `transport`,
`trust`.
"""

from registry.client.card import Card, card_lines, card_members, draw_card
from registry.client.enrolment import Enrolment, SetUp
from registry.client.match import Exposure, SightingTable, match_keys
from registry.client.phone import Observed, Phone
from registry.client.poll import Failure, PollReport, poll
from registry.client.proof import IndexProof, open_index_proof
from registry.client.remembered import Evidence, LogHead
from registry.client.risk import Risk, assess
from registry.client.sightings import Sighting, read_sightings, write_sightings
from registry.client.store import PhoneStore
from registry.client.transport import Answer, HttpTransport, Transport
from registry.client.upload import SharedDay, UploadReceipt, agree, carry_on, days_to_share, read_code
from registry.client.verify import check_index, trusted_keys, verify_file
from registry.client.withdraw import withdraw

__all__ = [
    "Answer",
    "Card",
    "Enrolment",
    "Evidence",
    "Exposure",
    "Failure",
    "HttpTransport",
    "IndexProof",
    "LogHead",
    "Observed",
    "Phone",
    "PhoneStore",
    "PollReport",
    "Risk",
    "SetUp",
    "SharedDay",
    "Sighting",
    "SightingTable",
    "Transport",
    "UploadReceipt",
    "agree",
    "assess",
    "card_lines",
    "card_members",
    "carry_on",
    "check_index",
    "days_to_share",
    "draw_card",
    "match_keys",
    "open_index_proof",
    "poll",
    "read_code",
    "read_sightings",
    "trusted_keys",
    "verify_file",
    "withdraw",
    "write_sightings",
]
