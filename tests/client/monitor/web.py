"""The web as auditors meet it: trees and witnesses at addresses, and faults on demand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from registry.client import Answer
from registry.client.failures import TooLarge

Read = Callable[[str], bytes | None]


@dataclass
class Web:
    """A `Transport` over `places`: base address to what is read there. `faults` go first, by address."""

    places: Mapping[str, Read]
    faults: dict[str, list[Answer | Exception]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def get(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        assert headers == {}, "an auditor asks as everybody else"
        self.asked.append(url)
        if self.faults.get(url):
            fault = self.faults[url].pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        for base, read in self.places.items():
            if url.startswith(f"{base}/"):
                content = read(url.removeprefix(f"{base}/"))
                if content is not None and len(content) > max_bytes:
                    raise TooLarge("more than was asked for")
                return Answer(404, {}, b"") if content is None else Answer(200, {}, content)
        raise AssertionError(f"nobody is at {url}")

    def post(self, url: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> Answer:
        raise AssertionError("an auditor sends nothing")
