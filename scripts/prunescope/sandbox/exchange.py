"""Both ends of the pipe between a program and its tests; standard library only.

A program and its tests run in separate sandboxes that share two pipes and nothing else. The
program's end (`serve`) loads the program and then answers requests, such as to read a name of the
program or to call a function. The tests' end (`judge`) puts a `Remote` in place of each name that
the tests take from the program, runs the tests, and writes the verdict to a file that was never
open in the program's sandbox. Whatever the program does to its own interpreter, files or memory
does not reach the tests: it can only choose its answers.

Answers are data. A message is JSON; `pack` writes values into it, and `unpack` rebuilds them as
exact built-in types and a few classes of the standard library. A list whose class claims that it
equals everything thus arrives as an ordinary list of its items. Objects that are not data (a
function, a generator, an instance of a class) stay with the program. They are numbered and arrive
as a `Remote` with that number, which the tests can call, iterate over and read items and attributes
of, but which equals only itself.

Calls are by reference, as within one interpreter. Mutable containers are sent in a table with one
row per container, and values refer to its rows. The answer contains the rows as they are after the
call, and the caller's containers are updated from them. A list that the program sorts in place is
therefore sorted for the tests too, and two references to one list remain references to one list.

starter.py compiles this file and sends it to both sandboxes, so it must not import prunescope.
"""

import builtins
import collections
import importlib
import json
import operator
import os
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, NoReturn

TASK_FILE = 3
"""File descriptor from which a worker reads its task; those handed over by starter.py follow it."""

MAX_MESSAGE_BYTES = 16 << 20
"""The longest message that the tests accept from a program."""

GONE = "the program ended before its tests did"
"""The reason given if a program no longer answers."""

Packed = Any
"""A value that JSON can represent."""

Writer = Callable[[Any], Packed]
"""A function that turns one value into its JSON representation."""


class ServeTask(NamedTuple):
    """The task of the program's end. File descriptor 4 brings requests, 5 takes replies."""

    program: str
    above: list[str]
    """If not empty, only the text above the first definition of any of these names is run."""


class JudgeTask(NamedTuple):
    """The task of the tests' end.

    File descriptor 4 takes the verdict; 5 and 6 lead to and from the program. If there are helpers,
    7 and 8 lead to and from the sandbox that holds them.
    """

    tests: str
    names: list[str]
    """Names that the tests take from the program."""
    helpers: list[str]
    """Names that they take from the text above the function under test, if it defines them."""
    modules: list[str]
    """Modules of the standard library that they use without importing them."""


class Fault(BaseException):
    """The program has ended or violated the protocol: no test can pass, whatever it catches."""


# --- values as data ---------------------------------------------------------------------------

_CONTAINERS: dict[str, type] = {
    "list": list,
    "Counter": collections.Counter,
    "OrderedDict": collections.OrderedDict,
    "dict": dict,
    "set": set,
    "bytearray": bytearray,
    "deque": collections.deque,
}
"""Mutable types by their names in messages; subclasses stand before their bases."""

_SCALARS = (int, float, str, bool, type(None))

_TYPES: dict[str, type] = {
    built_in.__name__: built_in
    for built_in in (
        *(object, type(None), bool, int, float, complex, str, bytes, bytearray),
        *(list, tuple, dict, set, frozenset, range),
    )
}
"""Types that can themselves be values."""

_MAX_JSON_INTEGER = 1 << 64
"""Larger integers are sent in base 16, for which Python does not limit the number of digits."""

_LIBRARY: dict[str, tuple[str, Callable[[Any], list[Any]]]] = {
    "Fraction": ("fractions", lambda v: [hex(v.numerator), hex(v.denominator)]),
    "Decimal": ("decimal", lambda v: [str(v)]),
    "date": ("datetime", lambda v: [v.year, v.month, v.day]),
    "timedelta": ("datetime", lambda v: [v.days, v.seconds, v.microseconds]),
    "time": ("datetime", lambda v: [v.hour, v.minute, v.second, v.microsecond]),
    "datetime": (
        "datetime",
        lambda v: [v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond],
    ),
}
"""Classes of the standard library that are sent as data: their module and constructor arguments."""


