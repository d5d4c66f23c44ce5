"""Prompts, questions and task definitions of the user's own are files that config names."""

import copy
import json

import pytest
import yaml

from prunescope.evaluation import harness
from prunescope.inputs import task_rows
from prunescope.paths import ROOT
from prunescope.progress import JobError
from prunescope.storage import store
from prunescope.workflow import experiment

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
QUESTION = {"question": "Wie heißt der Fluss in Köln?", "options": ["Elbe", "Rhein"]}


def plan(**keys):
    config = copy.deepcopy(CONFIG)
    for key, value in keys.items():
        config[key] = {**config[key], **value}
    return experiment.resolve_with_notes(config, ROOT)


def lines(folder, *rows):
    file = folder / "my file.jsonl"
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_prompts_of_a_file_stand_in_place_of_those_of_config(tmp_path):
    """In their order, of the open-ended kind unless they say otherwise."""
    path = lines(
        tmp_path,
        "Erkläre, warum der Himmel blau ist.",
        {"text": "Schreibe ein Gedicht über Äpfel.", "id": "gedicht"},
        {"text": "Was ist rot? A) Gras B) Blut C) Schnee", "kind": "multiple_choice"},
    )
    config, notes = plan(prompts={"from": path})
    assert list(config["prompts"]) == ["prompt-0001", "gedicht", "prompt-0003"]
    assert config["prompts"]["gedicht"]["kind"] == "open_ended"
    assert config["prompts"]["prompt-0003"]["kind"] == "multiple_choice"
    assert "Himmel" in config["prompts"]["prompt-0001"]["text"]
    assert config["figures"]["fig07_decoding_divergence"]["settings"]["prompt"] == "prompt-0001"
    assert set(config["figures"]) == set(CONFIG["figures"])
    assert any("The 3 prompts" in note for note in notes)


def test_of_many_prompts_a_sample_is_asked(tmp_path):
    """It is said; the same seed draws the same prompts, and every prompt can be drawn."""
    path = lines(tmp_path, *(f"Frage Nummer {number}" for number in range(5000)))
    config, notes = plan(prompts={"from": path})
    names = list(config["prompts"])
    assert len(names) == 64
    assert names == sorted(names)
    assert names[-1] > "prompt-4000"  # of 64 numbers of 5,000, all below with p = 0.8^64
    assert "64 of the 5000 prompts" in " ".join(notes)
    assert list(plan(prompts={"from": path})[0]["prompts"]) == names
    drawn = [list(plan(prompts={"from": path, "most": 2})[0]["prompts"]) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{"], "line 1 is not JSON"),
        (['{"text": "a"}', '{"txt": "a"}'], "line 2 has no prompt"),
        (['{"text": "a", "name": "b"}'], "line 1: there is no key 'name'"),
        (['{"text": "a", "id": "B c"}'], "the id 'B c' will not do"),
        (['{"text": "a", "id": "b"}'] * 2, "line 2: the id 'b' is given twice"),
        (['{"text": "a", "kind": "essay"}'], "kind is 'essay'"),
        ([""], "holds no prompts"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, rows, message):
    file = tmp_path / "wrong.jsonl"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(experiment.ConfigError, match=message):
        plan(prompts={"from": str(file)})


def test_a_missing_file_is_named():
    with pytest.raises(experiment.ConfigError, match=r"prompts/from: there is no file /.*nowhere"):
        plan(prompts={"from": "nowhere.jsonl"})


def test_questions_are_a_task_in_the_figures(tmp_path):
    """One line in config: suite core gets it, and Table 1 and Figure 1 read suite core."""
    path = lines(tmp_path, {**QUESTION, "answer": "Rhein"})
    config, _ = plan(tasks={"quiz": {"questions": path}})
    assert config["suites"]["core"] == [*CONFIG["suites"]["core"], "quiz"]
    for figure in ("tab01_task_scores", "fig01_inter_layer_scores"):
        asked = config["figures"][figure]["reads"]["score_difference"]["suite"]
        assert "core" in {*asked, *(part for suite in asked for part in config["suites"][suite])}
    named, _ = plan(tasks={"quiz": {"questions": path}}, suites={"full": ["piqa", "quiz"]})
    assert named["suites"]["core"] == CONFIG["suites"]["core"]


@pytest.mark.parametrize(("answer", "index"), [("Rhein", 1), ("B", 1), ("a", 0), (1, 1)])
def test_an_answer_is_a_text_a_letter_or_an_index(answer, index):
    rows = list(task_rows.in_format("questions", [("f#1", {**QUESTION, "answer": answer})]))
    assert rows == [{**QUESTION, "answer": index}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**QUESTION, "answer": "Donau"}, "`answer` is 'Donau'"),
        ({**QUESTION, "answer": "C"}, "`answer` is 'C'"),
        ({**QUESTION, "answer": 2}, "`answer` is 2"),
        ({**QUESTION, "answer": True}, "`answer` is True"),
        ({**QUESTION, "options": ["x", "x"], "answer": 0}, "texts that differ"),
        ({**QUESTION, "options": "xy", "answer": 0}, "must be a list"),
        ({"options": ["x", "y"], "answer": 0}, "has no `question`"),
    ],
)
def test_a_question_without_a_right_option_is_refused(row, message):
    with pytest.raises(JobError, match=message):
        list(task_rows.in_format("questions", [("f#1", row)]))


DEFINITION = """\
task: farben
dataset_path: none
output_type: multiple_choice
validation_split: validation
doc_to_text: "{{frage}}"
doc_to_choice: "{{farben}}"
doc_to_target: 0
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""


def definition(tmp_path, text=DEFINITION):
    file = tmp_path / "farben.yaml"
    file.write_text(text, encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"frage": "Gras ist", "farben": ["grün", "rot"]}\n')
    source = {"from": "path", "path": str(tmp_path / "rows.jsonl")}
    return {
        "definition": str(file),
        "family": "non_generative",
        "headline": "acc",
        "n_shot": 0,
        "limit": "all",
        "rows": [{"split": "validation", "source": source}],
    }


def test_a_definition_becomes_part_of_config(tmp_path):
    """So that a change of the file scores the suite again; lm-eval then reads it from there."""
    task = plan(tasks={"mine": definition(tmp_path)})[0]["tasks"]["mine"]
    assert task["lm_eval"] == "farben"
    assert task["definition"] == DEFINITION
    table = task_rows.table([{"frage": "Gras ist", "farben": ["grün", "rot"]}], "validation")
    rows = tmp_path / "rows"
    rows.mkdir()
    store.write_parquet(rows / "validation.parquet", table)
    loaded = harness.load("farben", task, rows)
    doc = loaded["tasks"]["farben"].eval_docs[0]
    assert loaded["tasks"]["farben"].doc_to_choice(doc) == ["grün", "rot"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group: x\n", "no line `task: name`"),
        (DEFINITION + "process_docs: !function utils.f\n", "refers to another file"),
        (DEFINITION + "include: base.yaml\n", "refers to another file"),
    ],
)
def test_a_definition_that_needs_more_files_is_refused(tmp_path, text, message):
    with pytest.raises(experiment.ConfigError, match=message):
        plan(tasks={"mine": definition(tmp_path, text)})
