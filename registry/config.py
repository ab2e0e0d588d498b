"""Settings, read once from REGISTRY_* and frozen. Nobody else reads the environment.

Two profiles. `demo` is for trying: one-minute windows, generated keys, every page marked as a
demonstration. `production` has the defaults of a health authority. The embargo is the same in both, and
no setting moves the clock.
"""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from environs import Env, EnvError

from registry.errors import ConfigurationError, Malformed
from registry.protocol.lab_result import USUAL_TEST_CODES
from registry.protocol.regions import check_region
from registry.signing.key_place import TokenPlace

DAY = 86_400
DEMO_QUOTA = 100_000
MOST_QUOTA = 1_000_000
LOG_ORIGIN = re.compile(r"(?=.{1,200}\Z)[a-z0-9.-]+(/[A-Za-z0-9._~-]+)*")

LOINC_CODE = re.compile(r"[0-9]{1,7}-[0-9]")
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
BUCKET_PREFIX = re.compile(r"([A-Za-z0-9-]+(/[A-Za-z0-9-]+)*)?")
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Settings:
    """Every setting, with what it does and what it puts at risk. `REGISTRY_` + the name in capitals."""

    profile: Literal["demo", "production"]
    """`demo` or `production`. Phones refuse a demo registry unless asked, production a demo folder."""
    data_dir: Path
    """Holds databases, keys and public files of an embedded registry. Whoever reads it can sign."""
    host: str
    """Address to listen on. Anything but loopback needs TLS in front: API keys travel in headers."""
    port: int
    """Port of all faces together, when embedded."""
    metrics_port: int | None
    """Port for /metrics; off without it. Never to be reachable from outside."""
    base_url: str
    """What the outside calls this registry; links for officials and phones (/v) begin with it."""
    issuing_database_url: str
    """Officials, codes, tokens. Its role must not be able to read the collecting database."""
    collecting_database_url: str
    """Keys, batches, files. Its role must not be able to read the issuing database."""
    region: str
    """ISO 3166 code of the region that a fresh registry publishes for."""
    log_origin: str | None
    """Name of the transparency log: an address without scheme and port that is ours for ever, such as
    `health.example/keys`. Fixed at the first start; a demonstration makes one up without it."""
    health_authority_id: str
    """What apps send as `healthAuthorityID`; given to the authority of a fresh registry."""
    health_authority_name: str
    """Stored with the authority of a fresh registry."""
    window_seconds: int
    """Length of a publication window, aligned to UTC. Must divide a day."""
    slot_seconds: int
    """A region's keys go out at the end of a slot whatever there is; earlier, at a window's end, if there are
    `floor` uploads. A multiple of the window."""
    floor: int
    """How many people a batch holds at least, decoy users among them. Under 10 single people can be told."""
    retention_days: int
    """Days after a key's validity for which it and its file are kept, 16 to 28: the phones' figure is 21."""
    answer_hold_milliseconds: int
    """Phone endpoints answer at arrival plus this, or its next multiple, whatever they did. 0 lets an
    observer time them: only for measuring."""
    sms_gateways_file: Path | None
    """SMS gateways, in TOML, mode 0600 (docs/sms.md). Without it a demonstration writes each SMS into its
    folder, and any other registry sends none. Whoever can write it learns all numbers that an SMS goes to."""
    code_life_seconds: int
    """How long a spoken code is good for, before rounding up to a quarter of an hour."""
    quota_start: int
    """Codes that an authority may issue a day while it has no two weeks of days that a forecast could go by.
    Whoever steals an official's session can issue no more."""
    quota_least: int
    """Codes a day that a forecast leaves an authority at least."""
    quota_most: int
    """Codes a day that a forecast gives an authority at most. More takes a limit fixed at the portal, or a
    request there that a second official approves."""
    quota_official: int
    """Codes that an official may issue a day, unless the authority has fixed another number at the portal."""
    quota_bulk: int
    """The same for an official who may issue for many at once, from a file."""
    test_codes: frozenset[str]
    """LOINC codes of the tests whose positive results lead to a code when a laboratory's FHIR message brings
    them; commas between them. A code that is not of this disease warns people for nothing."""
    portal_idle_seconds: int
    """After how long without a request an official's session is locked, rounded up to five minutes; 0 for
    never. Unlocked by passkey or provider, or a fresh link; what was being typed is kept."""
    oidc_issuer: str | None
    """The organisation's OpenID provider, exactly as its tokens say; officials come in by links and passkeys
    alone without it. Whoever runs it can be any of its people here."""
    oidc_client_id: str | None
    """What this registry is called there. Its redirect address is REGISTRY_BASE_URL + /portal/oidc/back."""
    oidc_client_secret_file: Path | None
    """File of mode 0600 with the secret in one line. Whoever reads it can ask the provider in our name."""
    oidc_scopes: str
    """What is asked of the provider; `openid` must be among it."""
    oidc_groups_claim: str
    """Claim of the ID token that lists somebody's groups."""
    oidc_groups: str
    """What each group may do, like `nurses=issue;heads=issue recall approve officials`. Whoever is in none
    does not come in; read anew at every sign-in."""
    oidc_acr: str
    """Assurances of which the provider must name one (`acr`), separated by spaces."""
    oidc_amr: str
    """Methods of which the provider must name all (`amr`), separated by spaces. With neither, a sign-in there
    is no fresh proof, and takes a passkey beside it."""
    web_processes: int
    """Web server processes. Each counts wrong codes for itself, with its share of what may be tried."""
    trusted_proxies: int
    """How many proxies of yours a call passes before it reaches the registry: so manieth from the end in
    `X-Forwarded-For` is the caller, whose network alone is read, to bound guessing at codes. Too high, and
    callers choose their network themselves; too low, and all share the proxy's."""
    web_threads: int
    """On SQLite: threads in each; one per request under way, held answers included."""
    web_connections: int
    """On PostgreSQL: connections that each serves at once, held answers included. They cost it no thread, but
    an open file each: where the system allows fewer, callers are refused."""
    pkcs11_module: Path | None
    """Shared library of the PKCS#11 token that holds export and log keys; keys lie in files without it.
    Whoever can replace the library can sign and read the PIN."""
    pkcs11_token: str | None
    """Label of that token."""
    pkcs11_pin_file: Path | None
    """File of mode 0600 with the token's user PIN in one line. Whoever reads it can sign while the token
    answers, but cannot take the keys away."""

    public_bucket: str | None
    """Bucket of an S3-compatible store for the public files; they lie in the data folder without it. It must
    exist, honour conditional puts (`If-None-Match: *`), and let everyone read and only us write."""
    public_bucket_endpoint: str | None
    """Address of that store. Plain http only on this machine: whoever is in between could change files."""
    public_bucket_region: str
    """Region of that store, as it wants it in signatures."""
    public_bucket_prefix: str
    """Folder within the bucket, empty for the whole of it. Never let two registries share one."""
    public_bucket_credentials_file: Path | None
    """File of mode 0600 with two lines, `access_key_id = …` and `secret_access_key = …`. Whoever reads it can
    take public files away, but not forge them. Give web processes one that can only read."""

    witness_policy_file: Path | None
    """Witnesses with their addresses, groups and the quorum (C2SP tlog-policy); `quorum none` without it. It
    decides whose word phones take: whoever can write it can do without witnesses."""
    witness_fail_open_seconds: int
    """How long a signed checkpoint waits for its quorum before it goes out without, marked and audited."""
    witness_name: str | None
    """Name of our own witness. Fixed once it has begun; without it the host of the log's origin, then
    /witness."""

    @property
    def keys_dir(self) -> Path:
        """Signing and lookup keys, all with mode 0600."""
        return self.data_dir / "keys"

    @property
    def token(self) -> TokenPlace | None:
        """The token that holds export and log keys, or None where they lie in files."""
        if self.pkcs11_module is None or self.pkcs11_token is None or self.pkcs11_pin_file is None:
            return None
        return TokenPlace(self.pkcs11_module, self.pkcs11_token, self.pkcs11_pin_file)

    @property
    def public_dir(self) -> Path:
        """Files that anyone may fetch."""
        return self.data_dir / "public"

    @property
    def witness_path(self) -> Path:
        """What our own witness cosigned. Lost or restored from a backup, that witness must end."""
        return self.data_dir / "witness.sqlite"

    @property
    def first_run_path(self) -> Path:
        """What a first start made: addresses and keys, shown once. Mode 0600."""
        return self.data_dir / "first-run.json"


