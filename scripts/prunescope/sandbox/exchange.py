"""Both ends of the pipe between a program and its tests: a script, standard library only.

A program and its tests run in two sandboxes and share two pipes, nothing else. The program's end
(`serve`) loads the program and then answers requests: read a name of it, call what was read. The
end of the tests (`judge`) puts a `Remote` where the tests name something of the program, runs the
tests, and writes the verdict to a file that the program's sandbox never had. Nothing the program
does to its own interpreter, files or memory reaches the tests: it can only choose its answers.

Answers are data. A message is JSON; `pack` writes values into it and `unpack` builds them anew,
as exact built-in types and a few classes of the standard library. A list that claims to equal
everything arrives as the plain list of what it holds. What is no data (a function, a generator,
an instance of a class) stays where it is and arrives as a `Remote` with its number: one can call
it, iterate over it, read its items and attributes, but it equals nothing but itself.

Calls are by reference, as in one interpreter: containers that can change travel in a table with
one row per container, other values point into it, and the answer brings the rows back as they
are after the call. So a list sorted in place is sorted for the tests too, and two names of one
list stay two names of one list.

sandbox.py compiles this file and sends it to both ends.
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
"""Where a worker reads its task; the files that sandbox.py hands over follow it."""

MAX_MESSAGE_BYTES = 16 << 20
"""The longest message that the tests accept."""

GONE = "the program ended before its tests did"
"""The verdict on a program that gives no answer any more."""

Packed = Any
"""What JSON can hold."""

Inline = Callable[[Any], Packed]
"""Writes one value."""


class ServeTask(NamedTuple):
    """What the program's end is given. Files: 4 requests, 5 replies."""

    program: str
    above: list[str]
    """If there are names, only what stands above the first definition of any of them is run."""


class JudgeTask(NamedTuple):
    """What the tests' end is given. Files: 4 verdict, 5 and 6 to and from the program.

    If there are helpers, 7 and 8 lead to and from the program that holds them.
    """

    tests: str
    names: list[str]
    """What the tests take from the program."""
    helpers: list[str]
    """What they take from the text above the program's function, if it is there."""
    modules: list[str]
    """Modules of the standard library that they use without an import."""


class Fault(BaseException):
    """The program is gone or broke the protocol: no test can pass any more, whatever it catches."""


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
"""Values that can change, by the name they travel under; subclasses before their bases."""

_SCALARS = (int, float, str, bool, type(None))

_TYPES: dict[str, type] = {
    each.__name__: each
    for each in (
        *(object, type(None), bool, int, float, complex, str, bytes, bytearray),
        *(list, tuple, dict, set, frozenset, range),
    )
}
"""Types that a value may name."""

_LONG = 1 << 64
"""Longer numbers travel in base 16, for which Python has no limit of digits."""

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
"""Classes of the standard library that travel as data: their module and their arguments."""


def pack(values: list[Any], containers: list[Any], opaque: Inline) -> dict[str, Packed]:
    """Values, and every container they reach, for JSON.

    Parameters
    ----------
    values : anything.
    containers : rows of the table that exist already; new ones are appended.
    opaque : what to write for a value that is no data; it may raise TypeError.
    """
    rows = {id(container): row for row, container in enumerate(containers)}

    def inline(value: Any) -> Packed:
        if _container_kind(value) is None:
            return _pack_constant(value, inline, opaque)
        if id(value) not in rows:
            rows[id(value)] = len(containers)
            containers.append(value)
        return ["row", rows[id(value)]]

    packed = [inline(value) for value in values]
    table: list[Packed] = []
    while len(table) < len(containers):  # rows may append rows
        container = containers[len(table)]
        kind = _container_kind(container)
        table.append([kind, *(inline(item) for item in _contents(container))])
    return {"values": packed, "table": table}


def _container_kind(value: object) -> str | None:
    if type(value) in _SCALARS:  # most values: a short cut
        return None
    return next((kind for kind, of in _CONTAINERS.items() if isinstance(value, of)), None)


def _contents(container: Any) -> Iterator[Any]:
    """Items of a container by its built-in base, keys and values in turn."""
    if isinstance(container, dict):
        return (part for pair in dict.items(container) for part in pair)
    base = next(of for of in _CONTAINERS.values() if isinstance(container, of))
    return iter(base.__iter__(container))  # type: ignore[attr-defined]


def _pack_constant(value: Any, inline: Inline, opaque: Inline) -> Packed:
    """A value that cannot change, by its built-in base."""
    for base, write in _CONSTANTS:
        if isinstance(value, base):
            return write(value, inline)
    if isinstance(value, type) and _TYPES.get(value.__name__) is value:
        return ["type", value.__name__]
    return _pack_library(value) or opaque(value)


