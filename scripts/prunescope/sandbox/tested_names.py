"""Find out from the text of tests which names they take from the program that they test.

Tests of HumanEval and MBPP are code that uses names without defining them: the function under test,
and sometimes a helper that the prompt defines or a module that the prompt imports. Only the
function under test may come from the program. A program that could also put its own `set`, `math`
or helper into the tests could use them to pass. Names are therefore classified as follows:

- A name of `builtins` keeps its meaning, unless the tests would otherwise test nothing.
- A name that is used only to read attributes of it, and that is the name of a module of the
  standard library, is that module.
- A name that occurs only inside functions of the tests, if another one occurs outside of them, is a
  helper. It is taken from the text of the program above the function under test.
- Any other name is the function under test or belongs to it.
"""

import ast
import builtins
import symtable
import sys
from typing import NamedTuple

_COMPREHENSIONS = frozenset({"genexpr", "listcomp", "setcomp", "dictcomp", "lambda"})
"""Scopes that count as part of the surrounding code, not as functions."""


class TestedNames(NamedTuple):
    """Names that tests use without defining them, by their origin; each list is sorted."""

    program: list[str]
    """The function under test, and other names used outside the functions of the tests."""
    helpers: list[str]
    """Functions defined above the function under test."""
    modules: list[str]
    """Modules of the standard library."""


def names_of(tests: str) -> TestedNames:
    """Classify the names that tests use without defining them.

    Raises
    ------
    SyntaxError
        if the tests are not valid Python.
    """
    table = symtable.symtable(tests, "<tests>", "exec")
    tree = ast.parse(tests)
    defined = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
    }
    read_outside = _names_read(table, in_functions=False) - defined
    read_inside = _names_read(table, in_functions=True) - defined - read_outside
    modules = _module_names(tree) & (read_outside | read_inside)
    built_in = set(dir(builtins))
    program = read_outside - modules - built_in
    helpers = read_inside - modules - built_in
    if not program:
        program, helpers = helpers, set()
    if not program:
        program = _first_named(tree, read_outside - modules)
    return TestedNames(sorted(program), sorted(helpers), sorted(modules))


def _names_read(table: symtable.SymbolTable, *, in_functions: bool) -> set[str]:
    """Global names that a scope reads, either inside or outside its functions and classes."""
    names: set[str] = set()
    if not in_functions:
        names |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_referenced() and symbol.is_global()
        }
    for child in table.get_children():
        if child.get_name() in _COMPREHENSIONS:
            names |= _names_read(child, in_functions=in_functions)
        elif in_functions:
            names |= _names_read(child, in_functions=False) | _names_read(child, in_functions=True)
    return names


def _module_names(tree: ast.Module) -> set[str]:
    """Names of standard library modules that are used only to read their attributes."""
    bases = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    used_otherwise = {node.id for node in names if node not in bases}
    return ({node.id for node in names} - used_otherwise) & sys.stdlib_module_names


def _first_named(tree: ast.Module, names: set[str]) -> set[str]:
    """The name among `names` that occurs first in the text, as a set; empty if none occurs."""
    occurrences = [
        (node.lineno, node.col_offset, node.id)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in names
    ]
    return {min(occurrences)[2]} if occurrences else set()
