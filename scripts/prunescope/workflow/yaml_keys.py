"""Find keys that a configuration file gives twice, of which readers silently keep the last."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml


def duplicates(file: str | Path) -> Iterator[str]:
    """One sentence for every key that a YAML or JSON file gives twice in the same mapping.

    There are none for a file that is not valid: whoever reads it reports the error.
    """
    text = Path(file).read_text(encoding="utf-8-sig")
    if Path(file).suffix == ".json":
        text = text.replace("\t", " ")  # tabs are allowed in JSON, but not in YAML
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return
    for key_path, line, first_line in _repeated_keys(tree, ()):
        yield (
            f"{key_path} is given twice in {file}, in lines {first_line} and {line}: the second "
            "would replace the first. Merge the two, or remove one."
        )


def _repeated_keys(node: yaml.Node | None, path: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """For each repeated key its path, its line, and the line of its first occurrence."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(item, (*path, str(index)))
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            line = key.start_mark.line + 1
            if key.value in seen and key.value != "<<":
                yield "/".join((*path, key.value)), line, seen[key.value]
            seen.setdefault(key.value, line)
            yield from _repeated_keys(value, (*path, key.value))


def refuse_in(loader: Any, error: type[Exception]) -> None:
    """Make a PyYAML loader raise `error` for a key given twice instead of keeping the last."""

    def construct_mapping(reader: Any, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
        _refuse_duplicates(node, error)
        yield from reader.construct_yaml_map(node)

    loader.add_constructor("tag:yaml.org,2002:map", construct_mapping)


def _refuse_duplicates(node: yaml.MappingNode, error: type[Exception]) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in seen:
                raise error(
                    f"config: {key.value} is given twice, in lines {seen[key.value]} and {line}: "
                    "the second would replace the first. Merge the two, or remove one."
                )
            seen[key.value] = line


def all_duplicates(files: Iterable[str | Path]) -> list[str]:
    """Duplicates of those files that exist."""
    existing_files = dict.fromkeys(str(file) for file in files if Path(file).is_file())
    return [message for file in existing_files for message in duplicates(file)]
