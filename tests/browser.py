"""A headless Chromium that opens files with the network cut, if there is one."""

import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)


class Opened:
    """A page as the browser shows it: its elements after all scripts, and what the console said."""

    def __init__(self, file: Path, profile: Path, width: int = 1280, height: int = 60000) -> None:
        self.html = _run(file, profile, width, height, "--dump-dom").stdout
        said = _run(file, profile, width, height, "--dump-dom", "--enable-logging=stderr").stderr
        self.console = [line for line in said.splitlines() if "CONSOLE" in line]


def screenshot(file: Path, profile: Path, picture: Path, width: int, height: int = 1500) -> None:
    """Write a picture of the page's top."""
    _run(file, profile, width, height, f"--screenshot={picture}")


def _run(
    file: Path, profile: Path, width: int, height: int, *options: str
) -> subprocess.CompletedProcess[str]:
    """One run of the browser. Everything on the page counts as near the screen."""
    assert CHROMIUM
    return subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--proxy-server=127.0.0.1:9",
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            "--virtual-time-budget=60000",
            *options,
            file.resolve().as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
