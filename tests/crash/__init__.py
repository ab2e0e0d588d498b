"""Faults and kills: what was acknowledged is published exactly once, whatever dies when."""
