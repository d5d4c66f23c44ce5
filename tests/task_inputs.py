"""Rows of small benchmark tasks in hub columns, written as fetch_task leaves them."""

import numpy as np
import pyarrow as pa

from prunescope.storage import store
from tiny import TEXTS

WORDS = " ".join(TEXTS).replace(",", "").split()


def words(rng, n):
    return " ".join(rng.choice(WORDS, n))


def hellaswag(rng):
    return {
        "ind": int(rng.integers(1000)),
        "activity_label": words(rng, 2),
        "ctx_a": f"{words(rng, int(rng.integers(4, 9)))}.",
        "ctx_b": words(rng, 2),
        "endings": [words(rng, int(rng.integers(1, 7))) for _ in range(4)],
        "label": str(rng.integers(4)),
    }


def arc_easy(rng):
    texts = [f"{words(rng, int(rng.integers(1, 5)))} {n}" for n in range(4)]
    return {
        "question": f"{words(rng, int(rng.integers(3, 9)))}?",
        "choices": {"text": texts, "label": list("ABCD")},
        "answerKey": str(rng.choice(list("ABCD"))),
    }


def winogrande(rng):
    return {
        "sentence": f"{words(rng, 3)} _ {words(rng, 4)}.",
        "option1": words(rng, 1),
        "option2": words(rng, 2),
        "answer": str(rng.integers(1, 3)),
    }


def boolq(rng):
    return {
        "question": words(rng, 5),
        "passage": f"{words(rng, 12)}.",
        "label": int(rng.integers(2)),
    }


def gsm8k(rng):
    a, b = (int(n) for n in rng.integers(2, 9, 2))
    return {"question": f"{words(rng, 5)} {a} and {b}?", "answer": f"{a}+{b}\n#### {a + b}"}


def nq_open(rng):
    return {"question": words(rng, 5), "answer": [words(rng, 1), words(rng, 2)]}


def wikitext(rng):
    return {"page": f" = {words(rng, 1)} = \n {words(rng, 20)} . \n"}


def squad(rng):
    context = words(rng, 15)
    return {
        "id": words(rng, 1),
        "title": words(rng, 1),
        "context": context,
        "question": f"{words(rng, 4)}?",
        "answers": [" ".join(context.split()[:2]), context.split()[3]],
    }


def basic_code(rng):
    name, n = words(rng, 1), int(rng.integers(2, 9))
    question = f'def {name}(x):\n    """Add {n}."""\n    return'
    return {"id": f"{name}-{n}", "question": question, "answer": f"x + {n}"}


def humaneval(rng):
    name, n = f"f{int(rng.integers(1000))}", int(rng.integers(2, 9))
    return {
        "task_id": f"HumanEval/{name}",
        "prompt": f'def {name}(x):\n    """Add {n}."""\n',
        "canonical_solution": f"    return x + {n}\n",
        "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n",
        "entry_point": name,
    }


MAKERS = (
    hellaswag,
    arc_easy,
    winogrande,
    boolq,
    gsm8k,
    nq_open,
    wikitext,
    squad,
    basic_code,
    humaneval,
)
SPLITS = {
    "hellaswag": ("train", "validation"),
    "arc_easy": ("train", "test"),
    "winogrande": ("validation",),
    "boolq": ("validation",),
    "gsm8k": ("train", "test"),
    "nq_open": ("validation",),
    "wikitext": ("test",),
    "squad": ("validation",),
    "basic_code": ("validation",),
    "humaneval": ("test",),
}
SETTINGS = {
    "hellaswag": {"family": "non_generative", "headline": "acc_norm", "n_shot": 2, "limit": "all"},
    "arc_easy": {"family": "non_generative", "headline": "acc_norm", "n_shot": 1, "limit": 5},
    "winogrande": {"family": "non_generative", "headline": "acc", "n_shot": 0, "limit": "all"},
    "boolq": {"family": "non_generative", "headline": "acc", "n_shot": 0, "limit": "all"},
    "gsm8k": {
        "family": "generative",
        "headline": "exact_match,flexible-extract",
        "n_shot": 2,
        "limit": 6,
        "max_new_tokens": 12,
    },
    "nq_open": {
        "family": "generative",
        "headline": "exact_match,remove_whitespace",
        "n_shot": 0,
        "limit": "all",
        "max_new_tokens": 6,
    },
    "wikitext": {
        "family": "generative",
        "headline": "word_perplexity",
        "n_shot": 0,
        "limit": "all",
    },
    "squad": {
        "family": "generative",
        "headline": "f1",
        "n_shot": 2,
        "limit": "all",
        "max_new_tokens": 8,
    },
    "basic_code": {
        "family": "generative",
        "headline": "exact_match,first_line",
        "n_shot": 3,
        "limit": "all",
        "max_new_tokens": 8,
    },
}
"""Entries of config's `tasks`, without where their rows come from."""


def write_task(folder, task, n_rows=9):
    """Write `<folder>/task=<task>/<split>.parquet`; return that folder."""
    maker = next(maker for maker in MAKERS if maker.__name__ == task)
    rows_dir = folder / f"task={task}"
    rows_dir.mkdir(parents=True, exist_ok=True)
    for number, split in enumerate(SPLITS[task]):
        rng = np.random.default_rng([number, len(task)])
        rows = [maker(rng) for _ in range(n_rows)]
        store.write_parquet(rows_dir / f"{split}.parquet", pa.Table.from_pylist(rows))
    return rows_dir
