"""Right programs pass, and programs that fake success fail: verdicts depend on data alone."""

import collections
import copy
import datetime
import decimal
import fractions
import json
import math

import pytest

from prunescope.evaluation import code_eval
from prunescope.sandbox import exchange, starter

TESTS = "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n"
TESTS += "check(total)\n"
RIGHT = "def total(numbers):\n    return sum(numbers)\n"
WRONG = "def total(numbers):\n    return 7\n"


pytestmark = pytest.mark.usefixtures("proven")

ALWAYS = """
class Always({base}):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
def total(numbers): return Always()
"""

WRITE_EVERYWHERE = """
import json, os
said = json.dumps({"passed": True, "reason": ""}).encode()
for file in range(3, 64):
    for text in (said, len(said).to_bytes(8, "big") + said):
        try: os.write(file, text)
        except OSError: pass
"""

FRAMES = """
import gc, sys
frame = sys._getframe()
while frame:
    for names in (frame.f_locals, frame.f_globals):
        for name, value in list(names.items()):
            if isinstance(value, str) and ("assert" in value or len(value) == 32):
                answers = value
    frame = frame.f_back
for each in gc.get_objects():
    if isinstance(each, dict):
        for key in ("passed", "reason", "error", "verdict", "fault"):
            if key in each: each[key] = True
"""

FORGE = """
import json, os
def total(numbers):
    reply = json.dumps({reply}).encode()
    for _ in range(20): os.write(5, len(reply).to_bytes(8, "big") + reply)
    {end}
"""

