"""A real nginx on loopback with the configuration of deploy/nginx, in a folder of its own, as any user.

What is changed of the shipped files is where things lie and on which port it listens; each change must find
exactly what it replaces, so that a file that changes is noticed here.
"""

import datetime
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SHIPPED = Path(__file__).parent.parent / "deploy" / "nginx"
MAIN, SITE, FILES = "nginx.conf", "registry-public.conf", "registry-public-files.conf"
STARTING_SECONDS = 10.0

TEMPORARY = "".join(
    f"    {kind}_temp_path {{folder}}/{kind};\n"
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)


def lay_out(folder: Path, public: Path, port: int, *, tls_port: int | None = None, more: str = "") -> Path:
    """The configuration in `folder` for the public folder `public`; returns the main file's path.

    Its public host listens without TLS on `port`, by IPv6 too where there is any; `tls_port` adds the shipped
    TLS listener. `more` goes into the http block.
    """
    certificate, key = folder / "public.pem", folder / "public.key"
    _write_certificate(certificate, key)
    addresses = ["127.0.0.1", "[::1]"] if has_ipv6() else ["127.0.0.1"]
    listen = [f"listen {address}:{port};" for address in addresses]
    if tls_port is not None:
        listen = [
            f"{one} listen {at}:{tls_port} ssl http2;" for one, at in zip(listen, addresses, strict=True)
        ]
    site = _changed(
        (SHIPPED / SITE).read_text(),
        {
            "listen 80;": f"listen unix:{folder}/redirect.sock;",
            "listen [::]:80;": "",
            "listen 443 ssl http2;": listen[0],
            # nginx does not start where a line names a family of addresses that the machine lacks.
            "listen [::]:443 ssl http2;": "".join(listen[1:]),
            "/etc/ssl/registry/public.pem": str(certificate),
            "/etc/ssl/registry/public.key": str(key),
            "root /var/lib/registry/public;": f"root {public};",
            "include /etc/nginx/registry-public-files.conf;": f"include {folder}/{FILES};",
        },
    )
    files = _changed((SHIPPED / FILES).read_text(), {"/var/log/nginx/": f"{folder}/"})
    (folder / SITE).write_text(site)
    (folder / FILES).write_text(files)
    main = _changed(
        (SHIPPED / MAIN).read_text(),
        {
            "user www-data;": "daemon off;\nmaster_process off;",
            "pid /run/nginx.pid;": f"pid {folder}/pid;",
            "/var/log/nginx/": f"{folder}/",
            "worker_connections 4096;": "worker_connections 512;",
            "    include /etc/nginx/registry-public.conf;": (
                f"{TEMPORARY.format(folder=folder)}    include {folder}/{SITE};\n{more}"
            ),
        },
    )
    (folder / MAIN).write_text(main)
    return folder / MAIN


def check_configuration(nginx: str, main: Path) -> str:
    """What `nginx -t` says; raises if it refuses."""
    said = subprocess.run(
        [nginx, "-t", "-p", str(main.parent), "-c", str(main)], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    return said.stderr


@contextmanager
def serving(nginx: str, main: Path, port: int) -> Iterator[None]:
    """nginx under `main`, until the end of the block."""
    server = subprocess.Popen(
        [nginx, "-p", str(main.parent), "-c", str(main)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TZ": "UTC"},
    )
    try:
        _wait_for(server, main, port)
        yield
    finally:
        server.terminate()
        server.wait()


def has_ipv6() -> bool:
    """Whether this machine has a loopback of IPv6."""
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_for(server: "subprocess.Popen[bytes]", main: Path, port: int) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if server.poll() is not None or time.monotonic() > deadline:
            said = (main.parent / "registry-public.error.log").read_text()
            raise RuntimeError(f"nginx did not start: {said}")
        time.sleep(0.02)


def _changed(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the shipped file"
        text = text.replace(old, new)
    return text


def _write_certificate(certificate: Path, key: Path) -> None:
    """One that nobody trusts, for a day."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keys.health.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(secret, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
