"""The names that tests use of a program are found in the text of the tests."""

import pytest

from prunescope.sandbox.tested_names import names_of

CHECK = "def check(candidate):\n    assert {}\ncheck({})\n"


@pytest.mark.parametrize(
    ("tests", "program", "helpers", "modules"),
    [
        ("assert total([1]) == 1", ["total"], [], []),
        ("assert set(pairs([1])) == set((1,))", ["pairs"], [], []),
        ("assert all(total([n]) == n for n in range(3))", ["total"], [], []),
        ("assert longest([Pair(1, 2)]) == 1", ["Pair", "longest"], [], []),
        ("import math\nassert math.isclose(root(4), 2)", ["root"], [], []),
        ("assert math.isclose(root(4), 2)", ["root"], [], ["math"]),
        ("assert calendar(1) == 2", ["calendar"], [], []),
        ("assert sum(10, 15) == int(6)", ["sum"], [], []),
        (CHECK.format("candidate([1]) == 1", "total"), ["total"], [], []),
        (CHECK.format("candidate(encode('a')) == 'a'", "decode"), ["decode"], ["encode"], []),
        (CHECK.format("math.fabs(poly(candidate())) < 1", "zero"), ["zero"], ["poly"], ["math"]),
        ("def test():\n    assert total([1]) == 1\ntest()", ["total"], [], []),
        ("", [], [], []),
    ],
)
def test_names_are_grouped_by_their_origin(tests, program, helpers, modules):
    assert names_of(tests) == (program, helpers, modules)


def test_tests_that_are_not_python_are_an_error():
    with pytest.raises(SyntaxError):
        names_of("assert (")
