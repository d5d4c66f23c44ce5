"""Where the folders of the repository are."""

from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]
ROOT = SCRIPTS.parent
REPORTS = ROOT / "reports"
RULES = ROOT / "rules"
