"""From which network a call comes: the only place where a caller's address is read.

It is needed to bound guessing at codes and for nothing else. What leaves here is the network alone, and that
goes no further than a keyed hash in memory: no address may be stored, logged or put into an error.
"""

from collections.abc import Mapping

from registry.protocol.guessing import network_of


def calling_network(environ: Mapping[str, object], trusted_proxies: int) -> bytes:
    """The caller's network, as `network_of` gives it.

    With no proxy in front it is the connection's. Each of `trusted_proxies` appends to `X-Forwarded-For` from
    whom it took the call, so that the caller is the so manieth from the end; what stands before it anybody
    may have written. A header that is shorter, or holds no address there, is not believed at all.
    """
    peer = network_of(str(environ.get("REMOTE_ADDR", "")))
    if trusted_proxies == 0:
        return peer
    forwarded = str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    if len(forwarded) < trusted_proxies:
        return peer
    return network_of(forwarded[-trusted_proxies].strip()) or peer
