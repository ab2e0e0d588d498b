"""A pytest plugin: hypothesis' profile `soak`, with REGISTRY_SOAK_EXAMPLES examples of each property."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "soak",
    max_examples=int(os.environ["REGISTRY_SOAK_EXAMPLES"]),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
