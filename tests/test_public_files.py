"""Where public files lie by the settings: the folder, or a bucket whose key nobody else can read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from werkzeug.test import Client

from registry.app import embedded
from registry.config import Settings, read_settings
from registry.errors import ConfigurationError
from registry.protocol.index import shard_signed_path
from registry.public_files import public_storage, read_credentials
from registry.storage.s3 import S3Storage
from registry.storage.served_folder import ServedFolder
from tests.storage.seaweedfs import BUCKET, CREDENTIALS, SeaweedServer
from tests.world import World

LINES = f"access_key_id = {CREDENTIALS.access_key_id}\nsecret_access_key={CREDENTIALS.secret_access_key}\n"
PREFIX = "REGISTRY_PUBLIC_BUCKET"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "bucket.key"
    path.write_text(LINES)
    path.chmod(0o600)
    return path


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, key_file: Path) -> Callable[..., Settings]:
    """Function from changed variables (without their prefix) to the settings that they make."""

    def make(**changed: str | None) -> Settings:
        variables: dict[str, str | None] = {
            "": BUCKET,
            "_ENDPOINT": "https://s3.example",
            "_CREDENTIALS_FILE": str(key_file),
            **changed,
        }
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(f"{PREFIX}{name}", raising=False)
            else:
                monkeypatch.setenv(f"{PREFIX}{name}", value)
        return read_settings()

    return make


def test_without_a_bucket_they_lie_in_the_data_folder(tmp_path: Path) -> None:
    made = replace(read_settings(), data_dir=tmp_path)
    assert isinstance(public_storage(made), ServedFolder)


def test_with_a_bucket_they_lie_there(settings: Callable[..., Settings]) -> None:
    made = settings(_PREFIX="/keys/2026/", _REGION="cn-north-1", _ENDPOINT="https://s3.example:8443/")
    assert isinstance(public_storage(made), S3Storage)
    assert (made.public_bucket_prefix, made.public_bucket_region) == ("keys/2026", "cn-north-1")
    assert made.public_bucket_endpoint == "https://s3.example:8443"
    assert read_credentials(made) == CREDENTIALS


@pytest.mark.parametrize("missing", ["", "_ENDPOINT", "_CREDENTIALS_FILE"])
def test_half_a_bucket_is_refused(settings: Callable[..., Settings], missing: str) -> None:
    with pytest.raises(ConfigurationError, match="go together"):
        settings(**{missing: None})


@pytest.mark.parametrize(
    "endpoint",
    [
        *("http://s3.example", "ftp://s3.example", "s3.example", "https://", "http://127.0.0.1.evil.example"),
        *("https://key:secret@s3.example", "https://s3.example/bucket", "https://s3.example?key=x"),
    ],
)
def test_an_address_that_is_open_to_others_or_holds_more_is_refused(
    settings: Callable[..., Settings], endpoint: str
) -> None:
    with pytest.raises(ConfigurationError, match="REGISTRY_PUBLIC_BUCKET_ENDPOINT") as refused:
        settings(_ENDPOINT=endpoint)
    assert "secret@" not in str(refused.value)


def test_this_machine_may_do_without_tls(settings: Callable[..., Settings]) -> None:
    for endpoint in ("http://127.0.0.1:8333", "http://localhost:8333", "http://[::1]:8333"):
        assert settings(_ENDPOINT=endpoint).public_bucket_endpoint == endpoint


@pytest.mark.parametrize(("name", "value"), [("", "No_Bucket"), ("", "x"), ("_PREFIX", "a/../b")])
def test_names_that_would_become_other_paths_are_refused(
    settings: Callable[..., Settings], name: str, value: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{PREFIX}{name} "):
        settings(**{name: value})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(
    settings: Callable[..., Settings], key_file: Path, mode: int
) -> None:
    key_file.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        public_storage(settings())


@pytest.mark.parametrize(
    "text",
    [
        *("", "access_key_id = a\n", LINES + "region = x\n", LINES + "access_key_id = b\n", "a b c\n"),
        *("access_key_id = a\nsecret_access_key = \n", "[default]\n" + LINES, "access_key_id = é\n"),
    ],
)
def test_a_key_file_that_says_anything_else_is_refused_and_never_quoted(
    settings: Callable[..., Settings], key_file: Path, text: str
) -> None:
    key_file.write_text(text)
    with pytest.raises(ConfigurationError, match="must hold two lines") as refused:
        public_storage(settings())
    assert CREDENTIALS.secret_access_key not in str(refused.value)


def test_a_key_file_that_is_not_there_is_told(settings: Callable[..., Settings], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the secret in"):
        public_storage(settings(_CREDENTIALS_FILE=str(tmp_path / "none")))


def test_a_whole_registry_on_one_box_can_keep_its_files_in_a_bucket(
    world: World, seaweed: SeaweedServer, key_file: Path, request: pytest.FixtureRequest
) -> None:
    world.settings = replace(
        world.settings,
        public_bucket=BUCKET,
        public_bucket_endpoint=seaweed.endpoint,
        public_bucket_prefix=f"one-box/{world.settings.collecting_database_url.split(':')[0].split('+')[0]}",
        public_bucket_credentials_file=key_file,
    )
    world.client = Client(embedded(world.settings, world.clock))
    world.next_window()
    bucket = public_storage(world.settings)
    for path in set(bucket.names("")) - {shard_signed_path(2026)}:  # that one is the publisher's own
        assert world.get(f"/{path}") == bucket.read(path)
    assert f"exposures/{world.settings.region}/index.json" in bucket.names("")
    assert world.index()["sequence"] >= 1
    page = world.client.get("/audit/")
    assert page.status_code == 200
