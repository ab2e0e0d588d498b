"""The log, server side: what is appended, how it is laid out and signed, and who cosigns it."""
