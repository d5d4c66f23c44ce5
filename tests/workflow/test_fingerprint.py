"""A fingerprint changes if and only if the result of the code can change."""

import shutil

import pytest

from prunescope.compression import methods
from prunescope.paths import ROOT
from prunescope.workflow import fingerprint as module


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small tree of scripts, a package and reports; returns a function that writes a file."""

    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    monkeypatch.setattr(module, "_SCRIPTS", tmp_path / "scripts")
    monkeypatch.setattr(module, "_REPORTS", tmp_path / "reports")
    monkeypatch.setattr(module, "CARRIERS", {tmp_path / "scripts/prunescope/store.py"})
    write("scripts/prunescope/__init__.py", "")
    write("scripts/prunescope/store.py", "A = 1")
    write(
        "scripts/prunescope/metrics.py", '"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 1\n'
    )
    write(
        "scripts/prunescope/tracing.py", "from prunescope import metrics, store\nB = metrics.f(1)\n"
    )
    write("scripts/trace.py", "from prunescope.tracing import B\nprint(B)\n")
    write("reports/figures/fig.py", '"""Caption."""\ndef draw():\n    """Doc."""\n')
    write("reports/figures/fig.sql", "-- Figure.\nSELECT a, 'x -- y' FROM t\n")
    write("reports/style.css", "a { b: c }")
    return write


def fresh(*entries):
    """Fingerprint as a new process would take it."""
    for cached in (module.fingerprint, module._referenced_files, module._file_hash, module._parse):
        cached.cache_clear()
    return module.fingerprint(*entries)


SAME, OTHER = True, False


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("scripts/trace.py", "# A comment.\nfrom prunescope.tracing import B\n\nprint( B )", SAME),
        ("scripts/trace.py", "from prunescope.tracing import B\nprint(-B)", OTHER),
        ("scripts/prunescope/metrics.py", "def f(x):  # one more\n    return (x + 1)", SAME),
        ("scripts/prunescope/metrics.py", "def f(x):\n    return x + 2", OTHER),
        ("scripts/prunescope/store.py", "A = 2", SAME),
        ("scripts/prunescope/theory.py", "C = 3", SAME),
        ("scripts/prunescope/__init__.py", "D = 4", OTHER),
    ],
)
def test_a_script_depends_on_the_names_it_reaches(tree, name, text, same):
    before = fresh("trace.py")
    tree(name, text)
    assert (fresh("trace.py") == before) is same


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("fig.py", '"""Caption."""\ndef draw():\n    """Another doc."""\n', SAME),
        ("fig.py", '"""Another caption."""\ndef draw():\n    """Doc."""\n', OTHER),
        ("fig.sql", "/* Another\ncomment */ SELECT\n    a,\n 'x -- y'\nFROM t", SAME),
        ("fig.sql", "SELECT a, 'x -- z' FROM t", OTHER),
        ("fig.sql", "SELECT a, 'x  -- y' FROM t", OTHER),
    ],
)
def test_a_figure_depends_on_caption_chart_and_query(tree, name, text, same):
    entries = ("../reports/figures/fig.py", "../reports/figures/fig.sql")
    before = fresh(*entries)
    tree(f"reports/figures/{name}", text)
    assert (fresh(*entries) == before) is same


@pytest.mark.parametrize(
    ("query", "same"),
    [
        ("SELECT a FROM printed", OTHER),
        ("SELECT a FROM t -- printed", SAME),
        ("SELECT a FROM printed_not", SAME),
    ],
)
def test_printed_values_count_if_the_query_reads_them(tree, query, same):
    tree("reports/figures/fig.sql", query)
    tree("reports/printed.csv", "a\n1\n")
    before = fresh("../reports/figures/fig.sql")
    tree("reports/printed.csv", "a\n2\n")
    assert (fresh("../reports/figures/fig.sql") == before) is same


def test_a_query_depends_on_the_views_it_names(tree):
    """Directly or through another view, but on no others."""
    tree("reports/views/shares.sql", "SELECT a FROM scores")
    tree("reports/views/scores.sql", "SELECT a FROM t")
    tree("reports/views/sizes.sql", "SELECT b FROM t")
    tree("reports/figures/fig.sql", "SELECT a FROM shares")
    before = fresh("../reports/figures/fig.sql")
    tree("reports/views/sizes.sql", "SELECT 2 * b FROM t")
    assert fresh("../reports/figures/fig.sql") == before
    tree("reports/views/scores.sql", "SELECT 2 * a FROM t")
    assert fresh("../reports/figures/fig.sql") != before


def test_files_without_code_count_byte_by_byte(tree):
    before = fresh("../reports/style.css")
    tree("reports/style.css", "a { b:  c }")
    assert fresh("../reports/style.css") != before


@pytest.mark.parametrize(
    "statement",
    [
        "import prunescope.metrics",
        "import prunescope.metrics as m",
        "from prunescope import metrics",
        "from prunescope.metrics import f",
        "from . import metrics",
        "from .metrics import f",
        "def late():\n    from prunescope import metrics",
    ],
)
def test_every_form_of_import_is_followed(tree, statement):
    tree("scripts/prunescope/user.py", statement)
    before = fresh("prunescope/user.py")
    tree("scripts/prunescope/metrics.py", "def f(x):\n    return 0")
    assert fresh("prunescope/user.py") != before


def test_relative_imports_of_parents_are_followed(tree):
    tree("scripts/prunescope/methods/__init__.py", "")
    tree("scripts/prunescope/methods/wanda.py", "from ..metrics import f")
    before = fresh("prunescope/methods/wanda.py")
    tree("scripts/prunescope/metrics.py", "def f(x):\n    return 0")
    assert fresh("prunescope/methods/wanda.py") != before


def test_cyclic_imports_are_supported(tree):
    tree("scripts/prunescope/metrics.py", "from prunescope import tracing")
    assert fresh("trace.py")


def test_folder_and_order_do_not_count(tree, tmp_path, monkeypatch):
    """A checkout in another folder has the same fingerprints."""
    before = fresh("trace.py", "../reports/style.css")
    assert fresh("../reports/style.css", "trace.py") == before
    shutil.copytree(tmp_path / "scripts", tmp_path / "else/scripts")
    shutil.copytree(tmp_path / "reports", tmp_path / "else/reports")
    monkeypatch.setattr(module, "_SCRIPTS", tmp_path / "else/scripts")
    monkeypatch.setattr(module, "_REPORTS", tmp_path / "else/reports")
    monkeypatch.setattr(module, "CARRIERS", {tmp_path / "else/scripts/prunescope/store.py"})
    assert fresh("trace.py", "../reports/style.css") == before


def test_error_for_a_missing_file_says_what_to_do(tree):
    with pytest.raises(FileNotFoundError, match=r"fingerprint\('nowhere.py'\): there is no file"):
        fresh("nowhere.py")


def test_declarations_of_tables_are_left_out():
    """A new description of a column, in any module of `tables`, re-runs nothing."""
    files = module._reachable_files(ROOT / "scripts/compress_model.py")
    files |= module._reachable_files(ROOT / "scripts/prunescope/tables/schemas.py")
    assert {file.name for file in files if file.parent.name == "tables"} <= {"__init__.py"}


def test_a_method_does_not_depend_on_other_methods():
    """An edit of wanda.py re-runs only Wanda's variants."""
    files = module._reachable_files(ROOT / "scripts/compress_model.py")
    methods_reached = {file.stem for file in files if file.parent.name == "methods"}
    assert methods_reached == {"__init__"}
    assert len(methods.names()) > 1
