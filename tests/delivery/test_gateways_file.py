"""The operator's file of gateways: what it may say, and that what it must not say stops the start."""

from collections.abc import Callable
from pathlib import Path

import pytest

from registry.delivery.gateways_file import read_gateways
from registry.errors import ConfigurationError
from registry.signing.key_file import create_private, read_private

DOCS = Path(__file__).parents[2] / "docs" / "sms.md"
PLAIN = """
[[gateway]]
name = "first"
url = "https://sms.example/send"
countries = ["CN"]
[gateway.body]
to = "{to}"
text = "{text}"
"""


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    create_private(tmp_path / "first.key", b"s3cret\n")
    example = DOCS.read_text().partition("```toml\n")[2].partition("```")[0]
    (gateway,) = read_gateways(
        example.replace("/etc/registry/sms-first.key", str(tmp_path / "first.key")), read_private
    )
    assert gateway.headers == {"Authorization": "Bearer s3cret"}
    assert gateway.countries == {"CN", "+852"}
    assert gateway.told_in == ["result", "code"]
    assert "s3cret" not in repr(gateway)


def test_secrets_may_stand_in_the_body_too(tmp_path: Path) -> None:
    create_private(tmp_path / "k", b"s3cret")
    text = (
        PLAIN.replace("countries", f'secret_files = {{ k = "{tmp_path / "k"}" }}\ncountries')
        + 'sig = ["{secret:k}"]'
    )
    assert read_gateways(text, read_private)[0].body["sig"] == ["s3cret"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace("https", "http"), "must begin with https"),
        (lambda text: text.replace("/send", "/send?to={to}"), "url is a host and a path"),
        (lambda text: text.replace("/send", "/send/{to}"), "takes no placeholder"),
        (lambda text: text.replace("//sms", "//user:word@sms"), "secrets go into headers"),
        (lambda text: text.replace('to = "{to}"', 'to = "{number}"'), "unknown placeholder"),
        (lambda text: text.replace('text = "{text}"', ""), "must hold {to} and {text}"),
        (lambda text: text.replace('["CN"]', '["China"]'), "countries names"),
        (lambda text: text.replace('["CN"]', "[]"), "countries names"),
        (lambda text: text.replace("countries", "country"), "unknown country"),
        (lambda text: text.replace("countries", 'method = "GET"\ncountries'), "method is one of"),
        (lambda text: text.replace("countries", "timeout_seconds = 60\ncountries"), "from 1 to 20"),
        (lambda text: text.replace("countries", 'accepted = ["200"]\ncountries'), "HTTP statuses"),
        (lambda text: text.replace("countries", 'headers = { A = "{secret:k}" }\ncountries'), "has no k"),
        (lambda text: text.replace("countries", 'headers = { A = "a\\nb" }\ncountries'), "printable"),
        (lambda text: text.replace('"first"', '"First!"'), "its name takes"),
        (lambda text: text + text, "one name"),
        (lambda _text: "", "one or more"),
        (lambda _text: "[[gateway]", "no TOML"),
    ],
)
def test_what_cannot_be_right_is_refused_in_words(change: Callable[[str], str], complaint: str) -> None:
    assert read_gateways(PLAIN, read_private)
    with pytest.raises(ConfigurationError, match=complaint.replace("{", r"\{")):
        read_gateways(change(PLAIN), read_private)


def test_a_secret_that_others_may_read_is_refused_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("s3cret")
    (tmp_path / "k").chmod(0o644)
    text = PLAIN.replace("countries", f'secret_files = {{ k = "{tmp_path / "k"}" }}\ncountries')
    with pytest.raises(ConfigurationError, match="chmod 600") as refused:
        read_gateways(text, read_private)
    assert "s3cret" not in str(refused.value)
