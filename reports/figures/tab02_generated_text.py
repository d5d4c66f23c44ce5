"""Table 2. Texts of the dense model and its variants.

Each prompt is answered greedily. The part of a variant's text that is the same as the dense text is
grey, and the first token that differs is marked. The verdict needs no label. A text is intact if it
equals the dense text token for token, and empty if it holds only white space and special tokens. It
is degenerate if it loops, repeats itself, or is far less likely under the dense model than the
dense text. It is off-prompt if, to the dense model, the prompt makes it hardly more likely than
other prompts do; the column about the prompt says by how many nats per token. The thresholds stand
under `texts` in config.yaml. Otherwise a text is changed, which does not mean that it is right.
Invisible characters are shown by their names. Look for variants that diverge late and still end in
a loop.
"""

from collections.abc import Iterator

import pyarrow as pa

from prunescope.report import text_tables
from prunescope.report.text_tables import Cell, Table, cell

HEAD = (
    "variant",
    "text",
    "diverges at token",
    "looping",
    "repeated",
    "perplexity",
    "about prompt",
    "verdict",
)

FAILED = ("empty", "degenerate", "off-prompt")
"""Verdicts on texts that are no answers."""


def draw(rows: pa.Table) -> Table:
    """A heading per prompt, the dense text, and a row per variant."""
    return Table(HEAD, list(_rows(rows)), shown=3)


def _rows(rows: pa.Table) -> Iterator[list[Cell]]:
    several = len(rows.column("model").unique()) > 1
    heading = None
    for row in rows.to_pylist():
        model_and_prompt = (row["model"], row["prompt"])
        if model_and_prompt != heading:
            heading = model_and_prompt
            name = f"{row['prompt']} ({row['kind'].replace('_', ' ')})"
            yield [cell(f"{row['model']}: {name}" if several else name, "strong")]
            yield [cell("dense", "strong"), cell(row["dense_text"]), *[cell("")] * 6]
        loops = row["longest_loop"] / row["n_tokens"]
        divergence = row["first_divergence"]
        information = row["prompt_information"]
        yield [
            cell(row["variant"]),
            text_tables.parted(
                row["variant_text"], row["equal_characters"], row["parted_characters"]
            ),
            cell("–" if divergence is None else divergence),
            cell(f"{loops:.0%}"),
            cell(f"{row['repeated_ngram_share']:.0%}"),
            cell(f"× {row['perplexity_ratio']:.2g}"),
            cell("–" if information is None else f"{information:.2f}".replace("-", "−")),
            cell(row["verdict"], "strong" if row["verdict"] in FAILED else "plain"),
        ]
