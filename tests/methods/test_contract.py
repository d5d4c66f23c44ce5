"""What every method promises, whichever it is: found by file name, documented, honest."""

import ast
import inspect

import pytest

from prunescope import methods
from prunescope.schemas import TABLES

KNOWN = {"model", "calibration", *TABLES}


@pytest.mark.parametrize("name", methods.names())
def test_signature_says_what_is_read_and_what_config_may_set(name):
    """Positional parameters are artifacts; all settings are keyword-only."""
    signature = inspect.signature(methods.load(name))
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert set(methods.reads(name)) <= KNOWN
    assert not set(methods.settings(name)) & set(methods.reads(name))


@pytest.mark.parametrize("name", methods.names())
def test_method_is_one_public_function_with_a_docstring(name):
    """The module says what it does; `compress` says how."""
    module = inspect.getmodule(methods.load(name))
    tree = ast.parse(inspect.getsource(module))
    public = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    assert public == ["compress"]
    assert module.__doc__
    assert methods.load(name).__doc__


def test_unknown_method_names_the_known_ones():
    """And does not import anything."""
    with pytest.raises(ValueError, match="there are block_drop, identity"):
        methods.load("magic")
