"""Make the store a database: one view per table over the files the figures read."""

from collections.abc import Mapping, Sequence
from typing import Any

from prunescope import progress
from prunescope.storage import store
from prunescope.tables.schemas import TABLES


def build_catalog(tables: Mapping[str, Sequence[str]], catalog_file: str) -> None:
    """Write a DuckDB file whose views name files relative to its folder: it moves with them."""
    with (
        store.written_whole(catalog_file) as part,
        store.open_tables(tables, part) as connection,
    ):
        for name in tables:
            table = TABLES[name]
            connection.execute(f"COMMENT ON VIEW {name} IS {store.quoted(table.grain)}")
            for column in table.columns:
                where = f'{name}."{column.name}"'
                meaning = store.quoted(column.meaning)
                connection.execute(f"COMMENT ON COLUMN {where} IS {meaning}")


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("build_catalog", snakemake.log[0]):
        build_catalog(
            tables={name: list(files) for name, files in snakemake.input.items()},
            catalog_file=snakemake.output.catalog,
        )
