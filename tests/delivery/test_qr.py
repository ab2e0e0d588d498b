"""A link becomes an image that a camera can take. That one reads it right: tests/browser/test_portal."""

from urllib.parse import unquote
from xml.etree import ElementTree as ET

from registry.delivery.qr import qr_image
from registry.protocol.codes import link_of

LINK = link_of("https://keys.health.example", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_it_is_dark_on_white_with_a_quiet_zone_whatever_the_pages_colours() -> None:
    kind, _, text = qr_image(LINK).partition(",")
    assert kind.startswith("data:image/svg+xml")
    root = ET.fromstring(unquote(text))  # noqa: S314  # made by the line above, not by anybody else
    colours = {
        value for part in root.iter() for name, value in part.attrib.items() if name in {"fill", "stroke"}
    }
    assert colours == {"#000", "#fff"}
    strokes = next(part.attrib["d"] for part in root.iter() if "stroke" in part.attrib)
    assert strokes.startswith("M4 4.5h7"), "the corner's finder pattern, behind four modules of nothing"


def test_it_holds_the_link_and_nothing_by_chance() -> None:
    assert qr_image(LINK) == qr_image(LINK)
    assert qr_image(LINK) != qr_image(LINK.replace("ABC", "ABD"))
