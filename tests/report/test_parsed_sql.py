"""Queries are read by DuckDB's parser, so that names in text and comments do not count."""

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


def test_the_tables_of_a_query_are_found():
    assert set(parsed_sql.tables(SQL)) == {
        *("first", "second", "third", "fourth", "fifth", "sixth", "made")
    }


def test_the_parameters_of_a_query_are_found():
    assert parsed_sql.parameters(SQL) == ["block", "prompt"]


def test_numbers_compared_with_a_column_are_found():
    assert sorted(parsed_sql.numbers_equal_to("temperature", SQL)) == ["0.5", "1"]


def test_invalid_sql_is_refused():
    with pytest.raises(ValueError, match="syntax error"):
        parsed_sql.tables("SELECT FROM WHERE")
