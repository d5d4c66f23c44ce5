"""The n:m patterns of config. Imports no torch: a bad one is refused before the first job."""

import re


def parse(pattern: str) -> tuple[int, int]:
    """`"n:m"` -> (n, m), n kept of every m. Raises ValueError unless 0 < n <= m."""
    found = re.fullmatch(r"(\d+):(\d+)", pattern)
    if found is None or not 0 < int(found[1]) <= int(found[2]):
        raise ValueError(
            f"pattern {pattern!r} is not n:m with n of every m weights kept, such as 2:4"
        )
    return int(found[1]), int(found[2])
