"""Advice on a model in words: what may be compressed for one kind of task, and how sure that is."""

from collections.abc import Sequence

from prunescope.inference.advice import LEAST_ITEMS, Judged, saves

SAVED = {"memory": "memory", "kv": "key-value cache", "speed": "time"}
"""Values of `save`, in words."""

_HEADS = {
    "within": "Within the loss, with 95 % confidence for all of them together:",
    "undecided": "Undecided: the interval holds the accepted loss.",
    "lost": "Lost more than that:",
    "cannot tell": "Not tested:",
}


def text(
    judged: Sequence[Judged], *, model: str, task: str, tasks: str, max_loss: float, save: str
) -> str:
    """The whole answer.

    Parameters
    ----------
    judged : result of `advice.advise`.
    model, task : name of the model; multiple-choice, generation or retrieval.
    tasks : the tasks that were scored, in words.
    max_loss, save : as given to `advice.advise`.
    """
    limit = f"{100 * max_loss:g} points"
    lines = [
        f"{model}, {task} ({tasks}): what may be compressed if at most {limit} of 100 may be lost, "
        f"ranked by {SAVED[save]}?",
        "",
        *_answer(judged, max_loss, save),
        "",
        f"The best of {len(judged)} variants was looked for, so that every interval is widened for "
        "all of them (Bonferroni). A difference is score minus dense's on the same items.",
    ]
    for verdict, head in _HEADS.items():
        group = [each for each in judged if each.verdict == verdict]
        if group:
            lines += ["", head, *[line for each in group for line in _lines(each)]]
    lines += ["", *_notes(judged)]
    return "\n".join(lines).rstrip() + "\n"


def _answer(judged: Sequence[Judged], max_loss: float, save: str) -> list[str]:
    if not judged:
        return ["No variant was scored: name some under `variants` and `figures` in config."]
    if all(each.verdict == "cannot tell" for each in judged):
        return [_cannot_tell(judged[0], max_loss)]
    within = [each for each in judged if each.verdict == "within"]
    useful = [each for each in within if saves(each.candidate.cost, save)]
    if useful:
        best = useful[0].candidate
        return [f"Take {best.name}: {best.what}."]
    if within:
        return [f"No variant that is within the loss saves {SAVED[save]}."]
    nearest = [
        each for each in judged if saves(each.candidate.cost, save) and _may_pass(each, max_loss)
    ]
    answer = "No variant is shown to stay within the loss."
    if nearest:
        nearest.sort(key=lambda each: each.n_to_decide or 0)
        answer += (
            f" The one that the fewest items would settle is {nearest[0].candidate.name}: about "
            f"{nearest[0].n_to_decide:,} items in place of {nearest[0].candidate.loss.n_items:,}, "
            "if its difference stays as it is."
        )
    return [answer]


def _cannot_tell(each: Judged, max_loss: float) -> str:
    loss = each.candidate.loss
    margin = loss.dense_score - loss.chance
    if 0 < margin <= max_loss:
        return (
            f"These tasks cannot tell: dense scores only {100 * margin:.1f} points more than a "
            "guess, so that a model that guesses would be within the loss. Ask for a smaller "
            "MAX_LOSS, or choose tasks that the model can solve."
        )
    if loss.n_items < LEAST_ITEMS:
        return (
            f"These tasks cannot tell: {loss.n_items} items are fewer than {LEAST_ITEMS}. Raise "
            "`limit` of the tasks."
        )
    return (
        f"These tasks cannot tell: dense scores {loss.dense_score:.3f}, a guess {loss.chance:.3f}, "
        f"and {loss.n_items} items do not show that dense is better. Choose tasks that the model "
        "can solve, or more items."
    )


def _may_pass(each: Judged, max_loss: float) -> bool:
    """Whether more items would show that it is within the loss, if its difference stays."""
    return each.n_to_decide is not None and each.candidate.loss.difference > -max_loss


def _lines(each: Judged) -> list[str]:
    loss, cost = each.candidate.loss, each.candidate.cost
    speed = (
        "no speed, because it runs dense's operations"
        if cost.same_operations
        else f"decoding {cost.speed:.2f} times as fast ({cost.speed_low:.2f} to "
        f"{cost.speed_high:.2f})"
    )
    settle = (
        f"; about {each.n_to_decide:,} items would settle it"
        if each.n_to_decide is not None
        else ""
    )
    return [
        f"  {each.candidate.name}: {each.candidate.what}",
        f"    difference {100 * loss.difference:+.1f} points ({100 * each.low:+.1f} to "
        f"{100 * each.high:+.1f}), {loss.dense_score:.3f} to {loss.score:.3f} on {loss.n_items} "
        f"items{settle}",
        f"    bytes {_less(cost.memory)}, key-value cache {_less(cost.kv)}, {speed}",
    ]


def _less(share: float) -> str:
    percent = 100 * (share - 1)
    return "as dense" if abs(percent) < 0.05 else f"{percent:+.1f} %"


def _notes(judged: Sequence[Judged]) -> list[str]:
    if any(each.candidate.cost.same_operations for each in judged):
        return [
            "Bytes of pruned and quantized weights are those of the packed edit. A checkpoint "
            "from `make compress` holds them unpacked, as large and as slow as dense."
        ]
    return []
