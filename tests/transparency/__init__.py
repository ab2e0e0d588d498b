"""The log as the registry keeps it: what it appends, lays out, signs, has witnessed, and how it recovers."""
