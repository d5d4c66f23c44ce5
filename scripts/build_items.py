"""Build results/items.html: items that variants answer better or worse than dense."""

from collections.abc import Sequence
from typing import Any

from prunescope import progress
from prunescope.report import items, page
from prunescope.storage import seals, store


def build_items(scores: Sequence[str], samples: Sequence[str], page_file: str) -> None:
    """Write the page.

    Parameters
    ----------
    scores, samples : files of tables `task_scores` and `task_samples`.
    page_file : the HTML file to write.
    """
    sql = items.QUERY.read_text(encoding="utf-8")
    with store.open_tables({"task_scores": scores, "task_samples": samples}) as connection:
        rows = connection.sql(sql, params={"most": items.MOST}).to_arrow_table().to_pylist()
    with store.written_whole(page_file) as part_file:
        part_file.write_text(page.render_items(items.by_task(rows)), encoding="utf-8")
        seals.seal(part_file)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("build_items", snakemake.log[0]):
        build_items(
            scores=list(snakemake.input.scores),
            samples=list(snakemake.input.samples),
            page_file=snakemake.output.page,
        )