def _pack_int(value: int, _: Inline) -> Packed:
    number = int.__add__(value, 0)
    return number if abs(number) < _LONG else ["int", hex(number)]


_CONSTANTS: tuple[tuple[type, Callable[[Any, Inline], Packed]], ...] = (
    (type(None), lambda value, inline: None),
    (bool, lambda value, inline: value),
    (int, _pack_int),
    (float, lambda value, inline: float.__mul__(value, 1.0)),
    (str, lambda value, inline: str.__str__(value)),
    (complex, lambda value, inline: ["complex", value.real, value.imag]),
    (bytes, lambda value, inline: ["bytes", bytes.decode(value, "latin-1")]),
    (tuple, lambda value, inline: ["tuple", *map(inline, tuple.__iter__(value))]),
    (frozenset, lambda value, inline: ["frozenset", *map(inline, frozenset.__iter__(value))]),
    (range, lambda value, inline: ["range", *map(inline, (value.start, value.stop, value.step))]),
)
"""How a value of each built-in type that cannot change is written; `bool` before `int`."""


def _pack_library(value: Any) -> Packed:
    """Arguments of a value of the standard library; None for any other, or with a time zone."""
    name = type(value).__qualname__
    module, arguments = _LIBRARY.get(name, ("", None))
    if arguments is None or type(value).__module__ != module or getattr(value, "tzinfo", None):
        return None
    return ["library", name, *arguments(value)]


def unpack(
    message: dict[str, Packed], containers: list[Any], known: Callable[[int], object]
) -> list[Any]:
    """The values of a message, built anew; what is not of `pack`'s form raises an error.

    Parameters
    ----------
    message : what `pack` returned on the other side.
    containers : rows of the table that exist here; they take the contents of the message.
    known : the object of a number, as the other side's `opaque` gave it.
    """
    table = message["table"]
    for row, (kind, *_) in enumerate(table):
        if row == len(containers):
            containers.append(_CONTAINERS[kind]())
        elif _container_kind(containers[row]) != kind:
            raise ValueError(f"a {kind} in place of another container")

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
        raise ValueError("arguments that are neither numbers nor text")
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
    """Messages to and from the other end: eight bytes of length, then JSON."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading: BinaryIO = os.fdopen(reading, "rb")
        self._writing: BinaryIO = os.fdopen(writing, "wb")

    def send(self, message: dict[str, Packed]) -> None:
        """Write one message. Raises OSError if the other end is gone."""
        text = json.dumps(message).encode()
        self._writing.write(len(text).to_bytes(8, "big") + text)
        self._writing.flush()

    def receive(self, most: int | None = None) -> Any:
        """Read one message; raises EOFError if there is none, ValueError beyond `most` bytes."""
        length = int.from_bytes(self._exactly(8), "big")
        if most is not None and length > most:
            raise ValueError(f"an answer of more than {most >> 20} MB")
        return json.loads(self._exactly(length))

    def _exactly(self, length: int) -> bytes:
        read = self._reading.read(length)
        if len(read) < length:
            raise EOFError
        return read


# --- the end of the program -------------------------------------------------------------------


class Objects:
    """Objects of the program that the tests know by number; number 0 is its module."""

    def __init__(self, module: types.ModuleType) -> None:
        self._objects: list[Any] = [module]
        self._numbers = {id(module): 0}

    def number(self, value: object) -> Packed:
        """The form of an object that is no data."""
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return ["object", self._numbers[id(value)]]

    def answer(self, request: dict[str, Packed]) -> dict[str, Packed]:
        """What the request asks for, or the error it raised, with its containers afterwards."""
        containers: list[Any] = []
        verb = _VERBS[request["verb"]]
        values = unpack(request, containers, self._objects.__getitem__)
        try:
            return pack([verb(*values)], containers, self.number)
        except BaseException as error:
            return {**pack([], containers, self.number), "raised": describe(error)}


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], named: tuple[Any, ...]) -> Any:
    return function(*arguments, **dict(named))


def _next(iterator: Iterator[Any]) -> tuple[Any, ...]:
    """The next item as a tuple of one; empty at the end."""
    for item in iterator:
        return (item,)
    return ()


_VERBS: dict[str, Callable[..., Any]] = {
    "call": _call,
    "iter": iter,
    "next": _next,
    "len": len,
    "bool": bool,
    "item": operator.getitem,
    "attribute": getattr,
    "set attribute": setattr,
}


def describe(error: BaseException) -> dict[str, Packed]:
    """An error in words, and the names of the built-in classes it is an instance of."""
    try:
        text = str(error)[:1000]
    except BaseException:
        text = ""
    bases = [base.__name__ for base in type(error).__mro__ if base.__module__ == "builtins"]
    return {"name": type(error).__name__, "text": text, "bases": bases}


def serve(task: ServeTask) -> NoReturn:
    """Load the program, then answer until the tests are done."""
    process = os.getpid()
    pipe = Pipe(4, 5)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    objects = Objects(module)
    reply = _loaded(task, module)
    while os.getpid() == process:  # not a process it forked
        pipe.send(reply)
        try:
            request = pipe.receive()
        except EOFError:
            break
        reply = objects.answer(request)
    os._exit(0)


def _loaded(task: ServeTask, module: types.ModuleType) -> dict[str, Packed]:
    """Run the program's text; the error it raised, if any."""
    try:
        code = above(task.program, task.above) if task.above else task.program
        exec(compile(code, "<program>", "exec"), module.__dict__)  # noqa: S102
    except BaseException as error:
        return {"raised": describe(error)}
    return {}


