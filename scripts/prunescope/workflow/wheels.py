"""Wheels by name: a source that names one of `wheels` is written out with what the wheel says."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from prunescope.workflow.fields import Name, Section
from prunescope.workflow.messages import instead, of_models, shown
from prunescope.workflow.source_fields import WheelFile


class _Wheels(Section):
    """Of a whole config, the section `wheels` alone."""

    model_config = ConfigDict(extra="ignore")

    wheels: dict[Name, WheelFile] = Field(default={})


def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
    """Wheels that are no wheels, and sources that name none of them."""
    try:
        wheels = _Wheels.model_validate(config).wheels
    except ValidationError as error:
        yield from of_models(error)
        return
    for where, source in _named(config, ()):
        if "wheel" in source and source["wheel"] not in wheels:
            name = source["wheel"]
            yield f"{where}/wheel: there is no wheel {name!r}.{instead(name, wheels)}"
        member = source.get("member")
        if isinstance(member, list) and not _are_paths(member):
            yield f"{where}/member is {shown(member)}; it must list paths inside the wheel as text."


def _named(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every source from a wheel below a value of config, and the path of its key."""
    if _is_of_wheel(value):
        yield "/".join(keys), value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _named(item, (*keys, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _named(item, (*keys, str(index)))


def written_out(value: Any, wheels: Mapping[str, Any]) -> Any:
    """Config, or a part of it, in which every source from a wheel holds what it needs.

    What a source says itself goes before what its wheel says.
    """
    if _is_of_wheel(value):
        own = {key: item for key, item in value.items() if key != "wheel"}
        source = {"from": "wheel", **wheels.get(value.get("wheel"), {}), **own}
        member = source.get("member")
        return source | ({"member": _folded(member)} if isinstance(member, list) else {})
    if isinstance(value, Mapping):
        return {key: written_out(item, wheels) for key, item in value.items()}
    if isinstance(value, list):
        return [written_out(item, wheels) for item in value]
    return value


def _is_of_wheel(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("from") == "wheel"


def _are_paths(members: Sequence[Any]) -> bool:
    return bool(members) and all(isinstance(each, str) and each for each in members)


def _folded(members: Sequence[str]) -> str:
    """Paths as the one pattern that jobs know them by: a/b/d and a/c/d are a/{b,c}/d."""
    paths = [member.split("/") for member in members]
    n_most = min(len(path) for path in paths) - 1
    n_first = _n_common(paths, n_most)
    n_last = _n_common([path[::-1] for path in paths], n_most - n_first)
    ways = ["/".join(path[n_first : len(path) - n_last]) for path in paths]
    middle = ways[0] if len(ways) == 1 else "{" + ",".join(ways) + "}"
    return "/".join([*paths[0][:n_first], middle, *paths[0][len(paths[0]) - n_last :]])


def _n_common(paths: Sequence[Sequence[str]], n_most: int) -> int:
    """Number of leading parts that all paths share, `n_most` of them at most."""
    same = [len(set(parts)) == 1 for parts in zip(*paths, strict=False)]
    return [*same[:n_most], False].index(False)
