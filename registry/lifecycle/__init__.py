"""WHAT HAPPENS TO A KEY, a step a module; their alphabetical order is the order of events.

Every function takes its database session, its time and its limits as arguments. Only `publish` commits by
itself: a commit point is its subject. Nothing here knows Flask or a setting.
"""
