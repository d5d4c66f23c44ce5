"""The option letters of a multiple-choice prompt.

This module does not import torch, because the check of the config uses it.
"""

import re
from itertools import pairwise

_MARKER = re.compile(r"(?<![^\W\u2e80-\u9fff])(?<![.'’(（])([(（]?)([A-Za-z])([)）、]|[.．](?=\s))")
"""A letter that marks an option: "A)", "(A)", "A." or a full-width form; not "f(a)" or "e.g.".

Chinese and Japanese characters may directly precede it, although they are word characters.
"""


def options_of(text: str) -> list[str]:
    """The option letters of a multiple-choice prompt, in order, in the case the prompt uses.

    The options are the letters of a single style and case from the last A (or a) on, because an
    example before the question has options of its own. In "World War I.", the I is no option.

    Raises
    ------
    ValueError
        if there are fewer than two options, a letter is missing, or there are two styles.
    """
    letters_of_style: dict[tuple[str, str, bool], str] = {}
    for opening, letter, closing in _MARKER.findall(text):
        style = (opening, closing, letter.isupper())
        letters_of_style[style] = letters_of_style.get(style, "") + letter
    lists = [
        letters[max(letters.rfind("A"), letters.rfind("a")) :]
        for letters in letters_of_style.values()
    ]
    lists = [letters for letters in lists if len(letters) > 1 and letters[0] in "Aa"]
    if len(lists) != 1 or not _consecutive(lists[0]):
        found_letters = (
            "; ".join(", ".join(letters) for letters in letters_of_style.values())
            or "no such letter"
        )
        raise ValueError(
            f"prompt {text!r}: a multiple-choice prompt lists at least two options in one style, "
            f'"A) ... B) ...", "(A) ..." or "A. ...", letters in order from A on; it shows '
            f"{found_letters}. Write its options so, or give it another kind."
        )
    return list(lists[0])


def _consecutive(letters: str) -> bool:
    return all(ord(after) == ord(before) + 1 for before, after in pairwise(letters))
