"""A headless Chromium that opens files with the network cut, if there is one."""

import re
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)

_REPORTED = re.compile(r"ERROR:CONSOLE|Uncaught|Refused to|violates the following")


class Opened:
    """A page as the browser shows it: its elements after all scripts, and the errors it reported.

    The window is so high that everything on the page counts as near the screen.
    """

    def __init__(self, file: Path, folder: Path, width: int = 1280, fragment: str = "") -> None:
        self.address = file.resolve().as_uri() + (f"#{fragment}" if fragment else "")
        self.folder = folder
        shown = self._run(width, 60000, "--dump-dom", "--enable-logging=stderr")
        self.html = shown.stdout
        self.errors = [line for line in shown.stderr.splitlines() if _REPORTED.search(line)]

    def screenshot(self, picture: Path, width: int) -> None:
        """Write a picture of the top of the page, at this width in pixels."""
        self._run(width, 1500, f"--screenshot={picture}")

    def printed_pages(self, file: Path) -> int:
        """Print the page into a PDF, and count its pages."""
        self._run(1280, 1500, "--no-pdf-header-footer", f"--print-to-pdf={file}")
        return len(re.findall(rb"/Type\s*/Page\b", file.read_bytes()))

    def _run(self, width: int, height: int, *options: str) -> subprocess.CompletedProcess[str]:
        assert CHROMIUM
        return subprocess.run(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--proxy-server=127.0.0.1:9",
                f"--user-data-dir={self.folder / 'profile'}",
                f"--window-size={width},{height}",
                "--virtual-time-budget=60000",
                *options,
                self.address,
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
