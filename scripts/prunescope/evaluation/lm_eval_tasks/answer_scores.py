"""Score a generated answer against the answers of annotators; the best score counts.

F1 and exact match: SQuAD's evaluate-v1.1.py (Rajpurkar et al., 2016). ROUGE-L: the F-measure of
the longest common subsequence (Lin, 2004, β = 1), as Google's rouge_score computes it, unstemmed.
"""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> list[str]:
    """Words of a text in lower case, without punctuation and articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def token_f1(said: str, answer: str) -> float:
    """Harmonic mean of precision and recall of words; a repeated word counts each time."""
    words, wanted = normalized(said), normalized(answer)
    shared = (Counter(words) & Counter(wanted)).total()
    return 2 * shared / (len(words) + len(wanted)) if shared else 0.0


def exact_match(said: str, answer: str) -> float:
    """1 if both have the same words in the same order, else 0."""
    return float(normalized(said) == normalized(answer))


def rouge_l(said: str, answer: str) -> float:
    """F-measure of the longest common subsequence of words."""
    from rouge_score import rouge_scorer  # here: its stemmer takes a second to import

    score = rouge_scorer.RougeScorer(["rougeL"]).score(answer, said)["rougeL"]
    return float(score.fmeasure)


def squad(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """F1 and exact match of one answer, as lm-eval's `process_results`."""
    return {
        "f1": max(token_f1(results[0], answer) for answer in doc["answers"]),
        "exact_match": max(exact_match(results[0], answer) for answer in doc["answers"]),
    }


def narrativeqa(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """F1 and ROUGE-L of one answer, as lm-eval's `process_results`."""
    return {
        "f1": max(token_f1(results[0], answer) for answer in doc["answers"]),
        "rouge_l": max(rouge_l(results[0], answer) for answer in doc["answers"]),
    }