def above(program: str, names: list[str]) -> str:
    """Text above the first line that defines any of the names at the top level; else nothing."""
    import ast

    tree = ast.parse(program)
    for line in tree.body:
        if getattr(line, "name", None) in names:
            decorators = [each.lineno for each in getattr(line, "decorator_list", [])]
            first = min([line.lineno, *decorators])
            return "\n".join(program.splitlines()[: first - 1])
    return ""


# --- the end of the tests ---------------------------------------------------------------------

_ERRORS: dict[str, type[Exception]] = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type)
    and issubclass(value, Exception)
    and not issubclass(value, (StopIteration, StopAsyncIteration, ExceptionGroup))
}
"""Errors that reach the tests as what they are; the end of an iteration would end theirs."""


class Peer:
    """A program as its tests see it: every question is a message, every answer data."""

    def __init__(self, reading: int, writing: int) -> None:
        self._pipe = Pipe(reading, writing)
        self._remotes: dict[int, Remote] = {}
        self.fault: str = ""
        """Why no test can pass any more; empty while all is well."""

    def loaded(self) -> str:
        """Wait until the program is loaded; the error it raised, or nothing."""
        reply = self._receive()
        return _said(reply["raised"]) if "raised" in reply else ""

    def ask(self, verb: str, *values: Any) -> Any:
        """One question. Raises what the program raised, or Fault if it gave no answer."""
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
            error = _error(reply["raised"]) if "raised" in reply else None
            (answer,) = built or [None]
        except Exception as failure:  # the program chose every byte of it
            self._give_up(f"the program's answer cannot be read: {failure}")
        if error is None:
            return answer
        if isinstance(error, Fault):
            self._give_up(str(error))
        raise error

    def names(self, names: list[str]) -> dict[str, Any]:
        """Those of the names that the program defines, with what they stand for here."""
        there = {}
        for name in names:
            try:
                there[name] = self.ask("attribute", self._remote(0), name)
            except AttributeError:
                continue
        return there

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
        raise TypeError(f"a {type(value).__name__} cannot be handed to the program: it is no data")


class Remote:
    """An object that stays with the program. It equals nothing but itself."""

    __slots__ = ("_number", "_peer")
    _number: int
    _peer: Peer

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it where it is; raises what it raised."""
        return self._peer.ask("call", self, arguments, tuple(named.items()))

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


def _said(raised: dict[str, Packed]) -> str:
    """An error of the program in words, never empty."""
    name, text = str(raised.get("name")), str(raised.get("text"))
    return f"{name or 'an error without a name'}: {text}".removesuffix(": ")


def _error(raised: dict[str, Packed]) -> BaseException:
    """An error of the program as one of the tests' own classes; Fault if it would end them."""
    if "Exception" not in raised["bases"]:
        return Fault(_said(raised))
    kind = next(_ERRORS[base] for base in raised["bases"] if base in _ERRORS)
    text = str(raised["text"]) if kind.__name__ == raised["name"] else _said(raised)
    try:
        return kind(text)
    except TypeError:  # UnicodeError's subclasses take five arguments
        return ValueError(_said(raised))


def judge(task: JudgeTask) -> NoReturn:
    """Run the tests against the program and write the verdict."""
    reason = verdict(task)
    with os.fdopen(4, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump({"passed": reason is None, "reason": (reason or "")[:1000]}, file)
    os._exit(0)


def verdict(task: JudgeTask) -> str | None:
    """Why the program is wrong; None if it is right."""
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
        ended = isinstance(error, SystemExit) and not error.code  # as unittest.main does
        reason = None if ended else _said(describe(error))
    else:
        reason = None
    faults = [peer.fault for peer in peers if peer.fault]
    return faults[0] if faults else reason


def main() -> NoReturn:
    """Be the end that the task describes."""
    with os.fdopen(TASK_FILE, "rb") as file:
        task = json.loads(file.read())
    if "tests" in task:
        judge(JudgeTask(**task))
    serve(ServeTask(**task))


if __name__ == "__main__":
    main()
