"""Calibration sequences have the requested length, come from documents, and are drawn fairly."""

from collections import Counter

import numpy as np
import pytest

import sample_calibration
from prunescope.compression import calibration
from prunescope.progress import JobError
from prunescope.storage import store
from tiny_inputs import BEGIN, byte_tokenizer, documents, save_model, save_tokenizer

LENGTHS = [5, 40, 41, 42, 7, 90, 300, 12, 64, 45, 200, 3, 41, 40, 77]
"""Number of tokens (bytes) of each document."""

LENGTH = 40
LONG = {f"doc-{i}" for i, length in enumerate(LENGTHS) if length > LENGTH}


def encode(texts):
    """One token per byte, so that the expected tokens are known without a tokenizer."""
    return [list(text.encode()) for text in texts]


def draw(protocol, lengths=LENGTHS, *, n_sequences=4, sequence_length=LENGTH, seed=0):
    """Rows and documents of one draw; the separator of packed documents is token 0."""
    corpus = documents(lengths)
    size = (n_sequences, sequence_length, seed)
    if protocol == "window":
        return calibration.windows(corpus, encode, *size).to_pylist(), corpus.to_pylist()
    return calibration.packed(corpus, encode, *size, separator=0).to_pylist(), corpus.to_pylist()


def segments(row):
    """(document id, offset, tokens) of each segment of a sequence."""
    ends = [*row["segment_starts"][1:], len(row["token_ids"])]
    bounds = zip(row["segment_starts"], ends, strict=True)
    tokens = [row["token_ids"][start:end] for start, end in bounds]
    return list(zip(row["document_ids"], row["document_offsets"], tokens, strict=True))


@pytest.mark.parametrize("protocol", ["window", "packed"])
@pytest.mark.parametrize("seed", range(5))
def test_segments_are_tokens_of_their_documents(protocol, seed):
    """Each sequence has the requested length, and each segment starts at its offset."""
    rows, corpus = draw(protocol, seed=seed)
    tokens = {row["document_id"]: [*row["text"].encode(), 0] for row in corpus}
    assert [row["sequence"] for row in rows] == [0, 1, 2, 3]
    for row in rows:
        assert len(row["token_ids"]) == LENGTH
        assert row["segment_starts"][0] == 0
        for document_id, offset, segment in segments(row):
            assert segment == tokens[document_id][offset : offset + len(segment)]


@pytest.mark.parametrize("seed", range(5))
def test_each_window_comes_from_another_long_document(seed):
    """It lies within a document that is longer than the window."""
    rows, _ = draw("window", n_sequences=len(LONG), seed=seed)
    assert {len(row["document_ids"]) for row in rows} == {1}
    assert {row["document_ids"][0] for row in rows} == LONG


def test_documents_are_drawn_uniformly():
    """All long documents are drawn equally often, and so are all windows of a document."""
    drawn, starts = Counter(), Counter()
    n_draws = 2000
    for seed in range(n_draws):
        (row,), _ = draw("window", n_sequences=1, seed=seed)
        drawn[row["document_ids"][0]] += 1
        if row["document_ids"] == ["doc-3"]:  # 42 tokens: windows start at 0, 1 or 2
            starts[row["document_offsets"][0]] += 1
    assert set(drawn) == LONG and set(starts) == {0, 1, 2}
    for counts in (drawn, starts):
        total, n_kinds = sum(counts.values()), len(counts)
        deviation = np.sqrt(total / n_kinds * (1 - 1 / n_kinds))
        assert max(abs(count - total / n_kinds) for count in counts.values()) < 4 * deviation


def test_windows_tokenize_no_more_documents_than_necessary():
    """Documents are tokenized in batches, until there are enough windows."""
    batch_sizes = []

    def counting(texts):
        batch_sizes.append(len(texts))
        return encode(texts)

    calibration.windows(documents([50] * 1000), counting, 3, LENGTH, 0)
    assert sum(batch_sizes) <= calibration.BATCH


@pytest.mark.parametrize("seed", range(5))
def test_packed_covers_documents_consecutively(seed):
    """The joined sequences are whole documents in random order without gaps."""
    rows, corpus = draw("packed", n_sequences=20, seed=seed)
    joined = [token for row in rows for token in row["token_ids"]]
    order = list(dict.fromkeys(name for row in rows for name in row["document_ids"]))
    texts = {row["document_id"]: row["text"] for row in corpus}
    whole = [token for name in order for token in [*texts[name].encode(), 0]]
    assert joined == whole[: len(joined)] and len(whole) - len(joined) < max(LENGTHS) + 1
    assert order != sorted(order, key=lambda name: int(name[4:]))


def test_packed_uses_all_tokens():
    """Documents of 3 and 1 tokens plus separators are enough for six tokens but not for seven."""
    rows, _ = draw("packed", [3, 1], n_sequences=2, sequence_length=3)
    assert sum(len(row["token_ids"]) for row in rows) == 6
    with pytest.raises(JobError, match=r"1 sequences of 7 tokens .* have only 6 tokens"):
        draw("packed", [3, 1], n_sequences=1, sequence_length=7)


@pytest.mark.parametrize("lengths", [[], [1], [40] * 30, [41, 3, 41]])
def test_too_few_long_documents_are_an_error(lengths):
    """The published loaders would loop forever; the message says what to change."""
    n_long = sum(length > LENGTH for length in lengths)
    expected = f"only {n_long} of {len(lengths)} are that long. Set a shorter sequence_length"
    with pytest.raises(JobError, match=expected) as failure:
        draw("window", lengths)
    assert "packed" in str(failure.value) and "\n" not in str(failure.value)


def written(tmp_path, name, protocol, seed):
    """The bytes of a calibration file that the script has written."""
    model = save_model(tmp_path / "model")
    corpus, file = tmp_path / "documents.parquet", tmp_path / name
    store.write(corpus, documents(LENGTHS), "documents", {})
    sample_calibration.sample_calibration(
        str(model), str(corpus), protocol, 4, LENGTH, seed, str(file), {"seed": "provenance"}
    )
    return file.read_bytes()


@pytest.mark.parametrize("protocol", ["window", "packed"])
def test_the_same_seed_gives_the_same_bytes(tmp_path, protocol):
    first, again, other = (
        written(tmp_path, name, protocol, seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    assert first == again
    assert first != other


def test_sequences_longer_than_the_context_of_the_model_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 32}')
    sample_calibration.check_context(tmp_path, 32)
    with pytest.raises(JobError, match="is 33, but the model reads at most 32"):
        sample_calibration.check_context(tmp_path, 33)


@pytest.mark.parametrize("begin", [False, True])
def test_tokens_are_those_of_transformers(tmp_path, begin):
    """They include the beginning-of-text token, if the tokenizer of the model adds one."""
    from transformers import AutoTokenizer

    tokenizer_file = save_tokenizer(tmp_path, begin=begin)
    texts = ["a plain text", "ünïcödé 中文 🙂", "line\n\nline  1"]
    token_ids = calibration.encoder(tokenizer_file)(texts)
    assert token_ids == AutoTokenizer.from_pretrained(tmp_path)(texts)["input_ids"]
    begins = byte_tokenizer(begin=begin).token_to_id(BEGIN)
    assert all((ids[0] == begins) == begin for ids in token_ids)


def test_truncation_and_padding_of_the_tokenizer_are_ignored(tmp_path):
    """A tokenizer.json may request both, and a truncated document would look like a short one."""
    tokenizer = byte_tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encode_texts = calibration.encoder(tmp_path / "tokenizer.json")
    assert [len(ids) for ids in encode_texts(["abcdef", "ab"])] == [6, 2]
