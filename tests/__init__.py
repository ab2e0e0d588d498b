"""Tests of the registry, at the same paths as the modules they are about. They tell stories and can fail."""
