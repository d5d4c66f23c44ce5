"""Calibration sequences: the asked length, honest about where they come from, always decided."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from tiny_inputs import BEGIN
