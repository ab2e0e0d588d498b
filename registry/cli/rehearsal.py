"""`registry keys rotate --rehearse`: the rotation played through, before phones have to live with it.

On a stage of its own (`registry/cli/staging.py`) the real publisher signs with the old keys, rotates, signs
with both, and with the new one alone; phones of ours and apps of other makers, each with what it knows, read
what comes out. What must be read and is not, or must be refused and is read, makes the rotation unsafe.
Nothing of the registry that runs is touched; its own keys are only asked to sign a line that says so.
"""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256

from registry.cli.rotation import ExportKey, RotationPlan
from registry.cli.staging import STAGE_URL, Stage, StagedFolder
from registry.client import Enrolment, Phone, trusted_keys, verify_file
from registry.config import DAY, Settings
from registry.errors import ConfigurationError, Distrusted, RegistryError
from registry.protocol.certificate import load_public_key
from registry.protocol.export_file import (
    SignatureInfo,
    decode_signatures,
    encode_export,
    encode_signatures,
    pack,
    read_zip,
    unpack,
)
from registry.protocol.index import TRUST_NOTE_PATH, TRUST_PATH, IndexFile
from registry.protocol.trust import TrustedKey, decode_trust
from registry.protocol.trust_note import fingerprint
from registry.signing import KeyRing, Signer

STEADY = "phone that polls on"
FRESH = "phone set up after the rotation"
OFFLINE = "phone back on the last day, old trust"
LOST = "phone away past the overlap, old trust"
RETURNED = "phone away till the old key is forgotten"
OLD_APP = "other maker's app with the old key"
NEW_APP = "other maker's app with the new key"

TRUST_FILES = (TRUST_PATH, TRUST_NOTE_PATH)
NOTHING_PUBLISHED = "nothing was published"
TEST_MESSAGE = b"positive-key-registry rehearsal: this signs nothing\n"


class Scene(StrEnum):
    """The files that come out, one of each, in their order, and what an operator is told of them."""

    BEFORE = "from before the rotation, by the old keys"
    BOTH = "from the overlap's beginning, by old and new"
    LATE = "from the last day on which a phone may come back"
    ALONE = "from after the overlap, by the new key alone"
    STOLEN = "by the old key alone after its end, as a thief would sign"
    LONG_AFTER = "from when the trust material has forgotten the old key"


