"""Tiny random decoders, one per architecture; real weights where a test asks for them."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny import ARCHITECTURES, tiny_model

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # a core is another worker's


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> Any:
    """A tiny float64 decoder of every architecture in turn."""
    return tiny_model(request.param).double()


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of random tensors."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of pip's package index."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tiny run first: it takes longest, and other workers go through the rest meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_tiny_run.py")
