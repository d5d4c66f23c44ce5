"""Build a database of the store: one view per table, over the files that figures read."""

from collections.abc import Mapping, Sequence
from typing import Any

from prunescope import progress
from prunescope.storage import store
from prunescope.tables.schemas import TABLES


def build_catalog(tables: Mapping[str, Sequence[str]], catalog_file: str) -> None:
    """Write a DuckDB file with one view per table, and the meanings of tables and columns.

    The views name files relative to the folder of the DuckDB file, so that the folder can be moved.

    Parameters
    ----------
    tables : files of each table, by the name of the table.
    catalog_file : the DuckDB file to write.
    """
    with (
        store.written_whole(catalog_file) as part_file,
        store.open_tables(tables, part_file) as connection,
    ):
        for name in tables:
            table = TABLES[name]
            connection.execute(f"COMMENT ON VIEW {name} IS {store.quoted(table.grain)}")
            for column in table.columns:
                column_name = f'{name}."{column.name}"'
                meaning = store.quoted(column.meaning)
                connection.execute(f"COMMENT ON COLUMN {column_name} IS {meaning}")


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("build_catalog", snakemake.log[0]):
        build_catalog(
            tables={name: list(files) for name, files in snakemake.input.items()},
            catalog_file=snakemake.output.catalog,
        )
