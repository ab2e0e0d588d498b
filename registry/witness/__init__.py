"""Our own witness: it cosigns the checkpoints of other registries' logs, as theirs do ours.

A witness says one thing: that the trees it was shown under an origin only ever grew. What it has said is in
its own database before anybody hears it, and it must never say anything that goes against that.
"""
