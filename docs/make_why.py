"""Draws docs/why-timeline.png: the timeline of docs/why.md with one of its yields clicked, by headless Chromium.

python docs/make_why.py
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURE = Path(__file__).with_name("why-timeline.png")
NUMBER = 210_812
"""The yield that is clicked: the first run's, counted from time 0."""
HALF_NS = 150_000
"""Time to be seen on each side of it."""
TRACE = ["trace", "dedup-2vm", "--policy", "stock", "--beside", "ipi", "--seed", "2", "--from", "420", "--for", "4"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Write the page, click, take the picture."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"error: no browser (allowed: one of {', '.join(BROWSERS)})")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "why.html"
        subprocess.run([sys.executable, "-m", "vcpu_env", *TRACE, "-o", page], check=True)
        click = (
            f"const at = page.runs[0].yields.number.indexOf({NUMBER}); pick(page.runs[0], at, true); "
            f"const time = page.runs[0].yields.time[at]; show(time - {HALF_NS}, time + {HALF_NS}); draw();"
        )
        page.write_text(page.read_text().replace("</html>", f"<script>{click}</script></html>"))
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,1180"]
        options += [f"--user-data-dir={folder}/profile", f"--screenshot={PICTURE}"]
        subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True)
    print(PICTURE)


if __name__ == "__main__":
    main()
