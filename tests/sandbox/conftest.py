"""What tests of hostile programs share."""

import pytest

from prunescope.sandbox import starter
from prunescope.sandbox.starter import SandboxError


@pytest.fixture(scope="module")
def proven():
    """Nothing hostile runs before the sandbox has held; where none can be built, none of this."""
    try:
        starter.prove()
    except SandboxError as error:
        if "cannot be built here" not in str(error):
            raise
        pytest.skip(str(error))
