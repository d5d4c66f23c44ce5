"""Exact search over embeddings, and metrics of the rankings by trec_eval."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pytrec_eval
import torch
from torch import Tensor

from prunescope import finite

DEPTH = 100
"""Number of documents kept per ranking: as many as the deepest metric needs."""

MEASURES = {"ndcg_at_10": "ndcg_cut_10", "recall_at_100": "recall_100"}
"""Name of a metric in our tables -> its name in trec_eval."""

_SCORES_TOGETHER = 1 << 24
"""Entries of the score matrix in memory at once: 64 MB in float32."""

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade, relevant if above 0. Missing pairs have grade 0."""


@dataclass(frozen=True)
class Ranking:
    """Results of a search, one row per query.

    Attributes
    ----------
    documents : (queries, depth) indices of the best documents, best first.
    scores : (queries, depth) their dot products with the query.
    rank : (queries,) rank of the best relevant document among all documents, from 1; ties share
        the mean of their ranks. NaN for a query without relevant documents.
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
    """Rank all documents for all queries by exact dot products, one chunk of documents at a time.

    Memory holds one chunk, `_SCORES_TOGETHER` scores, and `depth` results per query.

    Parameters
    ----------
    queries : (queries, d).
    chunks : embeddings of documents, (documents, d) each, on the same device.
    relevant : for each query, the indices of its relevant documents. All of them must be in the
        first chunk (see `relevant_first`): their scores have to be known before the documents that
        score higher can be counted.
    left_out : for each query, a document to leave out or None. It is the query itself in sets
        whose queries are documents.
    depth : number of documents kept per query.
    """
    best_relevant = queries.new_full((len(queries),), -torch.inf)
    n_above, n_equal = (queries.new_zeros(len(queries), dtype=torch.float64) for _ in range(2))
    scores = queries.new_empty(len(queries), 0)
    documents = scores.to(torch.int64)
    start = 0
    for chunk in chunks:
        results = []
        n_together = max(1, _SCORES_TOGETHER // len(chunk))
        for first in range(0, len(queries), n_together):
            rows = slice(first, first + n_together)
            products = finite.checked(
                queries[rows] @ chunk.T,
                f"scores of queries from {first} on against documents from {start} on",
            )
            for row, skipped in enumerate(left_out[rows]):
                if skipped is not None and 0 <= skipped - start < len(chunk):
                    products[row, skipped - start] = -torch.inf
            if start == 0:
                for row, relevant_documents in enumerate(relevant[rows]):
                    if relevant_documents:
                        best_relevant[first + row] = products[row, list(relevant_documents)].max()
            n_above[rows] += (products > best_relevant[rows, None]).sum(1)
            n_equal[rows] += (products == best_relevant[rows, None]).sum(1)
            top = products.topk(min(depth, len(chunk)), sorted=False)
            candidates = torch.cat([scores[rows], top.values], 1)
            candidate_documents = torch.cat([documents[rows], top.indices + start], 1)
            top_candidates = candidates.topk(min(depth, candidates.shape[1]))
            results.append(
                (top_candidates.values, candidate_documents.gather(1, top_candidates.indices))
            )
        scores, documents = (torch.cat(parts) for parts in zip(*results, strict=True))
        start += len(chunk)
    rank = 1 + n_above + (n_equal - 1) / 2
    rank[torch.isneginf(best_relevant)] = torch.nan
    return Ranking(documents.cpu(), scores.cpu(), rank.cpu())


def relevant_first(documents: Sequence[str], qrels: Qrels) -> tuple[list[int], int]:
    """Order of the documents with all relevant ones first, and the number of relevant ones."""
    relevant = {d for grades in qrels.values() for d, grade in grades.items() if grade > 0}
    order = sorted(range(len(documents)), key=lambda i: documents[i] not in relevant)
    return order, sum(document in relevant for document in documents)


def metrics_by_query(
    ranking: Ranking, queries: Sequence[str], documents: Sequence[str], qrels: Qrels
) -> list[dict[str, float]]:
    """All metrics of every query, in the order of `queries`, computed by trec_eval.

    Parameters
    ----------
    ranking : from `search`.
    queries : ids of the queries, the rows of the ranking.
    documents : ids of the documents, by index.
    qrels : relevance judgements.
    """
    run = {
        query: {
            documents[i]: score
            for i, score in zip(ranked.tolist(), scores.tolist(), strict=True)
            if score > -torch.inf
        }
        for query, ranked, scores in zip(queries, ranking.documents, ranking.scores, strict=True)
    }
    judgements = {query: dict(qrels[query]) for query in queries}
    measures = {"ndcg_cut.10", "recall.100"}
    values = pytrec_eval.RelevanceEvaluator(judgements, measures).evaluate(run)
    return [{ours: values[q][theirs] for ours, theirs in MEASURES.items()} for q in queries]
