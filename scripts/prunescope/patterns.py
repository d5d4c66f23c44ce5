"""The n:m patterns of config. Imports no torch: a bad one is refused before the first job."""

import re


def parse(pattern: str) -> tuple[int, int]:
    """`"n:m"` -> (n, m), n kept of every m. Raises ValueError unless n <= m and m > 0."""
    found = re.fullmatch(r"(\d+):(\d+)", pattern)
    if found is None or int(found[1]) > int(found[2]) or int(found[2]) == 0:
        raise ValueError(
            f"pattern {pattern!r} is not n:m with n of every m weights kept, such as 2:4"
        )
    return int(found[1]), int(found[2])
