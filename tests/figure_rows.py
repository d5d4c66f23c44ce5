"""Rows of every decoding table: two prompts, two steps of free running, every history."""

from collections.abc import Sequence
from typing import Any

HISTORIES = ("dense_cache", "prompt_perturbed", "teacher_forced", "free_running")
TERMS = ("parameters", "prompt_history", "generated_history", "diverged_tokens")
PROMPTS = {"sum-1": "arithmetic", "choice-1": "multiple_choice"}


def decoding_rows(temperatures: Sequence[float]) -> dict[str, list[dict[str, Any]]]:
    """Table -> rows, all alike for every variant."""
    keys = [
        {"prompt": prompt, "sampling_temperature": sampled, "history": history, "step": step}
        for prompt in PROMPTS
        for sampled in (0.0, 0.7)
        for history in HISTORIES
        for step in (0, 1, 20)
    ]
    traces, shifts, deviations = [], [], []
    for place, key in enumerate(keys):
        size = 0.01 + 0.003 * (place % 13)
        relative = {"relative_orthogonal_magnitude": size, "relative_parallel_magnitude": size}
        same = {"measured": size, "estimated": 1.1 * size}
        for space in ("embedding", "logit"):
            at = {**key, "temperature": None, "space": space}
            traces.append({**at, "angular_deviation": size**2, **relative})
        shifts.append({**key, "temperature": None, "var_uniform": size, "mean_uniform": 0.0})
        for temperature in temperatures:
            at = {**key, "temperature": temperature, "space": "probability"}
            moments = {"var_p": size, "var_escort": size, "cumulant_3": 0.0, "cumulant_4": 0.0}
            traces.append({**at, "angular_deviation": size, "kl_divergence": size})
            shifts.append({**key, "temperature": temperature, "mean_p": 0.0, **moments})
            deviations.append({**at, "quantity": "angular_deviation", "order": 2, **same})
            deviations.append({**at, "quantity": "kl_bound", "order": None, **same})
            kl = {**at, "quantity": "kl_divergence", **same}
            deviations.extend({**kl, "order": order} for order in (2, 3, 4))
    terms = [
        {
            **{name: key[name] for name in ("prompt", "sampling_temperature", "step")},
            "term": term,
            "norm": 1.0 + place,
            "share": 0.1 + 0.2 * place / 1.5,
        }
        for key in keys
        if key["history"] == "free_running"
        for place, term in enumerate(TERMS)
    ]
    return {
        "decoding_trace": traces,
        "decoding_shift": shifts,
        "decoding_deviation": deviations,
        "history_term": terms,
        "history_effect": [
            {"sampling_temperature": sampled, "term": term, "history": history, "n_prompts": 2}
            | {"share": 0.25, "share_low": 0.1, "share_high": 0.4, "norm": 1.0}
            | {"kl": 1.0 + place, "kl_low": place - 0.5, "kl_high": 2.0 + place}
            for sampled in (0.0, 0.7)
            for place, (term, history) in enumerate(zip(TERMS, HISTORIES, strict=True))
        ],
        "decoded_step": [
            {**key, "running": "both", "dense_token": 1, "variant_token": 2} for key in keys
        ],
        "generated_text": _texts(),
        **_options(temperatures),
        "attention_error": _attention(),
        **_scores(),
    }


def _texts() -> list[dict[str, Any]]:
    return [
        {
            "prompt": prompt,
            "kind": kind,
            "sampling_temperature": sampled,
            "dense_text": "It is 12.",
            "variant_text": "It <b>is\u202e 12 12 12",
            "dense_token_ids": [1, 2],
            "variant_token_ids": [1, 3, 3],
            "n_tokens": 3,
            "stopped": False,
            "first_divergence": 1,
            "equal_characters": 3,
            "parted_characters": 5,
            "equal_share": 0.3,
            "repeated_ngram_share": 0.0,
            "longest_loop": 2,
            "distinct_1": 0.6,
            "distinct_2": 1.0,
            "perplexity_under_dense": 5.0,
            "dense_perplexity": 2.0,
            "prompt_information": 1.1,
            "verdict": "changed",
        }
        for prompt, kind in PROMPTS.items()
        for sampled in (0.0, 0.7)
    ]


def _options(temperatures: Sequence[float]) -> dict[str, list[dict[str, Any]]]:
    trace = [
        {
            "prompt": "choice-1",
            "option": option,
            "token": 40 + place,
            "temperature": temperature,
            **{f"p_{side}": 0.1 * (place + 1) for side in ("dense", "variant")},
            **{f"log_likelihood_{side}": -2.0 + place for side in ("dense", "variant")},
            **{f"share_{side}": 0.25 for side in ("dense", "variant")},
            **{f"rank_{side}": 3 - place for side in ("dense", "variant")},
        }
        for temperature in temperatures
        for place, option in enumerate("ABCD")
    ]
    agreement = [
        {
            "prompt": "choice-1",
            "temperature": temperature,
            "scope": scope,
            "angular_deviation": deviation,
            "kl_divergence": deviation,
            "argmax_survived": True,
        }
        for temperature in temperatures
        for scope, deviation in (("vocabulary", 0.2), ("options", 0.01))
    ]
    top = [
        {
            "prompt": "choice-1",
            "side": side,
            "rank": rank,
            "token": rank,
            "text": f" t{rank}",
            "p_dense": 0.3 / (rank + 1),
            "p_variant": 0.2 / (rank + 1),
        }
        for side in ("dense", "variant")
        for rank in range(3)
    ]
    return {"option_trace": trace, "option_agreement": agreement, "top_token": top}


