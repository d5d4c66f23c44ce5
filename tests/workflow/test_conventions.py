"""One name for a rule, its script and its log; the include order is the data flow."""

import ast
import re

import pytest

from prunescope.workflow import slurm
from rules_of import INCLUDES, ROOT, RULES

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def test_every_script_has_its_rule():
    assert sorted(rule.name for rule in RULES) == [script.stem for script in SCRIPTS]


@each_rule
def test_rule_script_and_log_share_a_name(rule):
    assert rule.script == f"{rule.name}.py"
    assert re.match(rf"<logs>/{rule.name}[/.]", rule.value("log"))
    assert re.match(rf"<logs>/{rule.name}[/.]", rule.value("benchmark"))
    assert rule.value("benchmark").endswith(".seconds.tsv")


@each_rule
def test_rule_says_what_it_makes_and_where_it_runs(rule):
    """A docstring in one sentence or two, an environment, a fingerprint of its code."""
    assert re.match(r'\s+"""[A-Z].+\."""\n', rule.text)
    assert (ROOT / "envs" / rule.env).is_file()
    assert re.search(r"^        code=(fingerprint\(|\w+_fingerprint)", rule.text, re.MULTILINE)


@each_rule
def test_outputs_stand_under_the_roots(rule):
    """Paths are written once, by the rule that makes them, below <store> or <results>."""
    outputs = re.search(r"^    output:\n((?:        .+\n)+)", rule.text, re.MULTILINE)[1]
    assert all("<store>/" in line or "<results>/" in line for line in outputs.splitlines())
    inputs = re.search(r"^    input:\n((?:        .+\n)+)", rule.text, re.MULTILINE)
    assert not inputs or "<store>" not in inputs[1]


@each_rule
def test_a_cluster_gives_what_runs_a_model_a_gpu(rule):
    """A rule that says its threads runs a model: a light request would be too little for it."""
    kind = re.search(r'\*\*request\("(\w+)"\)', rule.text)[1]
    assert (slurm.NEEDS[kind].gpus > 0) == ("threads:" in rule.text)


def test_includes_start_with_what_has_no_rules():
    assert INCLUDES[0] == "rules/common.smk"
    assert sorted(INCLUDES) == sorted(
        f"rules/{path.name}" for path in (ROOT / "rules").glob("*.smk")
    )
    assert not any(rule.file == "rules/common.smk" for rule in RULES)


@each_rule
def test_rules_refer_only_to_rules_above(rule):
    above = [other.name for other in RULES[: RULES.index(rule)]]
    assert set(re.findall(r"\brules\.(\w+)", rule.text)) <= set(above)


@each_script
def test_snakemake_appears_only_in_the_last_lines(script):
    """A script is a function of its own name; only its main guard knows Snakemake."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert script.stem in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    *above, guard = tree.body
    assert isinstance(guard, ast.If)
    assert ast.unparse(guard.test) == "__name__ == '__main__'"
    names = {node.id for part in above for node in ast.walk(part) if isinstance(node, ast.Name)}
    assert "snakemake" not in names


@each_script
def test_cores_decide_no_number(script):
    """Snakemake lowers a rule's threads to the cores it has; sums are taken by config's number.

    `measure_variant` alone measures speeds: it uses what there is.
    """
    lowered = "snakemake.threads" in script.read_text(encoding="utf-8")
    assert lowered == (script.stem == "measure_variant")


@each_script
def test_a_job_is_logged_under_its_own_name(script):
    assert f'progress.job("{script.stem}", snakemake.log[0])' in script.read_text(encoding="utf-8")