FAKES = {
    "an exception without a name": "raise type('', (Exception,), {})",
    "an exception without a name, called": ("def total(numbers): raise type('', (Exception,), {})"),
    "an exception that cannot be described": (
        "class Odd(BaseException):\n"
        "    __str__ = None\n    __module__ = property(lambda self: 1 / 0)\n"
        "def total(numbers): raise Odd"
    ),
    "the end of an iteration": "def total(numbers): raise StopIteration",
    "a walk through frames and objects": FRAMES + WRONG,
    "a verdict written to every file": WRITE_EVERYWHERE + WRONG,
    "a verdict written, then an end": WRITE_EVERYWHERE + "os._exit(0)",
    "a patched os.write": (
        "import os\nown = os.write\n"
        "os.write = lambda file, text: own(file, text.replace(b'false', b'true'))\n" + WRONG
    ),
    "a patched json": "import json\njson.dumps = lambda *a, **k: '{\"passed\": true}'\n" + WRONG,
    "an always equal object": ALWAYS.format(base="object"),
    "an always equal int": ALWAYS.format(base="int"),
    "an always equal list": ALWAYS.format(base="list"),
    "an always equal string": ALWAYS.format(base="str"),
    "a class that claims to be int": (
        "class Claims:\n    __class__ = int\n    def __eq__(self, other): return True\n"
        "def total(numbers): return Claims()"
    ),
    "a metaclass that equals": (
        "class Meta(type):\n"
        "    def __eq__(self, other): return True\n"
        "    __hash__ = type.__hash__\n"
        "class Any(metaclass=Meta): pass\ndef total(numbers): return Any"
    ),
    "builtins patched": (
        "import builtins\nbuiltins.AssertionError = type('', (Exception,), {})\n"
        "builtins.exec = builtins.compile = lambda *a, **k: None\n" + WRONG
    ),
    "a check of its own": "def check(candidate): pass\n" + WRONG,
    "names of the tests in __main__": (
        "import sys\nsys.modules['__main__'].check = lambda candidate: None\n" + WRONG
    ),
    "a pass at exit": WRONG + ("import atexit, os\natexit.register(os._exit, 0)\nraise SystemExit"),
    "os._exit": "import os\nos._exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "sys.exit when called": "import sys\ndef total(numbers): sys.exit(0)",
    "os._exit when called": "import os\ndef total(numbers): os._exit(0)",
    "a thread that ends it": (
        "import os, threading, time\n"
        "def end():\n    time.sleep(0.05)\n    os._exit(0)\n"
        "threading.Thread(target=end).start()\n"
        "def total(numbers): time.sleep(1)"
    ),
    "a signal that ends it": (
        "import os, signal\nsignal.signal(signal.SIGALRM, lambda *a: os._exit(0))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05)\n"
        "def total(numbers):\n    while True: pass"
    ),
    "a trace function": (
        "import sys\nsys.settrace(lambda frame, what, value: sys.exit(0))\n" + WRONG
    ),
    "ctypes writes to files": (
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        'text = b\'{"passed": true, "reason": ""}\'\n'
        "for file in range(1, 64): libc.write(file, text, len(text))\n" + WRONG
    ),
    "files closed": "import os\nos.closerange(3, 64)\n" + RIGHT,
    "files closed when called": "import os\ndef total(numbers): os.closerange(3, 64)",
    "memory through /proc": "open('/proc/self/mem', 'r+b')\n" + RIGHT,
    "memory of its parent": (
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "assert libc.ptrace(16, 1, 0, 0) == 0, 'refused'\n" + RIGHT
    ),
    "a fork that answers": (
        "import os\ndef total(numbers):\n"
        "    if os.fork() == 0: return sum(numbers)\n    os._exit(0)"
    ),
    "a forked child that writes": (
        "import os\nif os.fork() == 0:\n"
        + "".join(f"    {line}\n" for line in WRITE_EVERYWHERE.splitlines())
        + "    os._exit(0)\n"
        + WRONG
    ),
    "the interpreter replaced": (
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'import os; os._exit(0)'])"
    ),
    "endless recursion": "def total(numbers): return total(numbers)",
    "huge output": "def total(numbers):\n    while True: print('x' * 1000)",
    "a print of its own": (
        "import builtins, os\nbuiltins.print = lambda *a, **k: os._exit(0)\n"
        "def total(numbers): print(numbers)"
    ),
    "forged replies": FORGE.format(reply={"values": [True], "table": []}, end="return 1"),
    "forged errors": FORGE.format(reply={"raised": {}}, end="return 1"),
    "a forged error whose bases are text": FORGE.format(
        reply={"values": [], "table": [], "raised": {"bases": "Exception", "name": "", "text": ""}},
        end="return 1",
    ),
    "forged numbers of objects": FORGE.format(
        reply={"values": [["object", 0]], "table": []}, end="return 1"
    ),
    "forged containers": FORGE.format(
        reply={"values": [["row", 0]], "table": [["dict", ["row", 0], 1]]}, end="return 1"
    ),
    "forged library values": FORGE.format(
        reply={"values": [["library", "system", "true"]], "table": []}, end="return 1"
    ),
    "replies that are no JSON": (
        "import os\ndef total(numbers):\n    os.write(5, bytes(7) + b'\\x05' + b'passe')\n"
    ),
    "a reply without an end": (
        "import os\ndef total(numbers):\n    os.write(5, b'\\xff' * 8)\n    os._exit(0)\n"
    ),
    "a deep reply": (
        "import os\ndef total(numbers):\n    text = b'[' * 100000\n"
        "    os.write(5, len(text).to_bytes(8, 'big') + text)\n"
    ),
    "an argument changed into the answer": (
        "def total(numbers):\n    numbers[:] = [3]\n    return numbers"
    ),
    "None for everything": "def total(numbers): return None",
    "total as a value": "total = 3",
    "a total that is a class": (
        "class total:\n    def __init__(self, numbers): pass\n"
        "    def __eq__(self, other): return True\n"
    ),
}


@pytest.mark.parametrize("program", FAKES.values(), ids=FAKES)
def test_a_program_that_fakes_success_is_wrong(program):
    outcome = starter.run(program, TESTS, starter.Limits(seconds=3.0))
    assert not outcome.passed
    assert outcome.reason


CATCHING = """
import unittest
class Tests(unittest.TestCase):
    def test(self):
        self.assertEqual(total([1, 2]), 3)
unittest.main()
"""
CLOSE = "import unittest\nassert unittest.TestCase().assertAlmostEqual(total([1, 2]), 3) is None"
ZIPPED = "for found, expected in zip(map(total, [[1], [2]]), [1, 2]): assert found == expected"
PATCHED = (
    "import unittest\n"
    "for name in dir(unittest.TestCase):\n"
    "    if name.startswith('assert'): setattr(unittest.TestCase, name, lambda *a, **k: None)\n"
    "unittest.main = lambda *a, **k: None\n"
)
SKIP = "import unittest\ndef total(numbers): raise unittest.SkipTest\n"