def pack(values: list[Any], containers: list[Any], opaque: Writer) -> dict[str, Packed]:
    """Write values, and every container that they refer to, as a JSON message.

    Parameters
    ----------
    values : any objects.
    containers : the container of each row of the table so far; new ones are appended.
    opaque : writes a value that is not data, or raises TypeError.
    """
    row_of = {id(container): row for row, container in enumerate(containers)}

    def write(value: Any) -> Packed:
        if _container_kind(value) is None:
            return _pack_constant(value, write, opaque)
        if id(value) not in row_of:
            row_of[id(value)] = len(containers)
            containers.append(value)
        return ["row", row_of[id(value)]]

    packed = [write(value) for value in values]
    table: list[Packed] = []
    while len(table) < len(containers):  # writing a row may append further rows
        container = containers[len(table)]
        kind = _container_kind(container)
        table.append([kind, *(write(item) for item in _flat_items(container))])
    return {"values": packed, "table": table}


def _container_kind(value: object) -> str | None:
    if type(value) in _SCALARS:  # a shortcut for most values
        return None
    return next(
        (kind for kind, container_type in _CONTAINERS.items() if isinstance(value, container_type)),
        None,
    )


def _flat_items(container: Any) -> Iterator[Any]:
    """Items of a container by its built-in base class; of a dict, keys and values in turn."""
    if isinstance(container, dict):
        return (part for pair in dict.items(container) for part in pair)
    base = next(
        container_type
        for container_type in _CONTAINERS.values()
        if isinstance(container, container_type)
    )
    return iter(base.__iter__(container))  # type: ignore[attr-defined]


def _pack_constant(value: Any, write: Writer, opaque: Writer) -> Packed:
    """Write an immutable value as its built-in base class gives it."""
    for base, write_constant in _CONSTANTS:
        if isinstance(value, base):
            return write_constant(value, write)
    if isinstance(value, type) and _TYPES.get(value.__name__) is value:
        return ["type", value.__name__]
    return _pack_library(value) or opaque(value)


def _pack_int(value: int, _: Writer) -> Packed:
    plain_value = int.__add__(value, 0)
    return plain_value if abs(plain_value) < _MAX_JSON_INTEGER else ["int", hex(plain_value)]


_CONSTANTS: tuple[tuple[type, Callable[[Any, Writer], Packed]], ...] = (
    (type(None), lambda value, write: None),
    (bool, lambda value, write: value),
    (int, _pack_int),
    (float, lambda value, write: float.__mul__(value, 1.0)),
    (str, lambda value, write: str.__str__(value)),
    (complex, lambda value, write: ["complex", value.real, value.imag]),
    (bytes, lambda value, write: ["bytes", bytes.decode(value, "latin-1")]),
    (tuple, lambda value, write: ["tuple", *map(write, tuple.__iter__(value))]),
    (frozenset, lambda value, write: ["frozenset", *map(write, frozenset.__iter__(value))]),
    (range, lambda value, write: ["range", *map(write, (value.start, value.stop, value.step))]),
)
"""Writer of each immutable built-in type; `bool` stands before `int`, its base."""


def _pack_library(value: Any) -> Packed:
    """Write a value of a class in `_LIBRARY`; None for other classes and times with a time zone."""
    name = type(value).__qualname__
    module, arguments = _LIBRARY.get(name, ("", None))
    if arguments is None or type(value).__module__ != module or getattr(value, "tzinfo", None):
        return None
    return ["library", name, *arguments(value)]


def unpack(
    message: dict[str, Packed], containers: list[Any], known: Callable[[int], object]
) -> list[Any]:
    """Rebuild the values of a message; raises an error if `pack` cannot have written the message.

    Parameters
    ----------
    message : what `pack` returned on the other side.
    containers : the existing container of each row; their contents are replaced by those of the
        message, and containers of new rows are appended.
    known : returns the object of a number, given the number that the other side's `opaque` wrote.
    """
    table = message["table"]
    for row, (kind, *_) in enumerate(table):
        if row == len(containers):
            containers.append(_CONTAINERS[kind]())
        elif _container_kind(containers[row]) != kind:
            raise ValueError(f"a {kind} in place of a container of another type")

    def build(part: Packed) -> Any:
        if type(part) in _SCALARS:
            return part
        kind, *rest = part
        return _BUILD[kind](rest, build, containers, known)

    contents = [[build(part) for part in parts] for _, *parts in table]
    for container, items in zip(containers, contents, strict=False):
        _refill(container, items)
    return [build(part) for part in message["values"]]