def read_settings() -> Settings:
    """Settings from the environment. Raises ConfigurationError and says which variable is wrong."""
    env = Env(prefix="REGISTRY_")
    try:
        settings = _read(env)
    except EnvError as error:
        raise ConfigurationError(str(error)) from error
    _check(settings)
    return settings


def setting_names() -> list[str]:
    """Environment variables that are read, for the documentation's test."""
    return [f"REGISTRY_{field.name.upper()}" for field in fields(Settings)]


def _read(env: Env) -> Settings:
    profile = _profile(env.str("PROFILE", "demo"))
    demo = profile == "demo"
    data_dir = Path(env.str("DATA_DIR", "./var")).absolute()
    host, port = env.str("HOST", "127.0.0.1"), env.int("PORT", 8000)
    return Settings(
        profile=profile,
        data_dir=data_dir,
        host=host,
        port=port,
        metrics_port=env.int("METRICS_PORT", None),
        base_url=env.str("BASE_URL", f"http://{host}:{port}").rstrip("/"),
        issuing_database_url=_absolute(
            env.str("ISSUING_DATABASE_URL", f"sqlite:///{data_dir}/issuing.sqlite")
        ),
        collecting_database_url=_absolute(
            env.str("COLLECTING_DATABASE_URL", f"sqlite:///{data_dir}/collecting.sqlite")
        ),
        region=env.str("REGION", "XA"),
        log_origin=env.str("LOG_ORIGIN", None),
        health_authority_id=env.str("HEALTH_AUTHORITY_ID", "org.example.health"),
        health_authority_name=env.str("HEALTH_AUTHORITY_NAME", "Demonstration Health Authority"),
        window_seconds=env.int("WINDOW_SECONDS", 60 if demo else 3600),
        slot_seconds=env.int("SLOT_SECONDS", _slot(env.int("WINDOW_SECONDS", 60 if demo else 3600))),
        floor=env.int("FLOOR", 1 if demo else 10),
        retention_days=env.int("RETENTION_DAYS", 21),
        answer_hold_milliseconds=env.int("ANSWER_HOLD_MILLISECONDS", 300),
        sms_gateways_file=env.path("SMS_GATEWAYS_FILE", None),
        code_life_seconds=env.int("CODE_LIFE_SECONDS", DAY),
        quota_start=env.int("QUOTA_START", DEMO_QUOTA if demo else 2000),
        quota_least=env.int("QUOTA_LEAST", DEMO_QUOTA if demo else 200),
        quota_most=env.int("QUOTA_MOST", DEMO_QUOTA if demo else 20_000),
        quota_official=env.int("QUOTA_OFFICIAL", DEMO_QUOTA if demo else 200),
        quota_bulk=env.int("QUOTA_BULK", DEMO_QUOTA if demo else 5000),
        test_codes=frozenset(env.list("TEST_CODES", sorted(USUAL_TEST_CODES))),
        portal_idle_seconds=env.int("PORTAL_IDLE_SECONDS", 1200),
        oidc_issuer=env.str("OIDC_ISSUER", None),
        oidc_client_id=env.str("OIDC_CLIENT_ID", None),
        oidc_client_secret_file=env.path("OIDC_CLIENT_SECRET_FILE", None),
        oidc_scopes=env.str("OIDC_SCOPES", "openid profile"),
        oidc_groups_claim=env.str("OIDC_GROUPS_CLAIM", "groups"),
        oidc_groups=env.str("OIDC_GROUPS", ""),
        oidc_acr=env.str("OIDC_ACR", ""),
        oidc_amr=env.str("OIDC_AMR", ""),
        web_processes=env.int("WEB_PROCESSES", 2),
        trusted_proxies=env.int("TRUSTED_PROXIES", 0),
        web_threads=env.int("WEB_THREADS", 64),
        web_connections=env.int("WEB_CONNECTIONS", 4000),
        pkcs11_module=env.path("PKCS11_MODULE", None),
        pkcs11_token=env.str("PKCS11_TOKEN", None),
        pkcs11_pin_file=env.path("PKCS11_PIN_FILE", None),
        public_bucket=env.str("PUBLIC_BUCKET", None),
        public_bucket_endpoint=_without_slash(env.str("PUBLIC_BUCKET_ENDPOINT", None)),
        public_bucket_region=env.str("PUBLIC_BUCKET_REGION", "us-east-1"),
        public_bucket_prefix=env.str("PUBLIC_BUCKET_PREFIX", "").strip("/"),
        public_bucket_credentials_file=env.path("PUBLIC_BUCKET_CREDENTIALS_FILE", None),
        witness_policy_file=env.path("WITNESS_POLICY_FILE", None),
        witness_fail_open_seconds=env.int("WITNESS_FAIL_OPEN_SECONDS", 3600),
        witness_name=env.str("WITNESS_NAME", None),
    )


