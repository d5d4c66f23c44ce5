"""Sample fixed-length token sequences from documents: the text compression methods may look at.

A document's tokens are what the model's own tokenizer makes of it, special tokens included: a Llama
document starts with its beginning-of-text token, as in the published loaders.
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

__all__ = ["Encode", "Segment", "as_rows", "encoder", "packed", "row_of", "windows"]

BATCH = 64
"""Documents tokenized at a time, in parallel; the rest of the last batch goes unused."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """Part of one document in one sequence."""

    document_id: str
    offset: int
    """Token at which it starts in its document."""
    token_ids: list[int]


def windows(
    documents: pa.Table, encode: Encode, n_sequences: int, sequence_length: int, seed: int
) -> pa.Table:
    """A random window of each of `n_sequences` random documents longer than `sequence_length`.

    The published protocol (GPTQ, SparseGPT, Wanda), but no document is drawn twice. Documents are
    gone through in random order, so those taken are uniform among the long enough, and only as
    many are tokenized as that takes. Every window of a document is equally likely.

    Raises
    ------
    JobError
        if fewer documents than `n_sequences` are long enough.
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
            return as_rows(sequences)
    raise JobError(
        f"{n_sequences} documents of more than {sequence_length} tokens were asked "
        f"for, but only {len(sequences)} of {documents.num_rows} are that long. Set a shorter "
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
    """Documents in random order, each ended by `separator` as in training, joined and then cut.

    Sequences follow each other without a gap; a document cut at the end of one continues in the
    next.

    Raises
    ------
    JobError
        if the documents together have too few tokens.
    """
    order = np.random.default_rng(seed).permutation(documents.num_rows)
    ending = [] if separator is None else [separator]
    sequences: list[list[Segment]] = [[]]
    room = sequence_length
    n_tokens = 0
    for document_id, token_ids in _tokenized(documents, order, encode):
        ended = token_ids + ending
        n_tokens += len(ended)
        offset = 0
        while offset < len(ended):
            piece = ended[offset : offset + room]
            sequences[-1].append(Segment(document_id, offset, piece))
            offset += len(piece)
            room -= len(piece)
            if room == 0:
                if len(sequences) == n_sequences:
                    return as_rows(sequences)
                sequences.append([])
                room = sequence_length
    raise JobError(
        f"{n_sequences} sequences of {sequence_length} tokens were asked for, but the "
        f"{documents.num_rows} documents have only {n_tokens} tokens together. Set fewer "
        "n_sequences, a shorter sequence_length, or a larger n_documents."
    )


def _tokenized(
    documents: pa.Table, order: IntArray, encode: Encode
) -> Iterator[tuple[str, list[int]]]:
    """Documents in `order` with their tokens, tokenized a batch at a time when asked for."""
    for start in range(0, len(order), BATCH):
        rows = documents.take(order[start : start + BATCH])
        ids, texts = rows["document_id"].to_pylist(), rows["text"].to_pylist()
        yield from zip(ids, encode(texts), strict=True)


def as_rows(sequences: Sequence[Sequence[Segment]]) -> pa.Table:
    """Rows of table `calibration`, a row per sequence."""
    return pa.Table.from_pylist(
        [row_of(index, segments) for index, segments in enumerate(sequences)],
        schema=TABLES["calibration"].schema,
    )


def row_of(index: int, segments: Sequence[Segment]) -> Mapping[str, object]:
    """One sequence: the tokens of its segments, one after the other, and where they come from."""
    lengths = [len(segment.token_ids) for segment in segments]
    return {
        "sequence": index,
        "token_ids": [token for segment in segments for token in segment.token_ids],
        "document_ids": [segment.document_id for segment in segments],
        "document_offsets": [segment.offset for segment in segments],
        "segment_starts": list(itertools.accumulate(lengths[:-1], initial=0)),
    }
