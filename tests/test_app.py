"""The spine, told as stories on the whole registry: official or lab → app → publisher → files."""

import base64
import subprocess
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.models import (
    HealthAuthority,
    HealthAuthorityKey,
    Shelf,
    open_database,
    transaction,
)
from registry.protocol.certificate import VerificationCertificate, encode_certificate
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.signing.file_key import FileKey
from tests.app_of_old import fresh_keys
from tests.world import World

DAY = 86_400


def raw(key: dict[str, object]) -> bytes:
    return base64.b64decode(str(key["key"]))


def test_twelve_people_upload_and_each_key_leaves_two_hours_after_its_end(world: World) -> None:
    uploads = [fresh_keys(world.clock()) for _ in range(12)]
    for keys in uploads:
        answer = world.app().upload(world.issue()["code"], keys)
        assert answer.status == 200
        assert answer.body["insertedExposures"] == 14
        assert answer.body["revisionToken"]

    world.next_window()
    past = sorted(raw(key) for keys in uploads for key in keys[1:])
    assert sorted(world.published_keys()) == past, "all but today's keys are in the next file"

    midnight = world.clock() // DAY * DAY + DAY
    world.clock.now = midnight + 7100
    world.next_window()
    assert len(world.published_keys()) == 12 * 13, "today's key is still under its embargo"

    world.clock.now = midnight + 7200
    world.next_window()
    everything = sorted(raw(key) for keys in uploads for key in keys)
    assert sorted(world.published_keys()) == everything, "and leaves two hours after its end"


def test_every_published_file_is_accepted_by_foreign_tools(
    world: World, system_tool: Callable[[str], str], tmp_path: Path
) -> None:
    for days_ago in (1, 3, 9):
        world.app().upload(world.issue(days_ago=days_ago)["code"], fresh_keys(world.clock()))
        world.next_window()
    trust = world.client.get("/.well-known/exposure-registry.json").get_json()
    (tmp_path / "public.pem").write_text(trust["export_signing_keys"][0]["public_key"])
    proto = Path("registry/protocol/export_file.proto").resolve()

    names = world.file_names()
    assert len(names) == 3
    for name in names:
        with zipfile.ZipFile(BytesIO(world.get(f"/exposures/{name}"))) as archive:
            assert archive.namelist() == ["export.bin", "export.sig"]
            archive.extractall(tmp_path)
        export_bin = (tmp_path / "export.bin").read_bytes()
        decode = [system_tool("protoc"), f"--proto_path={proto.parent}", proto.name]
        text = subprocess.run(
            [*decode, "--decode=TemporaryExposureKeyExport"], input=export_bin[16:], capture_output=True
        )
        assert text.returncode == 0, text.stderr
        assert text.stdout.count(b"key_data:") == len(world.file(name).keys) >= 13
        signature = world.file_signature(name)
        (tmp_path / "sig.der").write_bytes(signature)
        check = [system_tool("openssl"), "dgst", "-sha256", "-verify", str(tmp_path / "public.pem")]
        check += ["-signature", str(tmp_path / "sig.der"), str(tmp_path / "export.bin")]
        assert subprocess.run(check, capture_output=True, text=True).stdout.strip() == "Verified OK"
        (tmp_path / "export.bin").write_bytes(export_bin[:-1] + bytes([export_bin[-1] ^ 1]))
        assert "ailure" in subprocess.run(check, capture_output=True, text=True).stdout


def test_a_certificate_opens_the_door_for_its_own_keys_only(world: World) -> None:
    app, keys = world.app(), fresh_keys(world.clock())
    certificate = app.certify(app.verify(world.issue()["code"]).body["token"], keys).body["certificate"]
    others = fresh_keys(world.clock())
    answer = app.post("/v1/publish", app.publish_body(certificate, others))
    assert (answer.status, answer.code) == (401, "health_authority_verification_certificate_invalid")
    world.next_window()
    assert world.file_names() == [], "nothing was stored"
    assert app.post("/v1/publish", app.publish_body(certificate, keys)).status == 200


