"""The commands that a page offers for copying: the same sums with our tool, and with none of ours."""

from collections.abc import Sequence

from registry.protocol.encoding import encode_base64
from registry.protocol.index import EXPOSURES, IndexFile
from registry.protocol.note import VerifierKey

_KEY_ID_DIGITS = 5
"""So many base64 digits of a key id hold nothing of what follows it in a signature line."""
_ED25519_PREFIX = "302a300506032b6570032100"
"""What stands before the 32 bytes of an Ed25519 key in DER (RFC 8410 §4)."""


def own_commands(base_url: str, files: Sequence[IndexFile]) -> str:
    """For the auditor's command: each file of the leaf's batch, or the whole log where it has none."""
    if not files:
        return f"registry audit recheck {base_url}"
    lines = []
    for file in files:
        lines.append(f"curl -sSO {base_url}/{EXPOSURES}/{file.path}")
        lines.append(f"registry audit verify {file.path.rpartition('/')[2]} --registry {base_url}")
    return "\n".join(lines)


def foreign_commands(address: str, key: VerifierKey) -> str:
    """For bash, curl and openssl: from the proof at `address` to its root, and the log's signature of it.

    `key` is the Ed25519 key that signs the shard's checkpoints. The way up is RFC 9162 §2.1.3.2.
    """
    line = f"\u2014 {key.name} {encode_base64(key.key_id)[:_KEY_ID_DIGITS]}"
    return f"""\
curl -sS -o proof {address}
sed '1,/^$/d' proof > checkpoint
sed '/^$/,$d' checkpoint > text
bytes() {{ printf "$(printf %s "$1" | sed 's/../\\\\x&/g')"; }}
hash() {{ openssl dgst -sha256 -r | cut -c1-64; }}
hex() {{ base64 -d | od -An -v -tx1 | tr -d ' \\n'; }}
i=$(sed -n 's/^index //p' proof) last=$(($(sed -n 2p text) - 1))
x=$({{ bytes 00; sed -n 's/^extra //p' proof | base64 -d; }} | hash)
for p in $(sed '1,/^index/d;/^$/,$d' proof); do
  p=$(echo $p | hex)
  if [ $((i & 1)) = 1 ] || [ $i = $last ]; then
    x=$(bytes 01$p$x | hash)
    while [ $((i & 1)) = 0 ] && [ $i != 0 ]; do i=$((i >> 1)) last=$((last >> 1)); done
  else
    x=$(bytes 01$x$p | hash)
  fi
  i=$((i >> 1)) last=$((last >> 1))
done
echo "$x"
sed -n 3p text | hex; echo
grep -F '{line}' checkpoint | cut -d' ' -f3 | base64 -d | tail -c 64 > signature
bytes {_ED25519_PREFIX}{key.public_key.hex()} > key.der
openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in text -sigfile signature
"""
