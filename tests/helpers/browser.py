"""A page in headless Chromium: what a script says that runs in it."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browser() -> str | None:
    """The program, if there is one."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def evaluated(page: Path, script: str, size: tuple[int, int], directory: Path) -> Any:
    """What the body of a function returns that runs at the page's end; errors of the page are raised."""
    probe = directory / "probe.html"
    caught = "<script>const faults = []; addEventListener('error', (e) => faults.push(e.message));</script>"
    told = f"{{faults, value: (() => {{ {script} }})()}}"
    last = (
        f"<script>let told; try {{ told = {told}; }} catch (error) {{ told = {{faults: [String(error.stack)]}}; }} "
        "const box = document.createElement('pre'); box.id = 'told'; box.textContent = JSON.stringify(told); "
        "document.documentElement.append(box);</script>"
    )
    text = page.read_text()
    probe.write_text(text.replace("<head>", f"<head>{caught}", 1).replace("</html>", f"{last}</html>"))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={size[0]},{size[1]}"]
    options += [f"--user-data-dir={directory / 'profile'}", "--dump-dom"]
    done = subprocess.run([browser() or "", *options, probe.as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    unescaped = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    told = json.loads(unescaped)
    assert told["faults"] == [], told["faults"]
    return told["value"]
