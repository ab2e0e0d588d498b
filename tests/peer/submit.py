"""Run by the second implementation's Python: submits one checkpoint with its own client, as its logs do.

Reads a JSON object (url, vkey, state, note, proofs by old size) and prints one (`lines`, or `error`).
"""

import base64
import json
import sys

from aics_witness.feeder import FeederError, WitnessClient

asked = json.load(sys.stdin)
proofs = {int(old): [base64.b64decode(one) for one in path] for old, path in asked["proofs"].items()}
try:
    with WitnessClient(asked["url"], asked["vkey"], state_path=asked["state"], backoff=0) as client:
        lines = client.submit(asked["note"], lambda old, new: proofs[old])
    print(json.dumps({"lines": lines}))
except FeederError as refusal:
    print(json.dumps({"error": type(refusal).__name__, "status": getattr(refusal, "status", None)}))
