"""Letters of a multiple-choice prompt's options. Imports no torch: config is checked with it."""

import re
from itertools import pairwise

_MARKER = re.compile(r"(?<![^\W\u2e80-\u9fff])(?<![.'’(（])([(（]?)([A-Za-z])([)）、]|[.．](?=\s))")
"""One letter set off as an option's: "A)", "(A)", "A." and their wide forms; not "f(a)", "e.g.".

Chinese and Japanese characters, word characters too, may stand right before it."""


def options_of(text: str) -> list[str]:
    """Letters of a multiple-choice prompt's options, in order, as the prompt writes them.

    Letters of one style and case, from the last A (or a) on: an example before the question has
    options of its own, and "World War I." is none. Raises ValueError where they are fewer than
    two, skip a letter, or come in two styles.
    """
    found: dict[tuple[str, str, bool], str] = {}
    for opening, letter, closing in _MARKER.findall(text):
        style = (opening, closing, letter.isupper())
        found[style] = found.get(style, "") + letter
    lists = [letters[max(letters.rfind("A"), letters.rfind("a")) :] for letters in found.values()]
    lists = [letters for letters in lists if len(letters) > 1 and letters[0] in "Aa"]
    if len(lists) != 1 or not _consecutive(lists[0]):
        seen = "; ".join(", ".join(letters) for letters in found.values()) or "no such letter"
        raise ValueError(
            f"prompt {text!r}: a multiple-choice prompt lists at least two options in one style, "
            f'"A) ... B) ...", "(A) ..." or "A. ...", letters in order from A on; it shows {seen}. '
            "Write its options so, or give it another kind."
        )
    return list(lists[0])


def _consecutive(letters: str) -> bool:
    return all(ord(after) == ord(before) + 1 for before, after in pairwise(letters))
