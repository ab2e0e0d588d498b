"""Where this registry's public files lie, by its settings: a bucket if they name one, else the local folder.

Used by the publisher, which writes there, and by faces that read. A process that only reads is to be given a
credentials file that can only read.
"""

import re

from registry.config import Settings
from registry.errors import ConfigurationError
from registry.protocol.serving import file_time, serving_of, stored_headers
from registry.signing.key_file import read_private
from registry.storage import Storage
from registry.storage.s3 import BucketPlace, Credentials, S3Storage
from registry.storage.served_folder import ServedFolder

_NAMES = ("access_key_id", "secret_access_key")
_LINE = re.compile(r"\s*([a-z_]+)\s*=\s*(\S+)\s*")


def public_storage(settings: Settings) -> Storage:
    """The storage of the public files. Raises ConfigurationError for a credentials file of no use."""
    if settings.public_bucket is None:
        return ServedFolder(
            settings.public_dir,
            file_time=file_time,
            is_compressed=lambda path: serving_of(path).compressed,
        )
    return S3Storage(_place(settings), stored_headers)


def _place(settings: Settings) -> BucketPlace:
    if (
        settings.public_bucket is None
        or settings.public_bucket_endpoint is None
        or settings.public_bucket_credentials_file is None
    ):
        raise ConfigurationError("the settings name no bucket")
    return BucketPlace(
        endpoint=settings.public_bucket_endpoint,
        bucket=settings.public_bucket,
        region=settings.public_bucket_region,
        prefix=settings.public_bucket_prefix,
        credentials=read_credentials(settings),
    )


def read_credentials(settings: Settings) -> Credentials:
    """What the credentials file holds. Raises ConfigurationError, and never quotes a line of it."""
    path = settings.public_bucket_credentials_file
    if path is None:
        raise ConfigurationError("REGISTRY_PUBLIC_BUCKET_CREDENTIALS_FILE is not set")
    expected = f"{path} must hold two lines: access_key_id = … and secret_access_key = …"
    try:
        lines = read_private(path).decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigurationError(expected) from error
    found = [_LINE.fullmatch(line) for line in lines if line.strip()]
    values = {match[1]: match[2] for match in found if match is not None}
    if None in found or len(found) != len(_NAMES) or values.keys() != set(_NAMES):
        raise ConfigurationError(expected)
    return Credentials(values["access_key_id"], values["secret_access_key"])
