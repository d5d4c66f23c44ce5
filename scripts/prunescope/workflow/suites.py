"""Suites of tasks, and suites that join others: their items are compared as those of one."""

from collections.abc import Container, Iterator, Mapping

Suites = Mapping[str, list[str]]


def parts(suites: Suites) -> dict[str, list[str]]:
    """The suites that each suite joins; a suite that lists tasks is its own only part."""
    return {
        name: entries if _is_joined(entries, suites) else [name] for name, entries in suites.items()
    }


def written_out(suites: Suites) -> dict[str, list[str]]:
    """The tasks of each suite."""
    return {
        name: [task for part in of_suite for task in suites.get(part, [])]
        for name, of_suite in parts(suites).items()
    }


def mistakes(suites: Suites, tasks: Container[str], are_read: Container[str]) -> Iterator[str]:
    """Refuse suites that share a name with a task, mix tasks and suites, or hold a task twice.

    Parameters
    ----------
    suites : tasks or suites of each suite.
    tasks : names of all tasks.
    are_read : suites that figures read; others may hold a task twice, since nothing compares them.
    """
    for name, entries in suites.items():
        if name in tasks:
            yield f"suites/{name}: there is a task of this name, too. Rename the suite."
        if not _is_joined(entries, suites):
            continue
        for entry in entries:
            if entry not in suites:
                yield (
                    f"suites/{name} joins suites, but {entry!r} is none. List either suites or "
                    "tasks."
                )
            elif _is_joined(suites[entry], suites):
                yield f"suites/{name}: {entry!r} itself joins suites. List its suites instead."
        listed = [task for entry in entries for task in suites.get(entry, [])]
        twice = {task for task in listed if listed.count(task) > 1} if name in are_read else ()
        for task in sorted(twice):
            yield f"suites/{name}: task {task!r} is in two of its suites. Leave it out of one."


def _is_joined(entries: list[str], suites: Suites) -> bool:
    return any(entry in suites for entry in entries)
