"""What a table and a column are, and the columns that tables of several stages share."""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, and what a value means, with unit and equation.

    Attributes
    ----------
    nullable : True if a row may have no value.
    wall_clock : True if a repeated run gives another value, which holds for durations, speeds,
        peaks of memory and the machine on which they were measured. `differences` skips these
        columns.
    """

    name: str
    type: pa.DataType
    meaning: str
    nullable: bool = False
    wall_clock: bool = False


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    grain : what one row stands for.
    partition : names of the keys that are part of the path of a file.
    columns : the columns of each file.
    needs_lm_head : False if the table also exists for encoders, models without an lm_head.
    """

    name: str
    grain: str
    partition: tuple[str, ...]
    columns: tuple[Column, ...]
    needs_lm_head: bool = True

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of one file, without the partition keys, which are part of its path."""
        return pa.schema(
            [
                pa.field(c.name, c.type, nullable=c.nullable, metadata={"meaning": c.meaning})
                for c in self.columns
            ]
        )

    def empty(self) -> pa.Table:
        """A table without rows that has every column a query may name, partition keys included."""
        keys = [pa.field(key, pa.string()) for key in self.partition]
        return pa.schema([*keys, *self.schema]).empty_table()


TEXT, INT, FLOAT, BOOL = pa.string(), pa.int32(), pa.float64(), pa.bool_()
LONG = pa.int64()
IDS = pa.list_(pa.int32())


def measure(name: str, meaning: str) -> Column:
    """A column of numbers that is empty where the quantity does not exist."""
    return Column(name, FLOAT, meaning, nullable=True)


def clocked(name: str, kind: pa.DataType, meaning: str, nullable: bool = False) -> Column:
    """A column whose values differ between repeated runs.

    Parameters
    ----------
    name : name of the column.
    kind : its Arrow type.
    meaning : what a value means, with its unit.
    nullable : True if a row may have no value.
    """
    return Column(name, kind, meaning, nullable, wall_clock=True)


TRACE_KEY = (
    Column("prompt", TEXT, "prompt id in config"),
    Column("step", INT, "decoding step counted from 0; step 0 has read only the prompt"),
    Column("block", INT, "transformer block counted from 0"),
    Column("sublayer", TEXT, "the edited sublayer: attn or mlp"),
)
"""Keys of a trace in which one sublayer at a time is edited."""

DECODED_KEY = (
    Column("prompt", TEXT, "prompt id in config"),
    Column("sampling_temperature", FLOAT, "temperature of the decoding; 0 is greedy"),
    Column("history", TEXT, "dense_cache, prompt_perturbed, teacher_forced or free_running"),
    Column("step", INT, "decoding step counted from 0; step 0 has read only the prompt"),
)
"""Keys of a trace of decoding."""

TEMPERATURE = Column(
    "temperature", FLOAT, "T of softmax(z/T); NULL where a statistic does not depend on T", True
)

ANSWER = (
    Column("prompt", TEXT, "prompt id in config"),
    Column("kind", TEXT, "multiple_choice, arithmetic or open_ended"),
    Column("text", TEXT, "the prompt before the chat template"),
    Column("rendered", TEXT, "the prompt as the model reads it, with special tokens"),
    Column("sampling_temperature", FLOAT, "temperature of the decoding; 0 is greedy"),
    Column("prompt_token_ids", IDS, "tokens of the prompt as the model reads it"),
    Column("answer_token_ids", IDS, "the tokens of the answer, including the end of text"),
    Column("answer_text", TEXT, "the answer as text, without special tokens"),
    Column("stopped", BOOL, "True if the answer ended with an end-of-text token"),
)
"""Columns of an answer of the dense model to a prompt."""
