"""What auditors' tools check of a registry, read from its public files alone: a web address or a folder.

The rules are the phone's and more. Knows no server; asks for files by their public paths and believes none
of them before it has been checked. A fault is told, never raised past the command that looked for it.
"""
