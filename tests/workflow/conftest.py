"""One tiny run from nothing, shared by every test that looks at what it left."""

import pytest

from tiny_run import TINY, Checkout, make_inputs


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A checkout in which tests/config.tiny.yaml has run once, to its report."""
    checkout = Checkout(tmp_path_factory.mktemp("tiny") / "prunescope")
    make_inputs(checkout.folder / "store/tiny-inputs")
    run = checkout.snakemake("--cores", "2", *TINY)
    assert run.returncode == 0, run.stdout + run.stderr
    return checkout
