"""Parse the n:m patterns of config.

This module imports no torch, so that a wrong pattern is refused before the first job starts.
"""

import re


def parse(pattern: str) -> tuple[int, int]:
    """Return (n, m) of `"n:m"`, which keeps n of every m weights.

    Raises ValueError unless 0 < n <= m.
    """
    match = re.fullmatch(r"(\d+):(\d+)", pattern)
    if match is None or not 0 < int(match[1]) <= int(match[2]):
        raise ValueError(
            f"pattern {pattern!r} is not n:m with n of every m weights kept, such as 2:4"
        )
    return int(match[1]), int(match[2])
