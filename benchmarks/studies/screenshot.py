"""The picture of a report that the README shows, as headless Chromium draws it.

reconv run --save-path runs/resnet20-digits
python benchmarks/studies/screenshot.py runs/resnet20-digits/report.html docs/figures/report.png
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1040)
    parser.add_argument("--height", type=int, default=950)
    options = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no Chromium here; install it")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                 f"--user-data-dir={profile}", f"--window-size={options.width},{options.height}",
                 "--blink-settings=preferredColorScheme=1",
                 f"--screenshot={options.picture.resolve()}", options.report.resolve().as_uri()]  # fmt: skip
        subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    print(f"{options.picture}: {options.picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
