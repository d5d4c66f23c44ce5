"""Rules, scripts and logs share names, and rules are included in the order of the data flow."""

import ast
import re

import pytest

from prunescope.workflow import slurm
from rules_of import INCLUDES, ROOT, RULES

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def test_every_script_has_a_rule():
    assert sorted(rule.name for rule in RULES) == [script.stem for script in SCRIPTS]


@each_rule
def test_rule_script_and_log_share_a_name(rule):
    assert rule.script == f"{rule.name}.py"
    assert re.match(rf"<logs>/{rule.name}[/.]", rule.value("log"))
    assert re.match(rf"<logs>/{rule.name}[/.]", rule.value("benchmark"))
    assert rule.value("benchmark").endswith(".seconds.tsv")


@each_rule
def test_every_rule_has_docstring_environment_and_fingerprint(rule):
    """The docstring has one or two sentences."""
    assert re.match(r'\s+"""[A-Z].+\."""\n', rule.text)
    assert (ROOT / "envs" / rule.env).is_file()
    assert re.search(r"^        code=(fingerprint\(|\w+_fingerprint)", rule.text, re.MULTILINE)


@each_rule
def test_outputs_are_below_store_or_results(rule):
    """Each path is written once, in the rule that makes it."""
    outputs = re.search(r"^    output:\n((?:        .+\n)+)", rule.text, re.MULTILINE)[1]
    paths = re.findall(r'"([^"]*/[^"]*)"', outputs)
    written = [path for path in paths if not path.startswith("../reports/snakemake/")]  # captions
    assert written
    assert all(path.startswith(("<store>/", "<results>/")) for path in written)
    inputs = re.search(r"^    input:\n((?:        .+\n)+)", rule.text, re.MULTILINE)
    assert not inputs or "<store>" not in inputs[1]


@each_rule
def test_rules_that_run_a_model_request_a_gpu(rule):
    """These are the rules with threads; the request of a light job would be too small."""
    kind = re.search(r'\*\*request\("(\w+)"\)', rule.text)[1]
    assert (slurm.NEEDS[kind].gpus > 0) == ("threads:" in rule.text)


def test_files_without_rules_are_included_first():
    assert INCLUDES[0] == "rules/common.smk"
    assert sorted(INCLUDES) == sorted(
        f"rules/{path.name}" for path in (ROOT / "rules").glob("*.smk")
    )
    assert not any(rule.file == "rules/common.smk" for rule in RULES)


@each_rule
def test_rules_refer_only_to_earlier_rules(rule):
    above = [other.name for other in RULES[: RULES.index(rule)]]
    assert set(re.findall(r"\brules\.(\w+)", rule.text)) <= set(above)


@each_script
def test_snakemake_appears_only_in_the_main_guard(script):
    """Otherwise a script is a function of the same name."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert script.stem in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    *above, guard = tree.body
    assert isinstance(guard, ast.If)
    assert ast.unparse(guard.test) == "__name__ == '__main__'"
    names = {node.id for part in above for node in ast.walk(part) if isinstance(node, ast.Name)}
    assert "snakemake" not in names


@each_script
def test_no_number_depends_on_the_number_of_cores(script):
    """Snakemake limits threads of a rule to its cores; sums use the number from config.

    `measure_variant` alone measures speeds: it uses what there is.
    """
    lowered = "snakemake.threads" in script.read_text(encoding="utf-8")
    assert lowered == (script.stem == "measure_variant")


@each_script
def test_a_log_has_the_name_of_its_job(script):
    assert f'progress.job("{script.stem}", snakemake.log[0])' in script.read_text(encoding="utf-8")