def _slot(window_seconds: int) -> int:
    """Four hours, unless the windows do not fit into them."""
    return 14_400 if 0 < window_seconds <= 14_400 and 14_400 % window_seconds == 0 else window_seconds


def _absolute(url: str) -> str:
    """A relative SQLite path means the same file to every process, wherever each of them runs."""
    path = url.removeprefix("sqlite:///")
    return url if path in {url, ":memory:"} else f"sqlite:///{Path(path).absolute()}"


def _without_slash(url: str | None) -> str | None:
    return url.rstrip("/") if url else None


def _profile(name: str) -> Literal["demo", "production"]:
    if name == "demo":
        return "demo"
    if name == "production":
        return "production"
    raise ConfigurationError("REGISTRY_PROFILE must be demo or production")


def _check(settings: Settings) -> None:
    if not 1 <= settings.window_seconds <= DAY or DAY % settings.window_seconds:
        raise ConfigurationError("REGISTRY_WINDOW_SECONDS must divide a day: try 60, 900, 3600 or 14400")
    slot = settings.slot_seconds
    if slot < 1 or slot % settings.window_seconds or DAY % slot:
        raise ConfigurationError(
            "REGISTRY_SLOT_SECONDS must be a multiple of REGISTRY_WINDOW_SECONDS and divide a day: try 14400"
        )
    if not 1 <= settings.floor <= 1000:
        raise ConfigurationError("REGISTRY_FLOOR must be 1 to 1000")
    if settings.profile == "production" and settings.floor < 10:
        raise ConfigurationError("REGISTRY_FLOOR under 10 lets single people be told from a file")
    if not 16 <= settings.retention_days <= 28:
        raise ConfigurationError(
            "REGISTRY_RETENTION_DAYS must be 16 to 28: keys are taken for 15 days, files refused after 28"
        )
    try:
        check_region(settings.region)
    except Malformed as error:
        raise ConfigurationError(f"REGISTRY_REGION: {error}") from error
    if settings.log_origin is not None and not LOG_ORIGIN.fullmatch(settings.log_origin):
        raise ConfigurationError(
            "REGISTRY_LOG_ORIGIN is an address without scheme, port and final slash: health.example/keys"
        )
    if not re.fullmatch(r"[a-z0-9._-]{1,64}", settings.health_authority_id):
        raise ConfigurationError("REGISTRY_HEALTH_AUTHORITY_ID takes 1 to 64 of a-z, 0-9, . - and _")
    for name, port in (("PORT", settings.port), ("METRICS_PORT", settings.metrics_port)):
        if port is not None and not 1 <= port <= 65535:
            raise ConfigurationError(f"REGISTRY_{name} must be 1 to 65535")
    if settings.profile == "production" and settings.region == "XA":
        raise ConfigurationError("REGISTRY_REGION must be set: XA is for demonstrations only")
    if settings.profile == "production" and settings.answer_hold_milliseconds == 0:
        raise ConfigurationError("REGISTRY_ANSWER_HOLD_MILLISECONDS of 0 lets an observer tell uploads apart")
    if settings.web_processes < 1:
        raise ConfigurationError("REGISTRY_WEB_PROCESSES must be 1 or more")
    if settings.trusted_proxies < 0:
        raise ConfigurationError("REGISTRY_TRUSTED_PROXIES must be 0 or more")
    if not 0 <= settings.portal_idle_seconds <= 8 * 3600:
        raise ConfigurationError("REGISTRY_PORTAL_IDLE_SECONDS must be 0 to 28800")
    token = (settings.pkcs11_module, settings.pkcs11_token, settings.pkcs11_pin_file)
    if any(token) and not all(token):
        raise ConfigurationError(
            "REGISTRY_PKCS11_MODULE, REGISTRY_PKCS11_TOKEN and REGISTRY_PKCS11_PIN_FILE go together: "
            "set all three or none"
        )
    if not settings.test_codes or not all(LOINC_CODE.fullmatch(code) for code in settings.test_codes):
        raise ConfigurationError("REGISTRY_TEST_CODES takes LOINC codes with commas between: 94500-6,94558-4")
    _check_quotas(settings)
    _check_bucket(settings)
    _check_oidc(settings)
    if settings.witness_fail_open_seconds < 0:
        raise ConfigurationError("REGISTRY_WITNESS_FAIL_OPEN_SECONDS must be 0 or more")
    if settings.witness_name is not None and not re.fullmatch(r"[!-*,-~]{1,200}", settings.witness_name):
        raise ConfigurationError("REGISTRY_WITNESS_NAME takes 1 to 200 characters, no spaces and no plus")
    if settings.issuing_database_url == settings.collecting_database_url:
        raise ConfigurationError("the two halves need two databases: issuing and collecting are the same")


