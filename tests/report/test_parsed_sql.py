"""Queries are read by DuckDB's parser: text and comments of a query are no names."""

import pytest

from prunescope.report import parsed_sql

SQL = """
-- FROM comment JOIN remark, $none, temperature = 9
CREATE TEMP VIEW made AS
SELECT 'é FROM word' AS w, $block AS b FROM first LEFT JOIN second USING (k);
WITH own AS (FROM third)
SELECT *, (SELECT max(x) FROM fourth) FROM own, made, s.sixth
WHERE w = $prompt AND t.temperature = 1
UNION ALL
SELECT 'temperature = 3', x FROM fifth WHERE 0.5 = temperature AND sampling_temperature = 2;
CREATE MACRO double(x) AS x * 2;
"""


def test_tables_are_those_that_are_read():
    assert set(parsed_sql.tables(SQL)) == {
        *("first", "second", "third", "fourth", "fifth", "sixth", "made")
    }


def test_parameters_are_those_that_are_asked():
    assert parsed_sql.parameters(SQL) == ["block", "prompt"]


def test_numbers_a_column_is_held_against():
    assert sorted(parsed_sql.numbers_equal_to("temperature", SQL)) == ["0.5", "1"]


def test_what_is_no_sql_is_refused():
    with pytest.raises(ValueError, match="syntax error"):
        parsed_sql.tables("SELECT FROM WHERE")