@pytest.mark.parametrize(
    ("program", "tests", "passed"),
    [
        (RIGHT, CATCHING, True),
        (RIGHT, CLOSE, True),
        (RIGHT, ZIPPED, True),
        (PATCHED + WRONG, CATCHING, False),
        (PATCHED + WRONG, CLOSE, False),
        (SKIP, CATCHING, False),
        ("def total(numbers): raise SystemExit(0)", CATCHING, False),
        ("import os\ndef total(numbers): os._exit(0)", CATCHING, False),
        ("def total(numbers): raise StopIteration", ZIPPED, False),
        ("def total(numbers): raise SystemExit", "try: total([])\nexcept BaseException: 1", False),
        ("import os\ndef total(n): os._exit(0)", "try: total([])\nexcept BaseException: 1", False),
        ("set = lambda _: 1\n" + WRONG, "assert set([total([1, 2])]) == set([3])", False),
        (
            "import math\nmath.isclose = lambda *_: True\n" + WRONG,
            "assert math.isclose(total([1, 2]), 3)",
            False,
        ),
        ("math = None\n" + RIGHT, "assert math.isclose(total([1, 2]), 3)", True),
        (
            "class math:\n    isclose = lambda *_: True\n" + WRONG,
            "assert math.isclose(total([1, 2]), 3)",
            False,
        ),
    ],
)
def test_tests_use_their_own_modules_and_builtins(program, tests, passed):
    """unittest, builtins, modules, and handlers that catch what the program raises."""
    assert starter.run(program, tests).passed == passed


HELPER = "def encode(text):\n    return text[::-1]\n\ndef decode(text):\n"
DECODE = "def check(candidate):\n    assert candidate(encode('abc')) == 'abc'\ncheck(decode)\n"


@pytest.mark.parametrize(
    ("body", "passed"),
    [
        ("    return text[::-1]\n", True),
        ("    return encode(text)\n", True),
        ("    return text\n", False),
        ("    return text\nencode = lambda text: text\n", False),
        ("    return text\ndef encode(text):\n    return text\n", False),
        ("    global encode\n    encode = lambda text: text\n    return text\n", False),
        ("    return text\nencode.__code__ = decode.__code__\n", False),
    ],
)
def test_programs_cannot_replace_helpers_of_the_prompt(body, passed):
    """HumanEval's decode_cyclic and find_zero are tested with a function of their prompts."""
    assert starter.run(HELPER + body, DECODE).passed == passed


RIGHT_PROGRAMS = """
def f(xs): xs.sort()
-----
xs = [3, 1, 2]
assert f(xs) is None
assert xs == [1, 2, 3]
=====
def f(xs): xs[0].append(2)
-----
x = [1]
f([x])
assert x == [1, 2]
=====
def f(d): d['b'] = d.pop('a')
-----
d = {'a': 1}
f(d)
assert d == {'b': 1}
=====
def f(xs): return xs
-----
xs = [1]
assert f(xs) is xs
=====
def f(xs):
    xs.clear()
    1 / 0
-----
xs = [1]
try: f(xs)
except ZeroDivisionError: 1
assert xs == []
=====
def f():
    x = []
    x.append(x)
    return x
-----
x = f()
assert x[0] is x
=====
def f(n):
    for i in range(n): yield i
-----
assert list(f(3)) == [0, 1, 2]
=====
def f(n): return map(str, range(n))
-----
assert sorted(f(2)) == ['0', '1']
=====
def f(n): return lambda m: n + m
-----
assert f(1)(2) == 3
=====
def f(n, *, m=0): return n + m
-----
assert f(1, m=2) == 3
=====
def f(t): return type(t)
-----
assert f(1) == int
assert f(f) != int
=====
def f(xs, t): return [x for x in xs if isinstance(x, t)]
-----
assert f([1, 'a'], str) == ['a']
=====
class P:
    def __init__(self, a): self.a = a
def f(ps): return sum(p.a for p in ps)
-----
assert f([P(1), P(2)]) == 3
=====
class P:
    def __init__(self, a): self.a = a
    def up(self): self.a += 1
-----
p = P(1)
p.up()
p.a = p.a * 2
assert p.a == 4
=====
from collections import Counter
def f(x): return Counter(x)
-----
assert f('aab') == {'a': 2, 'b': 1}
=====
from collections import namedtuple
def f(): return namedtuple('P', 'x y')(1, 2)
-----
assert f() == (1, 2)
=====
def f(x): raise KeyError(x)
-----
try: f(1)
except KeyError: done = True
assert done
=====
class E(ValueError): pass
def f(x): raise E(x)
-----
try: f(1)
except ValueError: done = True
assert done
=====
def f(): return float('nan'), -0.0, 0.1 + 0.2
-----
import math
a, b, c = f()
assert math.isnan(a) and math.copysign(1, b) < 0 and c == 0.1 + 0.2
=====
def f(n): return 7 ** n
-----
assert f(10000) == 7 ** 10000
=====
LIMIT = 5
-----
assert LIMIT == 5
=====
import atexit, sys
atexit.register(print, 1)
sys.stdout = None
def f(): return 1
-----
assert f() == 1
=====
def f(): return 1
if __name__ == '__main__': assert f() == 1
-----
assert f() == 1
=====
import dataclasses
@dataclasses.dataclass
class P:
    a: 'int'
def f(): return dataclasses.asdict(P(1))
-----
assert f() == {'a': 1}
"""
"""Programs, each with its tests below a line."""


