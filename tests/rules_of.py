"""The rules as they stand in rules/*.smk, read without running Snakemake."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
INCLUDES = re.findall(r'^include: "(.+)"$', (ROOT / "Snakefile").read_text(), re.MULTILINE)


@dataclass(frozen=True)
class Rule:
    """One rule: where it stands and what it says."""

    name: str
    file: str
    text: str

    def value(self, directive):
        """First quoted text of a directive."""
        found = re.search(rf'^    {directive}:\s+"(.+?)"', self.text, re.MULTILINE)
        return found and found[1]

    @property
    def script(self):
        return Path(self.value("script")).name

    @property
    def env(self):
        return Path(self.value("conda")).name


def _rules(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    starts = re.split(r"^rule (\w+):$", text, flags=re.MULTILINE)[1:]
    for name, body in zip(starts[::2], starts[1::2], strict=True):
        yield Rule(name, file, re.split(r"^\S", body, maxsplit=1, flags=re.MULTILINE)[0])


RULES = [rule for file in INCLUDES for rule in _rules(file)]
"""Every rule of the stages, in the order data flows."""
