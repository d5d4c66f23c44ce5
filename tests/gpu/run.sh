#!/usr/bin/env bash
# The library on a GPU, where one is, against float64 on the CPU; then blocks of Qwen2.5-7B's shape, timed.
#   tests/gpu/run.sh [--small]
# Needs torch, transformers, numba, pyarrow, safetensors and pytest, and nothing else of the project's
# environment. Without a GPU the same runs on the CPU; --small makes the blocks small enough for that.
# At most 8 minutes on an H100. The last lines are a Markdown table for docs/gpu.md.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
export PYTHONPATH=scripts:tests ON_DEVICE=1
python=${PYTHON:-python3}
failed=0
timeout 240 "$python" -m pytest -q --maxfail=20 -p no:cacheprovider tests/gpu/test_on_device.py || failed=$?
timeout 230 "$python" tests/gpu/measure_blocks.py "$@" || failed=$?
exit "$failed"
