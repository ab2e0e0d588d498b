"""What both ends must agree on: formats, identifiers and checks, shared by registry, phones and auditors.

Pure: bytes in, bytes out. Nothing here opens a file or a socket, reads a clock or a setting, or knows of
a database; the only things it imports are the standard library, cryptography, numpy, protobuf and our errors.
"""
