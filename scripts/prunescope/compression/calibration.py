"""Sample token sequences of equal length from documents, as calibration text for compression.

Documents are tokenized by the model's own tokenizer, with the special tokens that it adds. A
document of a Llama model therefore starts with the beginning-of-text token, as in the loaders of
the published code.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from prunescope.model.tokenization import Encode, encoder
from prunescope.progress import JobError
from prunescope.tables.schemas import TABLES

__all__ = ["Encode", "Segment", "as_row", "as_table", "encoder", "packed", "windows"]

BATCH = 64
"""Number of documents that are tokenized at a time, in parallel.

Documents of the last batch that are not needed remain unused.
"""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """A part of one document within one sequence.

    Attributes
    ----------
    document_id : id of the document.
    offset : index of its first token in the document.
    token_ids : its tokens.
    """

    document_id: str
    offset: int
    token_ids: list[int]


def windows(
    documents: pa.Table, encode: Encode, n_sequences: int, sequence_length: int, seed: int
) -> pa.Table:
    """Draw a random window from each of `n_sequences` random documents.

    This is the published protocol of GPTQ, SparseGPT and Wanda, except that no document is drawn
    twice. Documents are read in random order, and those that are not longer than a sequence are
    skipped. The chosen documents are therefore uniform among those that are long enough, and no
    more documents are tokenized than necessary. All windows of a document are equally likely.

    Parameters
    ----------
    documents : table `documents`.
    encode : function from texts to token ids.
    n_sequences : number of windows.
    sequence_length : number of tokens of each.
    seed : of the random choices.

    Returns
    -------
    Rows of table `calibration`.

    Raises
    ------
    JobError
        if fewer than `n_sequences` documents are longer than `sequence_length`.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(documents.num_rows)
    sequences: list[list[Segment]] = []
    for document_id, token_ids in _tokenized(documents, order, encode):
        if len(token_ids) <= sequence_length:
            continue
        start = int(rng.integers(len(token_ids) - sequence_length + 1))
        window = token_ids[start : start + sequence_length]
        sequences.append([Segment(document_id, start, window)])
        if len(sequences) == n_sequences:
            return as_table(sequences)
    raise JobError(
        f"{n_sequences} documents of more than {sequence_length} tokens are needed, "
        f"but only {len(sequences)} of {documents.num_rows} are that long. Set a shorter "
        "sequence_length, fewer n_sequences, protocol: packed, or a larger n_documents."
    )


def packed(
    documents: pa.Table,
    encode: Encode,
    n_sequences: int,
    sequence_length: int,
    seed: int,
    separator: int | None,
) -> pa.Table:
    """Join documents in random order, and cut the result into sequences.

    The sequences follow each other without a gap: a document that is cut at the end of a sequence
    continues in the next one.

    Parameters
    ----------
    documents : table `documents`.
    encode : function from texts to token ids.
    n_sequences : number of sequences.
    sequence_length : number of tokens of each.
    seed : of the random order.
    separator : token that is appended to each document, as in training; None for no token.

    Returns
    -------
    Rows of table `calibration`.

    Raises
    ------
    JobError
        if the documents have too few tokens in total.
    """
    order = np.random.default_rng(seed).permutation(documents.num_rows)
    ending = [] if separator is None else [separator]
    sequences: list[list[Segment]] = [[]]
    remaining = sequence_length
    n_tokens = 0
    for document_id, token_ids in _tokenized(documents, order, encode):
        tokens = token_ids + ending
        n_tokens += len(tokens)
        offset = 0
        while offset < len(tokens):
            segment_tokens = tokens[offset : offset + remaining]
            sequences[-1].append(Segment(document_id, offset, segment_tokens))
            offset += len(segment_tokens)
            remaining -= len(segment_tokens)
            if remaining == 0:
                if len(sequences) == n_sequences:
                    return as_table(sequences)
                sequences.append([])
                remaining = sequence_length
    raise JobError(
        f"{n_sequences} sequences of {sequence_length} tokens are needed, but the "
        f"{documents.num_rows} documents have only {n_tokens} tokens in total. Set fewer "
        "n_sequences, a shorter sequence_length, or a larger n_documents."
    )


def _tokenized(
    documents: pa.Table, order: IntArray, encode: Encode
) -> Iterator[tuple[str, list[int]]]:
    """Ids and tokens of the documents in `order`; each batch is tokenized when it is reached."""
    for start in range(0, len(order), BATCH):
        rows = documents.take(order[start : start + BATCH])
        ids, texts = rows["document_id"].to_pylist(), rows["text"].to_pylist()
        yield from zip(ids, encode(texts), strict=True)


def as_table(sequences: Sequence[Sequence[Segment]]) -> pa.Table:
    """Sequences as table `calibration`, with one row per sequence."""
    return pa.Table.from_pylist(
        [as_row(index, segments) for index, segments in enumerate(sequences)],
        schema=TABLES["calibration"].schema,
    )


def as_row(index: int, segments: Sequence[Segment]) -> Mapping[str, object]:
    """One sequence as a row: the tokens of its segments in order, and where each comes from."""
    lengths = [len(segment.token_ids) for segment in segments]
    return {
        "sequence": index,
        "token_ids": [token for segment in segments for token in segment.token_ids],
        "document_ids": [segment.document_id for segment in segments],
        "document_offsets": [segment.offset for segment in segments],
        "segment_starts": list(itertools.accumulate(lengths[:-1], initial=0)),
    }