def _check_quotas(settings: Settings) -> None:
    if not 1 <= settings.quota_least <= settings.quota_start <= settings.quota_most <= MOST_QUOTA:
        raise ConfigurationError(
            "REGISTRY_QUOTA_LEAST, REGISTRY_QUOTA_START and REGISTRY_QUOTA_MOST must lie between 1 and "
            f"{MOST_QUOTA}, in this order"
        )
    for name, number in (("OFFICIAL", settings.quota_official), ("BULK", settings.quota_bulk)):
        if not 1 <= number <= MOST_QUOTA:
            raise ConfigurationError(f"REGISTRY_QUOTA_{name} must be 1 to {MOST_QUOTA}")


def _check_oidc(settings: Settings) -> None:
    named = (settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret_file)
    if any(named) and not (all(named) and settings.oidc_groups):
        raise ConfigurationError(
            "REGISTRY_OIDC_ISSUER, REGISTRY_OIDC_CLIENT_ID, REGISTRY_OIDC_CLIENT_SECRET_FILE and "
            "REGISTRY_OIDC_GROUPS go together: set all four or none"
        )
    if settings.oidc_issuer is None:
        return
    issuer = urlsplit(settings.oidc_issuer)
    is_safe = issuer.scheme == "https" or (issuer.scheme == "http" and issuer.hostname in LOOPBACK)
    if not is_safe or issuer.query or issuer.fragment:
        raise ConfigurationError(
            "REGISTRY_OIDC_ISSUER must begin with https:// (http:// for this machine alone) and hold no query"
        )
    if "openid" not in settings.oidc_scopes.split():
        raise ConfigurationError("REGISTRY_OIDC_SCOPES must name openid")


