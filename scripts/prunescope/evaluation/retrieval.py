"""Exact search over embeddings, and what a ranking is worth by trec_eval's own measures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pytrec_eval
import torch
from torch import Tensor

from prunescope import finite

DEPTH = 100
"""Documents kept of every ranking: as many as the deepest measure reads."""

MEASURES = {"ndcg_at_10": "ndcg_cut_10", "recall_at_100": "recall_100"}
"""Metric in our tables -> measure of trec_eval."""

_SCORES_TOGETHER = 1 << 24
"""Entries of the score matrix that are in memory at once: 64 MB."""

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade; above 0 is relevant. A pair not listed has grade 0."""


@dataclass(frozen=True)
class Ranking:
    """What a search found, a row a query.

    Attributes
    ----------
    documents : (queries, depth) indices of the best documents, best first.
    scores : (queries, depth) their dot products with the query.
    rank : (queries,) of the best relevant document among all, 1 = first, ties share the mean of
        their ranks; NaN for a query without one.
    """

    documents: Tensor
    scores: Tensor
    rank: Tensor


@torch.inference_mode()
def search(
    queries: Tensor,
    chunks: Iterable[Tensor],
    relevant: Sequence[Sequence[int]],
    left_out: Sequence[int | None],
    depth: int = DEPTH,
) -> Ranking:
    """Rank all documents for all queries by dot product, exactly, a chunk of documents at a time.

    Memory: one chunk, `_SCORES_TOGETHER` scores, and `depth` results a query.

    Parameters
    ----------
    queries : (queries, d). chunks : (documents, d) each, on the same device.
    relevant : for each query the indices of its relevant documents, all in the first chunk, so that
        one pass knows their scores before it counts what lies above them (`relevant_first`).
    left_out : for each query the document that is not to be found: the query itself, where a set
        asks with its own documents.
    """
    best = queries.new_full((len(queries),), -torch.inf)
    above, beside = (queries.new_zeros(len(queries), dtype=torch.float64) for _ in range(2))
    scores = queries.new_empty(len(queries), 0)
    documents = scores.to(torch.int64)
    start = 0
    for chunk in chunks:
        found = []
        size = max(1, _SCORES_TOGETHER // len(chunk))
        for first in range(0, len(queries), size):
            rows = slice(first, first + size)
            products = finite.checked(
                queries[rows] @ chunk.T,
                f"scores of queries from {first} on against documents from {start} on",
            )
            for row, skipped in enumerate(left_out[rows]):
                if skipped is not None and 0 <= skipped - start < len(chunk):
                    products[row, skipped - start] = -torch.inf
            if start == 0:
                for row, wanted in enumerate(relevant[rows]):
                    if wanted:
                        best[first + row] = products[row, list(wanted)].max()
            above[rows] += (products > best[rows, None]).sum(1)
            beside[rows] += (products == best[rows, None]).sum(1)
            top = products.topk(min(depth, len(chunk)), sorted=False)
            pool = torch.cat([scores[rows], top.values], 1)
            places = torch.cat([documents[rows], top.indices + start], 1)
            kept = pool.topk(min(depth, pool.shape[1]))
            found.append((kept.values, places.gather(1, kept.indices)))
        scores, documents = (torch.cat(parts) for parts in zip(*found, strict=True))
        start += len(chunk)
    rank = 1 + above + (beside - 1) / 2
    rank[torch.isneginf(best)] = torch.nan
    return Ranking(documents.cpu(), scores.cpu(), rank.cpu())


def relevant_first(documents: Sequence[str], qrels: Qrels) -> tuple[list[int], int]:
    """An order of the documents with those relevant to any query first, and how many these are."""
    wanted = {d for grades in qrels.values() for d, grade in grades.items() if grade > 0}
    order = sorted(range(len(documents)), key=lambda i: documents[i] not in wanted)
    return order, sum(document in wanted for document in documents)


def measured(
    ranking: Ranking, queries: Sequence[str], documents: Sequence[str], qrels: Qrels
) -> list[dict[str, float]]:
    """Every metric of every query, in the order of `queries`, by trec_eval itself.

    Parameters
    ----------
    queries, documents : ids of the rows and of the indices of the ranking.
    """
    run = {
        query: {
            documents[i]: score
            for i, score in zip(found.tolist(), scores.tolist(), strict=True)
            if score > -torch.inf
        }
        for query, found, scores in zip(queries, ranking.documents, ranking.scores, strict=True)
    }
    judged = {query: dict(qrels[query]) for query in queries}
    asked = {"ndcg_cut.10", "recall.100"}
    values = pytrec_eval.RelevanceEvaluator(judged, asked).evaluate(run)
    return [{ours: values[q][theirs] for ours, theirs in MEASURES.items()} for q in queries]
