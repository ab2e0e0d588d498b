"""Public files as phones and caches meet them: the same bytes for everyone, and nothing else."""

import hashlib
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from registry.faces.public import create_public_app
from registry.storage.local import LocalStorage

ZIP = "exposures/XA/1700000000-1700003600-00001.zip"
INDEX = "exposures/XA/index.json"
LEGACY = "exposures/XA/index.txt"
TRUST = ".well-known/exposure-registry.json"
NOTE = f"{TRUST}.note"
PROOF = "exposures/XA/index.json.tlog-proof"
MANIFEST = f"exposures/XA/manifest/{'0' * 64}.json"
BY_DIGEST = f"exposures/XA/index/{'0' * 64}.json"
POLICY = "log/policy"
OLD_TILE, TILE = "log/2025/tile/0/x001/067", "log/2026/tile/0/x001/067.p/3"
BUNDLE = "log/2026/tile/entries/000"
CHECKPOINT = b"registry.example/keys/2026\n9\n" + b"A" * 43 + b"=\n\n\xe2\x80\x94 k AAAAAAA=\n"
IMMUTABLE, POLLED = "public, max-age=1814400, immutable", "public, no-cache, max-age=0"
PLAIN = "text/plain; charset=utf-8"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    public = (ZIP, INDEX, LEGACY, TRUST, NOTE, PROOF, MANIFEST, BY_DIGEST, POLICY, OLD_TILE, TILE, BUNDLE)
    for name in (
        *public,
        "log/2026/tile/0/000.txt",
        "log/2026/x",
        "exposures/XA/.hidden.json",
        "exposures/XA/.put-x.zip",
    ):
        (tmp_path / "public" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "public" / name).write_bytes(f"content of {name}".encode())
    for name in ("log/checkpoint", "log/2026/checkpoint"):
        (tmp_path / "public" / name).write_bytes(CHECKPOINT)
    (tmp_path / "secret.json").write_text("secret")
    return tmp_path / "public"


@pytest.fixture
def phone(root: Path) -> FlaskClient:
    return create_public_app(LocalStorage(root)).test_client()


@pytest.mark.parametrize(
    ("name", "content_type", "cached"),
    [
        (ZIP, "application/zip", IMMUTABLE),
        (INDEX, "application/json", POLLED),
        (LEGACY, "text/plain; charset=us-ascii", POLLED),
        (TRUST, "application/json", POLLED),
        (NOTE, PLAIN, POLLED),
        (PROOF, PLAIN, POLLED),
        (MANIFEST, "application/json", IMMUTABLE),
        (BY_DIGEST, "application/json", IMMUTABLE),
        (POLICY, PLAIN, POLLED),
        ("log/checkpoint", PLAIN, "public, max-age=5"),
        ("log/2026/checkpoint", PLAIN, "public, max-age=5"),
        (OLD_TILE, "application/octet-stream", IMMUTABLE),
        (TILE, "application/octet-stream", IMMUTABLE),
        (BUNDLE, "application/octet-stream", IMMUTABLE),
    ],
)
def test_a_file_is_its_bytes_its_type_its_digest_and_its_life(
    phone: FlaskClient, root: Path, name: str, content_type: str, cached: str
) -> None:
    answer = phone.get(f"/{name}")
    content = (root / name).read_bytes()
    assert (answer.status_code, answer.data) == (200, content)
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Cache-Control"] == cached
    assert answer.headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_the_current_shards_tiles_have_a_second_address_that_is_not_kept_for_long(
    phone: FlaskClient, root: Path
) -> None:
    answer = phone.get("/log/tile/0/x001/067.p/3")
    assert answer.data == (root / TILE).read_bytes()
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert phone.get("/log/tile/0/x001/067").status_code == 404, "that is last year's"
    (root / "log/checkpoint").unlink()
    (root / "log/checkpoint").write_bytes(CHECKPOINT.replace(b"2026", b"2025"))
    assert phone.get("/log/tile/0/x001/067").data == (root / OLD_TILE).read_bytes()
    (root / "log/checkpoint").write_bytes(b"torn")
    assert phone.get("/log/tile/0/x001/067").status_code == 404


def test_nothing_in_an_answer_depends_on_who_asks(phone: FlaskClient) -> None:
    plain = phone.get(f"/{INDEX}")
    other = phone.get(
        f"/{INDEX}?device=7",
        headers={
            "Cookie": "a=b",
            "User-Agent": "x",
            "Accept-Language": "zh",
            "X-Forwarded-For": "203.0.113.9",
        },
    )
    assert "Set-Cookie" not in plain.headers
    assert "Vary" not in plain.headers
    assert (plain.data, sorted(plain.headers)) == (other.data, sorted(other.headers))


def test_what_a_phone_has_is_not_sent_again(phone: FlaskClient, root: Path) -> None:
    tag = phone.get(f"/{INDEX}").headers["ETag"]
    again = phone.get(f"/{INDEX}", headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
    (root / INDEX).unlink()
    (root / INDEX).write_bytes(b"something newer")
    changed = phone.get(f"/{INDEX}", headers={"If-None-Match": tag})
    assert (changed.status_code, changed.data) == (200, b"something newer")
    assert changed.headers["ETag"] == f'"{hashlib.sha256(b"something newer").hexdigest()}"'


def test_a_part_can_be_fetched(phone: FlaskClient, root: Path) -> None:
    part = phone.get(f"/{ZIP}", headers={"Range": "bytes=3-6"})
    assert (part.status_code, part.data) == (206, (root / ZIP).read_bytes()[3:7])
    assert phone.head(f"/{ZIP}").headers["Content-Length"] == str((root / ZIP).stat().st_size)


@pytest.mark.parametrize(
    "path",
    [
        "/exposures/../../secret.json",
        "/exposures/..%2f..%2fsecret.json",
        "/exposures/XA/%2e%2e/%2e%2e/%2e%2e/secret.json",
        "/exposures/XA/.hidden.json",
        "/exposures/XA/.put-x.zip",
        "/exposures/XA/%00.txt",
        "/exposures/XA/" + "a" * 300 + ".json",
        "/exposures/" + "a/" * 3000 + "x.json",
        "/exposures/XA",
        "/exposures/XA/index.json/",
        "/exposures//XA/index.json",
        "/exposures/./XA/index.json",
        "/exposures/XA/nothing.zip",
        "/exposures/XA/index.html",
        "/exposures/%ff.json",
        "/nowhere",
        "/log/2026/tile/0/000.txt",
        "/log/2026/x",
        "/log/2026/tile/0/1067.p/3",
        "/log/2026/tile/0/x001/067.p/03",
        "/log/2026/tile/00/x001/067.p/3",
        "/log/2026/tile/0/x001/067.p/256",
        "/log/2026/tile/0/x000/x001/067.p/3",
        "/log/2026/tile/entries/../entries/000",
        "/log/02026/tile/entries/000",
        "/log/2024/checkpoint",
        "/log/../log/checkpoint",
        "/log/20%0a26/checkpoint",
    ],
)
def test_whatever_is_no_public_file_is_not_found(phone: FlaskClient, path: str) -> None:
    answer = phone.get(path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert b"secret" not in answer.data


def test_files_are_only_read(phone: FlaskClient) -> None:
    answer = phone.post(f"/{INDEX}")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
