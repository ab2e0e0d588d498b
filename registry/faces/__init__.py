"""WHO IS LOOKING: one WSGI application per audience, each with its own hardening and its own way to err.

No face imports another, and no chain of imports leads from here to `registry.signing`.
"""