def _refill(container: Any, items: list[Any]) -> None:
    container.clear()
    if isinstance(container, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            container[key] = value
    elif isinstance(container, set):
        container.update(items)
    else:
        container.extend(items)


def _build_library(rest: list[Any]) -> Any:
    name, *arguments = rest
    if not all(type(argument) in (int, str) for argument in arguments):
        raise ValueError("an argument is neither a number nor text")
    module, _ = _LIBRARY[name]
    if name == "Fraction":
        arguments = [int(argument, 16) for argument in arguments]
    return getattr(importlib.import_module(module), name)(*arguments)


_BUILD: dict[str, Callable[[list[Any], Callable[[Packed], Any], list[Any], Any], Any]] = {
    "row": lambda rest, build, containers, known: containers[operator.index(rest[0])],
    "int": lambda rest, build, containers, known: int(rest[0], 16),
    "complex": lambda rest, build, containers, known: complex(float(rest[0]), float(rest[1])),
    "bytes": lambda rest, build, containers, known: rest[0].encode("latin-1"),
    "tuple": lambda rest, build, containers, known: tuple(build(part) for part in rest),
    "frozenset": lambda rest, build, containers, known: frozenset(build(part) for part in rest),
    "range": lambda rest, build, containers, known: range(*(build(part) for part in rest)),
    "type": lambda rest, build, containers, known: _TYPES[rest[0]],
    "library": lambda rest, build, containers, known: _build_library(rest),
    "object": lambda rest, build, containers, known: known(operator.index(rest[0])),
}


class Pipe:
    """Sends and receives messages: eight bytes of length, then JSON."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading: BinaryIO = os.fdopen(reading, "rb")
        self._writing: BinaryIO = os.fdopen(writing, "wb")

    def send(self, message: dict[str, Packed]) -> None:
        """Write one message. Raises OSError if the other end is closed."""
        text = json.dumps(message).encode()
        self._writing.write(len(text).to_bytes(8, "big") + text)
        self._writing.flush()

    def receive(self, max_bytes: int | None = None) -> Any:
        """Read one message.

        Raises EOFError if there is none, and ValueError if it has more than `max_bytes` bytes.
        """
        length = int.from_bytes(self._exactly(8), "big")
        if max_bytes is not None and length > max_bytes:
            raise ValueError(f"it has more than {max_bytes >> 20} MB")
        return json.loads(self._exactly(length))

    def _exactly(self, length: int) -> bytes:
        content = self._reading.read(length)
        if len(content) < length:
            raise EOFError
        return content


# --- the program's end ------------------------------------------------------------------------


class Objects:
    """Objects of the program to which the tests refer by number; number 0 is its module."""

    def __init__(self, module: types.ModuleType) -> None:
        self._objects: list[Any] = [module]
        self._numbers = {id(module): 0}

    def number(self, value: object) -> Packed:
        """Write an object that is not data, giving it a number if it has none."""
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return ["object", self._numbers[id(value)]]

    def answer(self, request: dict[str, Packed]) -> dict[str, Packed]:
        """Carry out a request; returns its result or error, and the containers afterwards."""
        containers: list[Any] = []
        verb = _VERBS[request["verb"]]
        values = unpack(request, containers, self._objects.__getitem__)
        try:
            return pack([verb(*values)], containers, self.number)
        except BaseException as error:
            return {**pack([], containers, self.number), "raised": describe(error)}


def _call(
    function: Callable[..., Any], arguments: tuple[Any, ...], keywords: tuple[Any, ...]
) -> Any:
    return function(*arguments, **dict(keywords))


def _next_item(iterator: Iterator[Any]) -> tuple[Any, ...]:
    """The next item as a tuple of one; an empty tuple at the end."""
    for item in iterator:
        return (item,)
    return ()


_VERBS: dict[str, Callable[..., Any]] = {
    "call": _call,
    "iter": iter,
    "next": _next_item,
    "len": len,
    "bool": bool,
    "item": operator.getitem,
    "attribute": getattr,
    "set attribute": setattr,
}


def describe(error: BaseException) -> dict[str, Packed]:
    """An error's name and text, and the names of the built-in classes it is an instance of."""
    try:
        text = str(error)[:1000]
    except BaseException:
        text = ""
    bases = [base.__name__ for base in type(error).__mro__ if base.__module__ == "builtins"]
    return {"name": type(error).__name__, "text": text, "bases": bases}


def serve(task: ServeTask) -> NoReturn:
    """Load the program, then answer requests until the tests are done."""
    process = os.getpid()
    pipe = Pipe(4, 5)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    objects = Objects(module)
    reply = _load_program(task, module)
    while os.getpid() == process:  # not in a process that the program has forked
        pipe.send(reply)
        try:
            request = pipe.receive()
        except EOFError:
            break
        reply = objects.answer(request)
    os._exit(0)


def _load_program(task: ServeTask, module: types.ModuleType) -> dict[str, Packed]:
    """Run the text of the program; the reply contains the error that it raised, if any."""
    try:
        code = above(task.program, task.above) if task.above else task.program
        exec(compile(code, "<program>", "exec"), module.__dict__)  # noqa: S102
    except BaseException as error:
        return {"raised": describe(error)}
    return {}


def above(program: str, names: list[str]) -> str:
    """The text above the first top-level definition of any of the names; empty if there is none."""
    import ast

    tree = ast.parse(program)
    for statement in tree.body:
        if getattr(statement, "name", None) in names:
            decorators = [
                decorator.lineno for decorator in getattr(statement, "decorator_list", [])
            ]
            first_line = min([statement.lineno, *decorators])
            return "\n".join(program.splitlines()[: first_line - 1])
    return ""


# --- the tests' end ---------------------------------------------------------------------------

_ERRORS: dict[str, type[Exception]] = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type)
    and issubclass(value, Exception)
    and not issubclass(value, (StopIteration, StopAsyncIteration, ExceptionGroup))
}
"""Errors that are raised in the tests as the same class.

StopIteration is not among them, because it would end an iteration of the tests themselves.
"""