@dataclass(frozen=True, slots=True)
class Reading:
    """Whether `client` must read the scene's file or must refuse it, and why it refused, if it did."""

    client: str
    scene: Scene
    must: bool
    refusal: str | None

    @property
    def reads(self) -> bool:
        """Whether the file was read and believed."""
        return self.refusal is None

    @property
    def good(self) -> bool:
        """Whether it is as it must be."""
        return self.must == self.reads


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """What became of asking a registered key for a signature. `good` is False for one that errs."""

    name: str
    word: str
    good: bool


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was seen. A rotation is safe if every key and every client did as it must."""

    plan: RotationPlan
    keys: tuple[KeyCheck, ...]
    readings: tuple[Reading, ...]

    @property
    def safe(self) -> bool:
        """Whether the rotation may be carried out."""
        return all(check.good for check in self.keys) and all(reading.good for reading in self.readings)


def rehearse(
    settings: Settings, keys: Sequence[ExportKey], ring: KeyRing, plan: RotationPlan, folder: Path
) -> Rehearsal:
    """Play `plan` through in the empty `folder`, which is the caller's to delete.

    `keys` are the registered ones, `ring` holds the real ones. Raises ConfigurationError if no key is live,
    and what a ring or a publisher raises that cannot work at all.
    """
    at_hand = {f"{signer.key_id}-{signer.key_version}": signer for signer in ring.export_signers()}
    live = [key for key in keys if key.is_live(plan.begins)]
    if not live:
        raise ConfigurationError("no export key is live, so there is nothing to overlap with: just rotate")
    checks = tuple(_check(key, at_hand.get(key.name)) for key in live)
    stage = Stage(settings, folder / "registry", plan.begins, keys, set(at_hand))
    old = max((key for key in stage.keys if key.is_live(plan.begins)), key=lambda key: key.not_before)
    return Rehearsal(plan, checks, tuple(_Drill(stage, plan, old, folder).play()))


def _check(key: ExportKey, signer: Signer | None) -> KeyCheck:
    if signer is None:
        return KeyCheck(key.name, "is not at hand, so it signs nothing", good=False)
    try:
        signature = signer.sign(TEST_MESSAGE)
        load_public_key(key.public_key_pem).verify(signature, TEST_MESSAGE, ECDSA(SHA256()))
    except InvalidSignature:
        return KeyCheck(key.name, "is another key than the one that is registered", good=False)
    except RegistryError as error:
        return KeyCheck(key.name, str(error), good=False)
    return KeyCheck(key.name, "is at hand and signs", good=True)


class _Drill:
    """One rehearsal under way. `old` is the newest key that was live before."""

    def __init__(self, stage: Stage, plan: RotationPlan, old: ExportKey, folder: Path) -> None:
        self._stage = stage
        self._plan = plan
        self._old = TrustedKey(old.key_id, old.key_version, old.public_key_pem, old.not_before, old.not_after)
        self._folder = folder
        self._files: dict[Scene, str | None] = {}
        self._phones: dict[str, tuple[Phone, StagedFolder]] = {}
        self._readings: list[Reading] = []

    def play(self) -> list[Reading]:
        """All scenes in their order, and what every client made of them."""
        try:
            self._before()
            self._in_the_overlap()
            self._afterwards()
        finally:
            for phone, _ in self._phones.values():
                phone.__exit__(None, None, None)
        return self._readings

    def _before(self) -> None:
        for name in (STEADY, OFFLINE, LOST, RETURNED):
            self._set_up(name)
        self._publish(Scene.BEFORE)
        for name in (STEADY, OFFLINE, LOST, RETURNED):
            self._poll(name, Scene.BEFORE, must=True)
        self._run_app(OLD_APP, self._old, Scene.BEFORE, must=True)

    def _in_the_overlap(self) -> None:
        self._stage.rotate(self._plan)
        self._publish(Scene.BOTH)
        self._set_up(FRESH)
        for scene in (Scene.BEFORE, Scene.BOTH):
            self._poll(FRESH, scene, must=True)
        self._poll(STEADY, Scene.BOTH, must=True)
        offline_days = self._stage.settings.retention_days - 1
        self._stage.clock.now = self._plan.begins + offline_days * DAY
        self._publish(Scene.LATE)
        for name in (STEADY, FRESH):
            self._poll(name, Scene.LATE, must=True)
        self._poll(OFFLINE, Scene.LATE, must=True, withheld=TRUST_FILES)
        for scene in (Scene.BOTH, Scene.LATE):
            self._run_app(OLD_APP, self._old, scene, must=True)
            self._run_app(NEW_APP, self._new(), scene, must=True)

    def _afterwards(self) -> None:
        end = max(self._plan.overlap_end, int(self._stage.clock.now))
        self._stage.clock.now = end + DAY
        self._publish(Scene.ALONE)
        for name in (STEADY, FRESH):
            self._poll(name, Scene.ALONE, must=True)
        self._poll(LOST, Scene.ALONE, must=False, withheld=TRUST_FILES)
        self._run_app(OLD_APP, self._old, Scene.ALONE, must=False)
        self._run_app(NEW_APP, self._new(), Scene.ALONE, must=True)
        self._offer_what_a_thief_signed()
        # So long after that the trust material names the old key no more: the trust root's word must do.
        self._stage.clock.now = end + (self._stage.settings.retention_days + 3) * DAY
        self._publish(Scene.LONG_AFTER)
        self._poll(STEADY, Scene.LONG_AFTER, must=True)
        self._poll(RETURNED, Scene.LONG_AFTER, must=True)

    def _publish(self, scene: Scene) -> None:
        self._files[scene] = self._stage.publish_one_key()

    def _set_up(self, name: str) -> None:
        transport = StagedFolder(self._stage.storage)
        path = self._folder / f"phone-{len(self._phones)}.db"
        phone = Phone.open(path, transport, clock=self._stage.clock, random_bytes=secrets.token_bytes)
        self._phones[name] = phone, transport
        settings = self._stage.settings
        phone.set_up(
            Enrolment(
                STAGE_URL,
                settings.region,
                demonstration=settings.profile == "demo",
                fingerprint=fingerprint(decode_trust(self._stage.trust()).trust_vkey),
            )
        )

    def _poll(self, name: str, scene: Scene, *, must: bool, withheld: Collection[str] = ()) -> None:
        """One poll of this phone, which does not find `withheld`, and what it made of the scene's file."""
        phone, transport = self._phones[name]
        transport.withheld = withheld
        report = phone.poll()
        path = self._files[scene]
        if path is None:
            self._tell(name, scene, must, NOTHING_PUBLISHED)
            return
        if sha256(self._stage.file(path)).hexdigest() in phone.store.read_files():
            self._tell(name, scene, must, None)
            return
        errors = {failure.path: failure.error for failure in report.failures if failure.path not in withheld}
        words = dict.fromkeys(_in_words(error) for error in errors.values())
        self._tell(name, scene, must, "; ".join(words) or "is not offered the file")

    def _run_app(self, name: str, key: TrustedKey, scene: Scene, *, must: bool) -> None:
        """An app that knows one key by id and version, and nothing of trust material, index or log (GAEN)."""
        path = self._files[scene]
        if path is None:
            self._tell(name, scene, must, NOTHING_PUBLISHED)
            return
        export_bin, export_sig = unpack(self._stage.file(path))
        signatures = {(info.key_id, info.key_version): made for info, made in decode_signatures(export_sig)}
        made = signatures.get((key.key_id, key.key_version))
        if made is None:
            self._tell(name, scene, must, f"there is no signature by {key.key_id} {key.key_version}")
            return
        try:
            load_public_key(key.public_key_pem).verify(made, export_bin, ECDSA(SHA256()))
        except InvalidSignature:
            self._tell(name, scene, must, f"the signature by {key.key_id} {key.key_version} is wrong")
        else:
            self._tell(name, scene, must, None)

    def _offer_what_a_thief_signed(self) -> None:
        """The newest file signed by the old key alone, now that it has ended, to a phone that knows so."""
        path = self._files[Scene.ALONE]
        thief = self._stage.signer(f"{self._old.key_id}-{self._old.key_version}")
        if thief is None or path is None:
            return
        info = SignatureInfo(thief.key_id, thief.key_version)
        export_bin = encode_export(replace(read_zip(self._stage.file(path))[0], signature_infos=(info,)))
        forged = pack(export_bin, encode_signatures([(info, thief.sign(export_bin))]))
        file = IndexFile(path, sha256(forged).hexdigest(), len(forged))
        window, now = self._stage.window_of(path), self._stage.clock()
        trust = decode_trust(self._phones[FRESH][0].store.registration().trust)
        trusted = trusted_keys(trust, window, now=now)
        try:
            verify_file(forged, file, window, region=self._stage.settings.region, trusted=trusted, now=now)
        except Distrusted as error:
            self._tell(FRESH, Scene.STOLEN, False, _in_words(error))
        else:
            self._tell(FRESH, Scene.STOLEN, False, None)

    def _new(self) -> TrustedKey:
        """The new key, as the published trust material names it."""
        keys = decode_trust(self._stage.trust()).export_signing_keys
        return next(key for key in keys if f"{key.key_id}-{key.key_version}" == self._plan.name)

    def _tell(self, client: str, scene: Scene, must: bool, refusal: str | None) -> None:
        self._readings.append(Reading(client, scene, must, refusal))


def _in_words(error: RegistryError) -> str:
    return f"{type(error).__name__}: {error}"
