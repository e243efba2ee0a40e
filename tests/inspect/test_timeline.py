"""The page for a browser: its columns are the recording's, and a click on a yield explains it."""

import base64
import json
import re
from itertools import pairwise

import numpy as np
import pytest

from tests.helpers.browser import browser, evaluated
from tests.helpers.recordings import FROM_NS, TO_NS, calm, storm
from vcpu_env.inspect.activity import slices, vcpu_changes
from vcpu_env.inspect.timeline import STATES, chart_rows, code_of, column, data_of, page, yield_table
from vcpu_env.inspect.yields import yields


def numbers(text: str) -> list[int]:
    return np.frombuffer(base64.b64decode(text), "<i4").tolist()


@pytest.mark.core
def test_columns_are_cut_to_32_bits():
    assert numbers(column([0, -1, 5, 1 << 40, -(1 << 40)])) == [0, -1, 5, 2**31 - 1, -(2**31)]


@pytest.mark.core
@pytest.mark.parametrize("recording_of", [storm, calm])
def test_rows_have_the_times_of_the_recording(recording_of):
    recording = recording_of()
    rows, length = chart_rows(recording), TO_NS - FROM_NS
    cpus, vcpus = rows[: recording.nr_cpus], rows[recording.nr_cpus :]
    for row in rows:
        assert row.begins[0] == 0 and (np.diff(row.begins) > 0).all() and row.begins[-1] <= length
        assert all(a != b for a, b in pairwise(row.states))
    times = [dict.fromkeys(range(len(STATES)), 0) for _ in vcpus]
    for v, begin_ns, end_ns, state in slices(vcpu_changes(recording), TO_NS):
        times[v][code_of(state)] += end_ns - begin_ns
    for row, expected in zip(vcpus, times, strict=True):
        shown = dict.fromkeys(range(len(STATES)), 0)
        for begin, end, state in zip(row.begins, [*row.begins[1:], length], row.states, strict=True):
            shown[state] += end - begin
        assert shown == expected
    idle = [
        sum(e - b for b, e, s in zip(row.begins, [*row.begins[1:], length], row.states, strict=True) if s == 0)
        for row in cpus
    ]
    end, start = recording.end["pcpu"], recording.start["pcpu"]
    pending = [(TO_NS - end["since_ns"]) * (end["mode"] == 0), (FROM_NS - start["since_ns"]) * (start["mode"] == 0)]
    assert idle == (end["idle_ns"] + pending[0] - start["idle_ns"] - pending[1]).tolist()


@pytest.mark.core
def test_the_table_has_every_yield():
    found = yields(storm())
    table = yield_table(storm())["yields"]
    assert numbers(table["time"]) == [y.time_ns - FROM_NS for y in found]
    assert numbers(table["target"]) == [y.target for y in found]
    assert sum(outcome == 1 for outcome in numbers(table["outcome"])) == sum(y.hit for y in found)
    assert len(numbers(table["scan"])) == len(found) + 1


@pytest.mark.core
def test_one_file_without_network():
    text = "".join(page([storm()]))
    assert not re.search(r"https?://|src=|@import|url\(", text)
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    assert data == json.loads(json.dumps(data_of([storm()])))


CLICKS = """
const run = page.runs[1], i = 5;
show(0, page.length_ns);
draw();
search(true);
const searched = document.querySelector('#about h2').textContent;
picked = null;
const box = canvas.getBoundingClientRect(), at = {x: x(run.yields.time[i]), y: run.rows[run.yields.vcpu_row[i]].y + 4};
const mark = hitMark(at.x, at.y);
canvas.dispatchEvent(new MouseEvent('click', {clientX: box.left + at.x, clientY: box.top + at.y, bubbles: true}));
const told = document.getElementById('about').textContent;
const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
let drawn = 0;
for (let k = 3; k < pixels.length; k += 4) drawn += pixels[k] > 0;
document.getElementById('theme').click();
document.getElementById('words').value = 'vm-1 missed';
search(true);
const missed = explained(picked.run, picked.i).find((one) => one[0] === 'outcome')[1];
zoom(.5, 200);
return {searched, told, vcpu: mark.run.yields.vcpu[mark.i], drawn, missed, span: view.to - view.from,
  wide: document.documentElement.scrollWidth <= innerWidth};
"""


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason="needs Chromium")
@pytest.mark.parametrize("size", [(1200, 800), (390, 800)])
def test_a_click_explains(size, tmp_path):
    """No errors, both runs drawn, a mark that is clicked says what it is, the search finds; also 390 pixels wide."""
    path = tmp_path / "page.html"
    path.write_text("".join(page([storm("stock"), storm()], ["explain one", "explain other"])))
    told = evaluated(path, CLICKS, size, tmp_path)
    assert told["searched"].startswith("stock, seed 1: yield at ")
    for word in (
        "spinner",
        "really waits for",
        "outcome",
        "explain other --yield",
    ):
        assert word in told["told"]
    assert told["missed"].startswith("a miss") and told["drawn"] > 10_000 and told["wide"]