def test_used_unknown_and_expired_things_are_named_as_the_contract_names_them(world: World) -> None:
    app, keys = world.app(), fresh_keys(world.clock())
    code = world.issue()["code"]
    token = app.verify(code).body["token"]
    assert app.verify(code).code == "code_invalid", "used"
    assert app.verify("000000000000000").code == "code_invalid", "unknown"

    stale_code = world.issue()["code"]
    assert app.certify(token, keys).status == 200
    assert app.certify(token, fresh_keys(world.clock())).code == "token_expired", "used for other keys"

    slow = world.app()
    certificate = slow.certify(slow.verify(world.issue()["code"]).body["token"], keys).body["certificate"]
    world.clock.advance(16 * 60)
    answer = slow.post("/v1/publish", slow.publish_body(certificate, keys))
    assert (answer.status, answer.code) == (401, "health_authority_verification_certificate_invalid")

    world.clock.advance(2 * DAY)
    answer = app.verify(stale_code)
    assert (answer.status, answer.code) == (400, "code_expired")


def test_lost_replies_burn_nothing_even_across_a_restart(world: World) -> None:
    app, keys = world.app(), fresh_keys(world.clock())
    verify_body = b'{"code": "%s", "padding": "MDEyMzQ1Njc4OWFiY2RlZg=="}' % world.issue()["code"].encode()
    first = app.send("/api/verify", verify_body, app.device_api_key)
    world.start_web()
    assert app.send("/api/verify", verify_body, app.device_api_key).body["token"] == first.body["token"]

    certificate = app.certify(first.body["token"], keys).body["certificate"]
    world.start_web()
    assert app.certify(first.body["token"], keys).body["certificate"] == certificate

    uploaded = app.post("/v1/publish", app.publish_body(certificate, keys))
    world.start_web()
    world.clock.advance(20 * 3600)
    again = app.post("/v1/publish", app.publish_body(certificate, list(reversed(keys))))
    assert again.status == 200, "20 hours later, the certificate long stale, other padding, other order"
    assert again.body["revisionToken"] == uploaded.body["revisionToken"]
    assert again.body["insertedExposures"] == 14

    world.clock.advance(6 * 3600)
    publisher_says = app.post("/v1/publish", app.publish_body(certificate, keys))
    assert publisher_says.status == 401, "after a day the answer is forgotten"


def test_another_authoritys_certificates_are_accepted_under_its_registered_key(
    world: World, tmp_path: Path
) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "theirs.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    now = int(world.clock())
    with Session(open_database(world.settings.collecting_database_url)) as session, transaction(session):
        session.add(
            HealthAuthority(
                id="org.other",
                certificate_issuer="other-iss",
                certificate_audience="other-aud",
                regions=["XA", "XB"],
            )
        )
        session.flush()
        pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        session.add(
            HealthAuthorityKey(
                health_authority_id="org.other",
                key_id="k9",
                public_key_pem=pem,
                not_before=now - 60,
                not_after=now + DAY,
            )
        )
    app, keys = world.app(), fresh_keys(world.clock(), today=False)
    app.health_authority_id = "org.other"
    theirs = FileKey.load(path, "k9", "1")
    certificate = certificate_of_another_authority(app.mac(keys), theirs, now)
    assert app.post("/v1/publish", app.publish_body(certificate, keys)).status == 200
    world.next_window()
    for region in ("XA", "XB"):
        assert sorted(world.published_keys(region)) == sorted(map(raw, keys))

    ours = world.app()
    certificate = certificate_of_another_authority(ours.mac(keys), theirs, now)
    answer = ours.post("/v1/publish", ours.publish_body(certificate, keys))
    assert answer.status == 401, "their key opens no door of ours"


def certificate_of_another_authority(mac: bytes, signer: FileKey, now: int) -> str:
    certificate = VerificationCertificate(
        issuer="other-iss",
        audience="other-aud",
        report_type="confirmed",
        tekmac=base64.b64encode(mac).decode(),
        symptom_onset_interval=None,
        issued_at=now,
        not_before=now,
        expires_at=now + 900,
    )
    return encode_certificate(certificate, signer)


def test_no_release_is_ever_due_before_its_keys_end_and_two_hours(world: World) -> None:
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    with Session(open_database(world.settings.collecting_database_url)) as session:
        shelves = session.scalars(select(Shelf.releasable_at)).all()
    today = interval_at(world.clock()) // 144 * 144
    assert sorted(shelves) == [0, today + 144 + EMBARGO_INTERVALS]