class Peer:
    """The program as the tests see it: every request is a message, and every answer is data."""

    def __init__(self, reading: int, writing: int) -> None:
        self._pipe = Pipe(reading, writing)
        self._remotes: dict[int, Remote] = {}
        self.fault: str = ""
        """Why no test can pass any more; empty as long as the program answers."""

    def loaded(self) -> str:
        """Wait until the program is loaded; returns the error that it raised, or an empty text."""
        reply = self._receive()
        return _describe_raised(reply["raised"]) if "raised" in reply else ""

    def ask(self, verb: str, *values: Any) -> Any:
        """Send a request and return the answer.

        Raises the error that the program raised, or Fault if it gave no valid answer.
        """
        if self.fault:
            raise Fault(self.fault)
        containers: list[Any] = []
        request = {"verb": verb, **pack(list(values), containers, self._number)}
        try:
            self._pipe.send(request)
        except OSError:
            self._give_up(GONE)
        reply = self._receive()
        try:
            built = unpack(reply, containers, self._remote)
            error = _rebuild_error(reply["raised"]) if "raised" in reply else None
            (answer,) = built or [None]
        except Exception as failure:  # any error, because the program chose every byte
            self._give_up(f"the program's answer cannot be read: {failure}")
        if error is None:
            return answer
        if isinstance(error, Fault):
            self._give_up(str(error))
        raise error

    def names(self, names: list[str]) -> dict[str, Any]:
        """Values of those names that the program defines."""
        defined = {}
        for name in names:
            try:
                defined[name] = self.ask("attribute", self._remote(0), name)
            except AttributeError:
                continue
        return defined

    def _receive(self) -> dict[str, Packed]:
        try:
            reply = self._pipe.receive(MAX_MESSAGE_BYTES)
        except EOFError:
            self._give_up(GONE)
        except (ValueError, MemoryError, RecursionError) as error:
            self._give_up(f"the program's answer cannot be read: {error}")
        if not isinstance(reply, dict):
            self._give_up("the program's answer cannot be read")
        return reply

    def _give_up(self, fault: str) -> NoReturn:
        self.fault = fault
        raise Fault(fault)

    def _remote(self, number: int) -> "Remote":
        return self._remotes.setdefault(number, Remote(self, number))

    def _number(self, value: object) -> Packed:
        if type(value) is Remote and value._peer is self:
            return ["object", value._number]
        raise TypeError(f"a {type(value).__name__} cannot be handed to the program: it is not data")