def _attention() -> list[dict[str, Any]]:
    return [
        {
            "prompt": prompt,
            "history": history,
            "block": block,
            "step": step,
            "head_group": 0,
            "path": path,
            "keys": keys,
            "relative_norm": 0.1 + 0.1 * place,
            "share": 0.3 - 0.1 * place,
        }
        for prompt in PROMPTS
        for history in ("edited_sublayer", "teacher_forced")
        for block in (0, 14, 29)
        for step in (0, 1, 20)
        for place, path in enumerate(("value", "weight", "interaction"))
        for keys in ("prompt", "generated")
    ]


def _scores() -> dict[str, list[dict[str, Any]]]:
    wording = {
        "token_ids": [1, 2, 2],
        "stopped": True,
        "n_tokens": 3,
        "repeated_ngram_share": 0.0,
        "longest_loop": 2,
        "distinct_1": 0.6,
        "distinct_2": 1.0,
    }
    tasks = [
        {
            "task": task,
            "metric": "acc",
            "filter": "none",
            "headline": True,
            "family": family,
            "n_shot": 0,
            "n_items": 30,
            "n_cut": 2,
            "score": 0.4,
            "standard_error": 0.05,
            "higher_is_better": True,
            "seconds": 1.0,
        }
        for task, family in (("arc_easy", "non_generative"), ("basic_arithmetic", "generative"))
    ]
    samples = [
        {
            "task": each["task"],
            "subtask": each["task"],
            "item": item,
            "metric": each["metric"],
            "filter": each["filter"],
            "outcome": item % 2,
            "chance": 0.25,
            "context": "a question",
            "response": "an answer",
            "target": "an answer",
            "doc_hash": f"{item}",
            **(wording if each["family"] == "generative" else {}),
        }
        for each in tasks
        for item in range(4)
    ]
    found = [
        {
            "retrieval_set": "squad",
            "query": f"q{place}",
            "ndcg_at_10": 0.1 * place,
            "recall_at_100": 1.0,
            "rank": 1.0 + place,
            "best_score": 0.5,
            "n_cut": place % 2,
        }
        for place in range(4)
    ]
    asked = [
        {
            "source": "squad",
            "item": item,
            "format": asked,
            "correct": item % 2 == 0,
            "score": 0.5,
            "text": "an answer",
        }
        for item in range(4)
        for asked in ("retrieval", "multiple_choice", "generation")
    ]
    return {
        "task_scores": tasks,
        "task_samples": samples,
        "score_difference": [
            *(compared("task", each["task"], each["family"], "acc") for each in tasks),
            compared("family", "non_generative", "non_generative", "acc"),
            compared("family", "generative", "generative", "acc"),
            compared("contrast", "non_generative minus generative"),
        ],
        "retrieval_samples": found,
        "retrieval_difference": [
            compared("task", "squad", "retrieval", "ndcg_at_10"),
            compared("task", "squad", "retrieval", "recall_at_100"),
            compared("family", "retrieval", "retrieval", "ndcg_at_10"),
        ],
        "matched_samples": asked,
        "format_difference": [
            compared(scope, name, family, "correct")
            for family in ("retrieval", "multiple_choice", "generation")
            for scope, name in (("task", "squad"), ("family", family))
        ],
        "loss_correlation": [
            {"predictor": predictor, "family": family, "n_variants": 3}
            | {"correlation": 0.5, "low": -0.2, "high": 0.9, "p_value": 0.3}
            | {"regret": 0.1, "coin_regret": 0.2, "ratio_low": 0.1, "ratio_high": 1.2}
            for predictor in ("theorem_3", "measured_kl", "deviation_of_p")
            for family in ("non_generative", "generative")
        ],
    }


def compared(
    scope: str, name: str, family: str | None = None, metric: str | None = None
) -> dict[str, Any]:
    """A row of a table of differences: a tenth is lost, of half above chance."""
    counts = {"n_shot": 0, "n_tasks": 1, "n_items": 40, "n_cut": 2, "to_wrong": 6, "to_right": 2}
    scores = {"dense_score": 0.6, "score": 0.5, "chance": 0.1, "difference": -0.1, "kept": 0.8}
    ends = {
        f"{column}_{end}": value + (0.1 if end == "high" else -0.1)
        for column, value in scores.items()
        if column != "chance"
        for end in ("low", "high")
    }
    tested = {"p_value": 0.2, "dense_margin_low": 0.1, "mcnemar_p": 0.2, "agreement": 0.5}
    key = {"scope": scope, "name": name, "family": family, "metric": metric}
    return {**key, **counts, **scores, **ends, **tested}
