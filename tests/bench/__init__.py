"""How fast and how small, each figure beside the limit that it is measured against in the same run.

`python -m tests.bench` measures what takes less than half a minute a figure, `--full` the rest as well.
"""
