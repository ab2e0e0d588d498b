"""WHAT HAPPENS TO A KEY: authorize, certify, collect, publish, retire, in alphabetical and in this order.

Beside the steps stands what they need: `consent` is a part of certifying, `upload_rules` and `revise` are
parts of collecting, `replay` keeps answers for requests that come twice, `activity` chains officials' acts,
`counts` counts by the day, `inserts` is how both databases take a row that may be there.

Every function takes its database session, its time and its limits as arguments. Only `publish` commits by
itself: a commit point is its subject. Nothing here knows Flask or a setting.
"""