@pytest.mark.parametrize("case", RIGHT_PROGRAMS.split("=====\n"))
def test_right_programs_pass(case):
    """Calls by reference, objects that stay with the program, errors, exact numbers."""
    program, tests = case.split("-----\n")
    assert starter.run(program, tests) == starter.Outcome(True, "")


def test_values_that_cannot_be_exchanged_are_reported():
    outcome = starter.run("def f(g): return g(1)", "assert f(lambda n: n) == 1")
    assert outcome.reason == (
        "TypeError: a function cannot be handed to the program: it is not data"
    )


def test_code_eval_decides_by_the_tests():
    scores, _ = code_eval.CodeEval().compute(
        references=[TESTS, TESTS], predictions=[[RIGHT], [FAKES["os._exit"]]], k=[1]
    )
    assert scores == {"pass@1": 0.5}


VALUES = [
    *(None, True, False, 0, -1, 2**63, -(7**5000), 0.1, -0.0, math.inf, 1e-320, 1 - 2j),
    *("", "é\ud800\n", b"\x00\xff", bytearray(b"a"), range(1, 9, 2), int, type(None), object),
    *(
        (),
        (1, (2, "x")),
        [],
        [[1], (2, [3])],
        {},
        {(1, 2): {"a": [None]}},
        {1, 2},
        frozenset((1, 2)),
    ),
    *(collections.Counter("aab"), collections.OrderedDict(b=1, a=2), collections.deque([1, [2]])),
    *(fractions.Fraction(-1, 3), decimal.Decimal("1.10"), datetime.date(2024, 2, 29)),
    *(datetime.datetime(2024, 1, 2, 3, 4, 5, 6), datetime.timedelta(-1, 2, 3), datetime.time(1, 2)),
]


def _sent(values, containers=()):
    """What arrives of the values, and the containers they arrived in."""

    def refuse(value):
        raise TypeError(type(value).__name__)

    arrived = list(containers)
    message = json.loads(json.dumps(exchange.pack(values, [], refuse)))
    return exchange.unpack(message, arrived, refuse), arrived


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_data_are_exchanged_unchanged(value):
    ((arrived,), _) = _sent([value])
    assert type(arrived) is type(value)
    assert repr(arrived) == repr(value)


def test_subclasses_arrive_as_their_built_in_base():
    class Text(str):
        __slots__ = ()

        def __str__(self):
            return "claimed"

    class Numbers(list):
        def __iter__(self):
            return iter([1, 2, 3])

    ((text, numbers), _) = _sent([Text("held"), Numbers([4])])
    assert (type(text), text) == (str, "held")
    assert (type(numbers), numbers) == (list, [4])


def test_shared_containers_remain_shared():
    shared = [1]
    ((first, second), _) = _sent([shared, {"a": shared}])
    assert second["a"] is first


def test_changes_are_written_back_to_the_original_containers():
    mine, nested = [1], {"a": 1}
    mine.append(nested)
    before = copy.deepcopy(mine)
    ((arrived,), _) = _sent([mine])
    assert arrived == before
    arrived[1]["a"] = 2
    ((back,), _) = _sent([arrived], [mine, nested])
    assert back is mine
    assert mine[1] is nested
    assert nested == {"a": 2}


@pytest.mark.parametrize(
    "message",
    [
        {"values": [["row", 3]], "table": []},
        {"values": [["nothing"]], "table": []},
        {"values": [["library", "Path", "/"]], "table": []},
        {"values": [["library", "Decimal", ["list"]]], "table": []},
        {"values": [["type", "Exception"]], "table": []},
        {"values": [1], "table": [["set", ["row", 0]]]},
        {"values": [1], "table": [["function"]]},
        {"values": [{}], "table": []},
    ],
)
def test_messages_that_pack_does_not_write_are_an_error(message):
    with pytest.raises((LookupError, TypeError, ValueError)):
        exchange.unpack(message, [], lambda number: None)
