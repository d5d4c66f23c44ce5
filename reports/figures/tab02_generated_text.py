"""Table 2. What the dense model and its variants write.

Every prompt, answered greedily. Grey is what a variant's text has in common with dense's, the
marked token is the first that differs, the rest follows from it. A verdict needs no label: intact
is dense's text token for token, degenerate one that loops, repeats itself, or is far less likely
under dense than dense's own text (thresholds: `texts` in config.yaml), anything else is changed.
Characters that cannot be seen are named. Look for variants that part late and still end in a loop.
"""

from collections.abc import Iterator

import pyarrow as pa

from prunescope.report import text_tables
from prunescope.report.text_tables import Cell, Table, cell

HEAD = ("variant", "text", "parts at token", "looping", "repeated", "perplexity", "verdict")


def draw(rows: pa.Table) -> Table:
    """A heading per prompt, dense's text, then a row per variant."""
    return Table(HEAD, list(_rows(rows)))


def _rows(rows: pa.Table) -> Iterator[list[Cell]]:
    several = len(rows.column("model").unique()) > 1
    heading = None
    for row in rows.to_pylist():
        said = (row["model"], row["prompt"])
        if said != heading:
            heading = said
            name = f"{row['prompt']} ({row['kind'].replace('_', ' ')})"
            yield [cell(f"{row['model']}: {name}" if several else name, "strong")]
            yield [cell("dense", "strong"), cell(row["dense_text"]), *[cell("")] * 5]
        loops = row["longest_loop"] / row["n_tokens"]
        parted = row["first_divergence"]
        yield [
            cell(row["variant"]),
            text_tables.parted(
                row["variant_text"], row["equal_characters"], row["parted_characters"]
            ),
            cell("–" if parted is None else parted),
            cell(f"{loops:.0%}"),
            cell(f"{row['repeated_ngram_share']:.0%}"),
            cell(f"× {row['perplexity_ratio']:.2g}"),
            cell(row["verdict"], "strong" if row["verdict"] == "degenerate" else "plain"),
        ]
