"""The Hugging Face hub: snapshots of models, rows of data sets, and what its errors mean.

The hub's libraries are imported only when a function needs them.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from prunescope.progress import LOG, JobError


def describe(source: Mapping[str, str]) -> str:
    """A repository of the hub in words, for messages."""
    return f"{source['id']} at revision {source['revision']}"


def download_snapshot(
    source: Mapping[str, str], patterns: Sequence[str], without: Sequence[str]
) -> Path:
    """Download a model into the hub's cache and return its folder; resumes a broken download.

    Parameters
    ----------
    source : the source as config gives it.
    patterns : only files whose names match one of these are downloaded.
    without : files whose names match one of these are left out.
    """
    from huggingface_hub import snapshot_download  # imported only here

    with translated_errors(source):
        folder = snapshot_download(
            source["id"],
            revision=source["revision"],
            allow_patterns=list(patterns),
            ignore_patterns=list(without),
        )
    return Path(folder)


@contextlib.contextmanager
def translated_errors(source: Mapping[str, str]) -> Iterator[None]:
    """Turn every error of the hub's libraries into a JobError of one line that says what to do."""
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        raise JobError(f"{describe(source)}: {_explain_failure(error)}") from error


def _explain_failure(error: Exception) -> str:
    """What went wrong and what to do, judged by an error of the hub's library and its causes."""
    from huggingface_hub import errors  # imported only here: other sources do not need it

    causes = _causes(error)

    def is_a(*error_classes: type[Exception]) -> bool:
        return any(isinstance(cause, error_classes) for cause in causes)

    text = first_line(error)
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


def cached_config(source: Mapping[str, str]) -> Path:
    """Path of config.json at the pinned commit in the hub's cache, whether or not it exists."""
    from huggingface_hub import constants  # imported only here: other sources do not need it

    folder = "--".join(("models", *source["id"].split("/")))
    snapshot = Path(constants.HF_HUB_CACHE) / folder / "snapshots" / source["revision"]
    return snapshot / "config.json"


def stream_rows(source: Mapping[str, str], as_text: Sequence[str]) -> Iterable[Mapping[str, Any]]:
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


def first_line(error: Exception) -> str:
    """The first line of the message of an error, or the name of its class."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


_SETTINGS_FILES = ("config.json", "1_Pooling/config.json", "adapter_config.json")
"""Small files of a model that are read while a run is planned, if the model has them."""


def pin(model_id: str, revision: str) -> str:
    """The commit to which a branch or tag of a model points now; fetches the model's config.json.

    Without a network, the commit is the one that the hub's cache has for this revision.

    Parameters
    ----------
    model_id : owner/name on the hub.
    revision : a branch, a tag or a commit.

    Raises
    ------
    JobError
        if there is no such model or revision, if the model's terms have not been accepted, or if
        neither the hub nor its cache can be read.
    """
    from huggingface_hub import HfApi, constants, hf_hub_download  # imported only here

    source = {"id": model_id, "revision": revision}
    folder = Path(constants.HF_HUB_CACHE) / "--".join(("models", *model_id.split("/")))
    reference = folder / "refs" / revision
    with translated_errors(source):
        try:
            found = HfApi().model_info(model_id, revision=revision, timeout=20)
        except Exception:
            if not reference.is_file():
                raise
            return reference.read_text(encoding="utf-8").strip()
        commit = str(found.sha)
        names = {sibling.rfilename for sibling in found.siblings or []}
        for name in _SETTINGS_FILES:
            if name in names:
                hf_hub_download(model_id, name, revision=commit)
    return commit
