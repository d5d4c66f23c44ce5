"""Which names tests take from the program that they test, read off the tests' text.

Tests of HumanEval and MBPP are code that names things it does not define: the function under
test, and now and then a helper that the prompt defines or a module that the prompt imports. Only
the function under test may be the program's own. A program that could also put its own `set`,
`math` or helper into the tests would pass by them. So a name of `builtins` stays what it is unless
the tests have nothing else to test, a name that is only read for attributes and is a module's in
the standard library is imported, and a name that occurs only inside the tests' functions, beside
another that occurs outside, is a helper: it is taken from the text above the function under test.
"""

import ast
import builtins
import symtable
import sys
from typing import NamedTuple

_COMPREHENSIONS = frozenset({"genexpr", "listcomp", "setcomp", "dictcomp", "lambda"})
"""Scopes that are not functions of their own for a reader."""


class TestedNames(NamedTuple):
    """What tests name and do not define, by where it comes from; each sorted."""

    program: list[str]
    """The function under test, and whatever else is used beside it."""
    helpers: list[str]
    """Defined above the function under test."""
    modules: list[str]
    """Modules of the standard library."""


def names_of(tests: str) -> TestedNames:
    """Names that tests use and do not define.

    Raises
    ------
    SyntaxError
        if the tests are not Python.
    """
    table = symtable.symtable(tests, "<tests>", "exec")
    tree = ast.parse(tests)
    defined = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
    }
    outside = _used(table, inside=False) - defined
    inside = _used(table, inside=True) - defined - outside
    modules = _modules(tree) & (outside | inside)
    built_in = set(dir(builtins))
    program = outside - modules - built_in
    helpers = inside - modules - built_in
    if not program:
        program, helpers = helpers, set()
    if not program:
        program = _first_of(tree, outside - modules)
    return TestedNames(sorted(program), sorted(helpers), sorted(modules))


def _used(table: symtable.SymbolTable, *, inside: bool) -> set[str]:
    """Global names that a scope reads, outside of its functions and classes or inside them."""
    used: set[str] = set()
    if not inside:
        used |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_referenced() and symbol.is_global()
        }
    for child in table.get_children():
        if child.get_name() in _COMPREHENSIONS:
            used |= _used(child, inside=inside)
        elif inside:
            used |= _used(child, inside=False) | _used(child, inside=True)
    return used


def _modules(tree: ast.Module) -> set[str]:
    """Names of modules of the standard library that are used for their attributes only."""
    bases = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    otherwise = {node.id for node in names if node not in bases}
    return ({node.id for node in names} - otherwise) & sys.stdlib_module_names


def _first_of(tree: ast.Module, names: set[str]) -> set[str]:
    """The one of the names that stands first in the text, as a set; empty if none does."""
    places = [
        (node.lineno, node.col_offset, node.id)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in names
    ]
    return {min(places)[2]} if places else set()