def _check_bucket(settings: Settings) -> None:
    bucket = (
        settings.public_bucket,
        settings.public_bucket_endpoint,
        settings.public_bucket_credentials_file,
    )
    if any(bucket) and not all(bucket):
        raise ConfigurationError(
            "REGISTRY_PUBLIC_BUCKET, REGISTRY_PUBLIC_BUCKET_ENDPOINT and "
            "REGISTRY_PUBLIC_BUCKET_CREDENTIALS_FILE go together: set all three or none"
        )
    if settings.public_bucket is not None and not BUCKET.fullmatch(settings.public_bucket):
        raise ConfigurationError("REGISTRY_PUBLIC_BUCKET takes 3 to 63 of a-z, 0-9, . and -")
    if not BUCKET_PREFIX.fullmatch(settings.public_bucket_prefix):
        raise ConfigurationError("REGISTRY_PUBLIC_BUCKET_PREFIX is a folder's path: letters, digits, - and /")
    endpoint = urlsplit(settings.public_bucket_endpoint or "https://none")
    if endpoint.username or endpoint.password or endpoint.query or endpoint.fragment or endpoint.path:
        raise ConfigurationError(
            "REGISTRY_PUBLIC_BUCKET_ENDPOINT is a scheme, a host and a port: keys go into "
            "REGISTRY_PUBLIC_BUCKET_CREDENTIALS_FILE, the bucket into REGISTRY_PUBLIC_BUCKET"
        )
    is_safe = endpoint.scheme == "https" or (endpoint.scheme == "http" and endpoint.hostname in LOOPBACK)
    if not is_safe or not endpoint.hostname:
        raise ConfigurationError(
            "REGISTRY_PUBLIC_BUCKET_ENDPOINT must begin with https://; http:// is for this machine alone"
        )
