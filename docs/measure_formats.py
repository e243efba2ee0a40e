"""Measures what the formats of a trace take: 100 ms of dedup-4vm under series-v2, and how quickly a page draws itself.

python docs/measure_formats.py [MS]      # 100 by default; frames want Chromium
"""

import sys
import tempfile
import time
from pathlib import Path

from chromium import Browser

from vcpu_env.inspect.recorder import MOST_RECORDS, RECORD_BYTES, Recording, record
from vcpu_env.inspect.trace_command import FORMATS, parts_of
from vcpu_env.machine import Machine
from vcpu_env.scenario import load_scenario

SCENARIO, POLICY, SEED, FROM_NS = "dedup-4vm", "series-v2", 1, 400_000_000
SIZE = 1200, 900
FRAMES = """(() => {
  const told = [];
  const columns = page.runs.flatMap((run) => [run.yields.time, run.ipis.time, ...run.rows.map((row) => row.begins)]);
  for (const span of [1e5, 1e6, 1e7, 5e7, page.length_ns]) {
    const from = (page.length_ns - span) / 2;
    show(from, from + span);
    draw();
    const begin = performance.now();
    for (let k = 0; k < 10; k++) draw();
    pen.getImageData(0, 0, 1, 1);
    const marks = columns.reduce((sum, times) => sum + times.filter((t) => t >= from && t <= from + span).length, 0);
    told.push([span / 1e6, marks, (performance.now() - begin) / 10]);
  }
  return told;
})()"""


def written(recording: Recording, name: str, out: Path) -> tuple[int, float]:
    """Bytes of a file, and the CPU time (s) that it takes to write it."""
    begin = time.process_time()
    with out.open("wb") as file:
        for part in parts_of([recording], name, []):
            file.write(part.encode() if isinstance(part, str) else part)
    return out.stat().st_size, time.process_time() - begin


def main(length_ms: int) -> None:
    """Record, write every format, draw the page."""
    recording = record(
        Machine(load_scenario(SCENARIO), POLICY, SEED), FROM_NS, FROM_NS + length_ms * 1_000_000, MOST_RECORDS
    )
    count = len(recording.records)
    size = f"{count:,} records, {count * RECORD_BYTES / 1e6:.0f} MB"
    print(f"{length_ms} ms of {SCENARIO} under {POLICY}, seed {SEED}: {size}")
    with tempfile.TemporaryDirectory() as folder:
        _ = recording.entries  # what most formats begin with
        for name, end in FORMATS.items():
            size, seconds = written(recording, name, Path(folder) / f"run{end}")
            print(f"{name:10} {size / 1e6:8.1f} MB {seconds:6.1f} s", flush=True)
        browser = Browser(f"{folder}/profile")
        width, height = SIZE
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        browser.call("Page.navigate", url=(Path(folder) / "run.html").as_uri())
        while not browser.value(
            "typeof page === 'object' && typeof draw === 'function' && document.readyState === 'complete'"
        ):
            time.sleep(0.5)
        for span_ms, marks, frame_ms in browser.value(FRAMES):
            print(f"{span_ms:6g} ms in view: {marks:9,} marks, {frame_ms:6.1f} ms a frame")
        browser.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