class Remote:
    """An object that stays with the program. It equals only itself."""

    __slots__ = ("_number", "_peer")
    _number: int
    _peer: Peer

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the object in the program; raises the error that it raised."""
        return self._peer.ask("call", self, arguments, tuple(keywords.items()))

    def __iter__(self) -> Iterator[Any]:
        iterator = self._peer.ask("iter", self)
        while item := self._peer.ask("next", iterator):
            yield item[0]

    def __len__(self) -> int:
        return operator.index(self._peer.ask("len", self))

    def __bool__(self) -> bool:
        return self._peer.ask("bool", self) is True

    def __getitem__(self, key: Any) -> Any:
        return self._peer.ask("item", self, key)

    def __getattr__(self, name: str) -> Any:
        return self._peer.ask("attribute", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._peer.ask("set attribute", self, name, value)


def _describe_raised(raised: dict[str, Packed]) -> str:
    """An error of the program in words; the text is never empty."""
    name, text = str(raised.get("name")), str(raised.get("text"))
    return f"{name or 'an error without a name'}: {text}".removesuffix(": ")


def _rebuild_error(raised: dict[str, Packed]) -> BaseException:
    """Rebuild an error of the program as the nearest built-in class.

    Errors that are not an Exception, such as SystemExit, would end the tests and become a Fault.
    """
    if "Exception" not in raised["bases"]:
        return Fault(_describe_raised(raised))
    error_class = next(_ERRORS[base] for base in raised["bases"] if base in _ERRORS)
    text = (
        str(raised["text"]) if error_class.__name__ == raised["name"] else _describe_raised(raised)
    )
    try:
        return error_class(text)
    except TypeError:  # UnicodeError's subclasses take five arguments
        return ValueError(_describe_raised(raised))


def judge(task: JudgeTask) -> NoReturn:
    """Run the tests against the program and write the verdict."""
    reason = verdict(task)
    with os.fdopen(4, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump({"passed": reason is None, "reason": (reason or "")[:1000]}, file)
    os._exit(0)


def verdict(task: JudgeTask) -> str | None:
    """Run the tests; returns why the program is wrong, or None if it is right."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    peers: list[Peer] = []
    try:
        peers.append(Peer(6, 5))
        if error := peers[0].loaded():
            return error
        names = peers[0].names(task.names + task.helpers)
        if task.helpers:
            peers.append(Peer(8, 7))
            if not peers[1].loaded():
                names |= peers[1].names(task.helpers)
        names |= {name: importlib.import_module(name) for name in task.modules}
        vars(module).update(names)
        exec(compile(task.tests, "<tests>", "exec"), vars(module))  # noqa: S102
    except BaseException as error:
        ended_by_itself = isinstance(error, SystemExit) and not error.code  # as unittest.main does
        reason = None if ended_by_itself else _describe_raised(describe(error))
    else:
        reason = None
    faults = [peer.fault for peer in peers if peer.fault]
    return faults[0] if faults else reason


def main() -> NoReturn:
    """Read the task and be the end that it describes."""
    with os.fdopen(TASK_FILE, "rb") as file:
        task = json.loads(file.read())
    if "tests" in task:
        judge(JudgeTask(**task))
    serve(ServeTask(**task))


if __name__ == "__main__":
    main()
