"""Expand sources that refer to an entry of the section `wheels` by its name."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from prunescope.workflow.fields import Name, Section
from prunescope.workflow.messages import instead, of_models, shown
from prunescope.workflow.source_fields import WheelFile


class _Wheels(Section):
    """A config of which only the section `wheels` is checked."""

    model_config = ConfigDict(extra="ignore")

    wheels: dict[Name, WheelFile] = Field(default={})


def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
    """Refuse invalid entries of `wheels`, and sources that refer to a wheel that does not exist."""
    try:
        wheels = _Wheels.model_validate(config).wheels
    except ValidationError as error:
        yield from of_models(error)
        return
    for where, source in _wheel_sources(config, ()):
        name = source.get("wheel", "")
        if not isinstance(name, str):
            yield f"{where}/wheel is {shown(name)}; it must be text, the name of one of `wheels`."
        elif "wheel" in source and name not in wheels:
            yield f"{where}/wheel: there is no wheel {shown(name)}.{instead(name, wheels)}"
        member = source.get("member")
        if isinstance(member, list) and not _are_paths(member):
            yield f"{where}/member is {shown(member)}; it must list paths inside the wheel as text."


def _wheel_sources(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The path of the key and the entry of every wheel source in a part of config."""
    if _is_wheel_source(value):
        yield "/".join(keys), value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _wheel_sources(item, (*keys, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _wheel_sources(item, (*keys, str(index)))


def written_out(value: Any, wheels: Mapping[str, Any]) -> Any:
    """Config, or a part of it, with every wheel source completed from the section `wheels`.

    Keys that the source gives itself take precedence over those of the wheel.
    """
    if _is_wheel_source(value):
        own_keys = {key: item for key, item in value.items() if key != "wheel"}
        source = {"from": "wheel", **wheels.get(value.get("wheel"), {}), **own_keys}
        member = source.get("member")
        return source | ({"member": _combined(member)} if isinstance(member, list) else {})
    if isinstance(value, Mapping):
        return {key: written_out(item, wheels) for key, item in value.items()}
    if isinstance(value, list):
        return [written_out(item, wheels) for item in value]
    return value


def _is_wheel_source(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("from") == "wheel"


def _are_paths(members: Sequence[Any]) -> bool:
    return bool(members) and all(isinstance(each, str) and each for each in members)


def _combined(members: Sequence[str]) -> str:
    """Combine paths into a single pattern: a/b/d and a/c/d become a/{b,c}/d."""
    paths = [member.split("/") for member in members]
    limit = min(len(path) for path in paths) - 1  # leaves at least one part for the middle
    n_leading = _n_common(paths, limit)
    n_trailing = _n_common([path[::-1] for path in paths], limit - n_leading)
    middles = ["/".join(path[n_leading : len(path) - n_trailing]) for path in paths]
    middle = middles[0] if len(middles) == 1 else "{" + ",".join(middles) + "}"
    return "/".join([*paths[0][:n_leading], middle, *paths[0][len(paths[0]) - n_trailing :]])


def _n_common(paths: Sequence[Sequence[str]], limit: int) -> int:
    """Number of leading parts that all paths share, at most `limit`."""
    same = [len(set(parts)) == 1 for parts in zip(*paths, strict=False)]
    return [*same[:limit], False].index(False)
