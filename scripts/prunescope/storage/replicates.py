"""Files of further seeds, which stand beside those of the first one."""

from collections.abc import Mapping, Sequence

from prunescope.storage import store


def by_seed(tables: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """The files of each table by seed; a file that has no replicate belongs to every seed.

    The first seed, whose files have none in their paths, is named by an empty text.

    Parameters
    ----------
    tables : files of each table, by the name of the table.
    """
    first: dict[str, list[str]] = {table: [] for table in tables}
    made_again: dict[str, dict[str, str]] = {"": {}}
    for table, files in tables.items():
        for file in files:
            seed, first_file = store.seed_of(file)
            if seed:
                made_again.setdefault(seed, {})[first_file] = file
            else:
                first[table].append(file)
    return {
        seed: {table: [made.get(file, file) for file in files] for table, files in first.items()}
        for seed, made in made_again.items()
    }
