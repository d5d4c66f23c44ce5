"""Search equals a full sort, and the metrics equal trec_eval and their formulas."""

import math

import pytest
import torch

from prunescope.evaluation import retrieval


@pytest.fixture
def world(generator):
    """Seven queries, forty documents with copies among them, grades 0 to 2."""
    queries = torch.randn(7, 5, generator=generator)
    documents = torch.randn(40, 5, generator=generator)
    documents[31] = documents[4]
    documents[8] = documents[9]
    wanted = torch.randint(0, 12, (7, 3), generator=generator)
    grades = torch.randint(0, 3, (7, 3), generator=generator)
    qrels = {
        f"q{row}": {
            f"d{d}": g for d, g in zip(wanted[row].tolist(), grades[row].tolist(), strict=True)
        }
        for row in range(7)
    }
    qrels["q5"] = {"d3": 0}  # judged, and nothing is relevant
    return queries, documents, qrels


def relevant(qrels):
    return [[int(d[1:]) for d, grade in qrels[f"q{row}"].items() if grade > 0] for row in range(7)]


def found(world, size=40, left_out=(None,) * 7, depth=10):
    queries, documents, qrels = world
    chunks = [documents[:12], *documents[12:].split(size)]
    return retrieval.search(queries, chunks, relevant(qrels), left_out, depth)


@pytest.mark.parametrize("size", [40, 7, 1])
@pytest.mark.parametrize("together", [1 << 24, 30])
def test_search_equals_a_full_sort(world, monkeypatch, size, together):
    """The results do not depend on how documents and scores are divided into chunks."""
    monkeypatch.setattr(retrieval, "_SCORES_TOGETHER", together)
    queries, documents, qrels = world
    products = queries.double() @ documents.double().T
    ranking = found(world, size)
    expected = products.sort(descending=True).values[:, :10]
    torch.testing.assert_close(ranking.scores.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        products.gather(1, ranking.documents), expected, rtol=1e-5, atol=1e-5
    )
    for row, wanted in enumerate(relevant(qrels)):
        if not wanted:
            assert math.isnan(ranking.rank[row])
            continue
        best = max(products[row, wanted])
        places = [i for i, p in enumerate(products[row].sort(descending=True).values) if p == best]
        assert ranking.rank[row] == 1 + sum(places) / len(places)


def test_a_query_that_is_a_document_is_not_its_own_result(world):
    """The results are those of the corpus without that document."""
    queries, documents, _ = world
    left_out = [0, 14, None, 39, None, 2, 12]
    ranking = found(world, size=5, left_out=left_out)
    for row, document in enumerate(left_out):
        kept = [i for i in range(40) if i != document]
        best = (queries[row] @ documents[kept].T).topk(10)
        torch.testing.assert_close(ranking.scores[row], best.values)
        assert document not in ranking.documents[row].tolist()


def test_metrics_equal_their_formulas(world):
    """nDCG sums grade / log2(rank + 1), over the ideal sum; recall is of relevant documents."""
    ranking = found(world, size=9, depth=20)
    ids = [f"d{i}" for i in range(40)]
    names = [f"q{row}" for row in range(7)]
    qrels = world[2]
    for row, values in enumerate(retrieval.metrics_by_query(ranking, names, ids, qrels)):
        grades = qrels[names[row]]
        # trec_eval orders by score, then by document id downwards
        order = sorted(
            zip(ranking.scores[row].tolist(), ranking.documents[row].tolist(), strict=True),
            key=lambda pair: (pair[0], ids[pair[1]]),
            reverse=True,
        )
        gains = [grades.get(ids[document], 0) for _, document in order]
        ideal = sorted(grades.values(), reverse=True)
        best = sum(g / math.log2(r + 2) for r, g in enumerate(ideal[:10]))
        dcg = sum(g / math.log2(r + 2) for r, g in enumerate(gains[:10]))
        assert values["ndcg_at_10"] == pytest.approx(dcg / best if best else 0.0, abs=1e-6)
        n_relevant = sum(g > 0 for g in ideal)
        recall = sum(g > 0 for g in gains) / n_relevant if n_relevant else 0.0
        assert values["recall_at_100"] == pytest.approx(recall)
    values = [v["ndcg_at_10"] for v in retrieval.metrics_by_query(ranking, names, ids, qrels)]
    assert 0 < sum(values) / 7 < 1  # neither nothing nor everything was found


def test_relevant_documents_are_kept_first():
    ids = ["a", "b", "c", "d", "e"]
    qrels = {"q": {"d": 1, "a": 0, "gone": 1}, "r": {"b": 2}}
    order, n_relevant = retrieval.relevant_first(ids, qrels)
    assert [ids[i] for i in order] == ["b", "d", "a", "c", "e"]
    assert n_relevant == 2
