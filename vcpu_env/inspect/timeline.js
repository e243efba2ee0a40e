'use strict';
// The page's data: window, names, colours, and of each run rows of slices and a table of yields; times in ns from the
// window's begin. Columns of numbers are little-endian 32-bit integers in base64.
const page = JSON.parse(document.getElementById('data').textContent);
const canvas = document.getElementById('canvas');
const chart = document.getElementById('chart');
const about = document.getElementById('about');
const pen = canvas.getContext('2d');
const ROW = 14, GAP = 3, TITLE = 22, AXIS = 20;
let labels = 96, view = {from: 0, to: page.length_ns}, picked = null, queued = false;

function column(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Int32Array(bytes.buffer);
}
function codes(text) { return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)); }

// Where every row lies, from top to bottom; a row knows its slices: begins (ascending) and a state each.
const lines = [];
let height = AXIS;
page.runs.forEach((run, number) => {
  lines.push({title: run.name, y: height, number});
  height += TITLE;
  for (const row of run.rows) {
    row.begins = column(row.begins);
    row.states = codes(row.states);
    lines.push({row, y: height, number});
    row.y = height;
    height += ROW + GAP;
  }
  for (const name of Object.keys(run.yields)) run.yields[name] = column(run.yields[name]);
  run.ipis.time = column(run.ipis.time);
  run.ipis.row = column(run.ipis.row);
  run.siblings = codes(run.siblings);
});

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = () => (document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ?
  'dark' : 'light')) === 'dark';
const x = (time) => labels + (time - view.from) / (view.to - view.from) * (canvas.clientWidth - labels);
const timeAt = (px) => view.from + (px - labels) / (canvas.clientWidth - labels) * (view.to - view.from);

// The first place in an ascending array whose value is above a time.
function above(times, time, from = 0) {
  let low = from, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] > time) high = middle; else low = middle + 1;
  }
  return low;
}

// A pixel shows the state at its middle: drawing takes as long as the row is wide, however many slices there are.
function drawRow(row, width, colours) {
  const step = (view.to - view.from) / (width - labels);
  let place = Math.max(0, above(row.begins, view.from + step / 2) - 1), begin = labels, state = -1;
  for (let px = labels; px <= width; px++) {
    const time = view.from + (px - labels + .5) * step;
    while (place + 1 < row.begins.length && row.begins[place + 1] <= time) {
      const far = place + 64;
      place = far < row.begins.length && row.begins[far] <= time ? above(row.begins, time, far) - 1 : place + 1;
    }
    const now = px === width ? -2 : row.states[place];
    if (now !== state) {
      const colour = state >= 0 ? colours[state] : null;
      if (colour) { pen.fillStyle = colour; pen.fillRect(begin, row.y, px - begin, ROW); }
      begin = px;
      state = now;
    }
  }
}

// The times stay in sight when the rows are scrolled.
function drawAxis(width, ink, top) {
  pen.fillStyle = css('--paper');
  pen.fillRect(0, top, width, AXIS);
  const span = view.to - view.from;
  let step = Math.pow(10, Math.floor(Math.log10(span / 4)));
  while (span / step > Math.max(3, (width - labels) / 110)) step *= span / step > 20 ? 5 : 2;
  pen.fillStyle = ink;
  for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) {
    const px = Math.round(x(time));
    pen.fillRect(px, top + AXIS - 5, 1, 5);
    const digits = Math.max(0, 6 - Math.floor(Math.log10(step)));
    pen.fillText(((page.from_ns + time) / 1e6).toFixed(Math.min(6, digits)) + ' ms', px + 3, top + 11);
  }
}

// Yields are triangles, filled if they hit; where many share a pixel, strokes, long if they hit.
function drawMarks(run, width, colour, top, bottom) {
  const {time, cpu_row: cpuRow, vcpu_row: vcpuRow, outcome} = run.yields;
  const dense = (view.to - view.from) / (width - labels) > 5000;
  let last = new Map(), here = -1, count = 0;
  pen.fillStyle = pen.strokeStyle = colour;
  for (let i = Math.max(0, above(time, view.from) - 1); i < time.length && time[i] <= view.to; i++) {
    const px = Math.round(x(time[i]));
    if (px < labels) continue;
    count = px === here ? count + 1 : 0;
    here = px;
    if (count > 24) {  // enough for one pixel
      i = Math.max(i, above(time, timeAt(px + .5)) - 1);
      continue;
    }
    for (const place of [cpuRow[i], vcpuRow[i]]) {
      const y = run.rows[place].y;
      if (y < top || y > bottom || last.get(place) === px) continue;
      last.set(place, px);
      if (dense) {
        pen.fillRect(px, y - 2, 1, outcome[i] === 1 ? 8 : 3);
        continue;
      }
      pen.beginPath();
      pen.moveTo(px - 3, y - 2);
      pen.lineTo(px + 3, y - 2);
      pen.lineTo(px, y + 5);
      pen.closePath();
      if (outcome[i] === 1) pen.fill(); else pen.stroke();
    }
  }
  if ((view.to - view.from) / (width - labels) > 20000) return;  // IPIs from 20 us a pixel on
  last = new Map();
  for (let i = Math.max(0, above(run.ipis.time, view.from) - 1); i < run.ipis.time.length; i++) {
    if (run.ipis.time[i] > view.to) break;
    const px = Math.round(x(run.ipis.time[i]));
    if (px < labels || last.get(run.ipis.row[i]) === px) continue;
    last.set(run.ipis.row[i], px);
    pen.fillRect(px, run.rows[run.ipis.row[i]].y + ROW - 4, 1, 4);
  }
}

function draw() {
  queued = false;
  const width = chart.clientWidth, ratio = devicePixelRatio || 1;
  labels = width < 600 ? 64 : 120;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = height + 'px';
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = '11px system-ui, sans-serif';
  const ink = css('--ink'), colours = dark() ? page.dark : page.light, faint = css('--faint');
  const top = chart.scrollTop - 40, bottom = chart.scrollTop + chart.clientHeight + 40;
  for (const line of lines) {
    if (line.y < top || line.y > bottom) continue;
    pen.fillStyle = ink;
    if (line.title) {
      pen.font = 'bold 12px system-ui, sans-serif';
      pen.fillText(line.title, 4, line.y + 15);
      pen.font = '11px system-ui, sans-serif';
      continue;
    }
    pen.fillStyle = faint;
    pen.fillRect(labels, line.y, width - labels, ROW);
    pen.fillStyle = ink;
    pen.fillText(line.row.name, 4, line.y + 11, labels - 8);
    drawRow(line.row, width, colours);
  }
  for (const run of page.runs) drawMarks(run, width, css('--mark'), top, bottom);
  if (picked) {
    pen.fillStyle = css('--mark');
    pen.fillRect(Math.round(x(picked.run.yields.time[picked.i])), AXIS, 1, height - AXIS);
  }
  drawAxis(width, ink, chart.scrollTop);
}
function redraw() { if (!queued) { queued = true; requestAnimationFrame(draw); } }

function show(from, to) {
  const span = Math.min(page.length_ns, Math.max(200, to - from));
  view.from = Math.min(Math.max(0, from), page.length_ns - span);
  view.to = view.from + span;
  redraw();
}
function zoom(factor, px) {
  const time = timeAt(px), span = (view.to - view.from) * factor;
  show(time - (time - view.from) * factor, time - (time - view.from) * factor + span);
}
function pan(part) { const by = (view.to - view.from) * part; show(view.from + by, view.to + by); }

const name = (v) => v < 0 ? 'nobody' : page.vcpus[v];
const duration = (ns) => Math.abs(ns) < 1e3 ? ns + ' ns' : Math.abs(ns) < 1e6 ? (ns / 1e3).toFixed(1) + ' us' :
  (ns / 1e6).toFixed(2) + ' ms';

// What a yield says when it is clicked: pairs of a name and a text.
function explained(run, i) {
  const y = run.yields, told = [['spinner', name(y.vcpu[i]) + ' on CPU ' + y.cpu[i]]];
  told.push(['really waits for', name(y.awaited[i])]);
  const targeted = y.target[i] >= 0;
  told.push(['outcome', page.outcomes[y.outcome[i]]]);
  if (targeted) {
    told.push(['target', name(y.target[i]) + ', waits on CPU ' + y.target_cpu[i] + ' for ' + duration(y.waited[i])]);
    told.push(['lag', duration(y.lag[i]) + (y.chain_lag[i] < 0 ? '; not eligible by ' + duration(-y.chain_lag[i]) :
      '; eligible on every level')]);
    told.push(['hint', page.fates[y.ran[i]]]);
    told.push(['boost', page.boosts[y.boost[i]] + (y.penalty[i] ? ', the spinner pays ' + duration(y.penalty[i]) : '')]);
    if (y.skip[i]) told.push(['no penalty', page.skips[y.skip[i]]]);
  }
  const scan = [];
  for (let k = y.scan[i]; k < y.scan[i + 1]; k += 2) {
    if (run.siblings[k + 1]) scan.push(run.siblings[k] + ' ' + page.siblings[run.siblings[k + 1]].replace('_', ' '));
  }
  if (scan.length) told.push(['the scan', scan.join(', ')]);
  if (y.number[i] && run.explain) told.push(['more of it', run.explain + ' --yield ' + y.number[i]]);
  return told;
}

function pick(run, i, centre) {
  picked = {run, i};
  about.hidden = false;
  const time = run.yields.time[i];
  about.innerHTML = '<h2></h2><dl></dl>';
  about.firstChild.textContent = run.name + ': yield at ' + ((page.from_ns + time) / 1e6).toFixed(6) + ' ms';
  for (const [term, text] of explained(run, i)) {
    const dt = document.createElement('dt'), dd = document.createElement('dd');
    dt.textContent = term;
    dd.textContent = text;
    about.lastChild.append(dt, dd);
  }
  if (centre) {
    const half = Math.min(view.to - view.from, 400000) / 2;
    show(time - half, time + half);
    const y = run.rows[run.yields.vcpu_row[i]].y;
    if (y < chart.scrollTop || y > chart.scrollTop + chart.clientHeight - ROW) chart.scrollTop = y - chart.clientHeight / 2;
  }
  redraw();
}

// Whether a yield has all the words of the search.
function matches(run, i, words) {
  const y = run.yields, v = page.vcpus[y.vcpu[i]];
  return words.every((word) => {
    if (page.words[word] !== undefined) {
      const [field, value] = page.words[word];
      return field === 'penalty' ? y.penalty[i] > 0 : y[field][i] === value;
    }
    return v === word || v.startsWith(word + ':') || run.policy === word;
  });
}

function search(forward) {
  const words = document.getElementById('words').value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const now = picked ? picked.run.yields.time[picked.i] : forward ? -1 : Infinity;
  let best = null;
  page.runs.forEach((run, number) => {
    const time = run.yields.time;
    for (let k = 0; k < time.length; k++) {
      const i = forward ? k : time.length - 1 - k;
      const later = forward ? time[i] > now || (picked && time[i] === now && later_in(run, i, number, 1)) :
        time[i] < now || (picked && time[i] === now && later_in(run, i, number, -1));
      if (!later || !matches(run, i, words)) continue;
      const key = [time[i], number, i], sign = forward ? 1 : -1;
      if (!best || (key[0] - best.key[0] || key[1] - best.key[1] || key[2] - best.key[2]) * sign < 0) {
        best = {run, i, key};
      }
      break;
    }
  });
  if (best) { pick(best.run, best.i, true); return; }
  about.hidden = false;
  about.textContent = 'No ' + (forward ? 'later' : 'earlier') + ' yield like that.';
}
function later_in(run, i, number, sign) {
  const at = page.runs.indexOf(picked.run);
  return number === at ? (i - picked.i) * sign > 0 : (number - at) * sign > 0;
}

// The yield whose mark is nearest to a point, within 8 pixels.
function hitMark(px, py) {
  let best = null;
  for (const run of page.runs) {
    const y = run.yields, from = above(y.time, timeAt(px - 8)) - 1;
    for (let i = Math.max(0, from); i < y.time.length && x(y.time[i]) <= px + 8; i++) {
      for (const place of [y.cpu_row[i], y.vcpu_row[i]]) {
        const far = Math.abs(x(y.time[i]) - px), top = run.rows[place].y;
        if (far <= 8 && py >= top - 4 && py <= top + ROW && (!best || far < best.far)) best = {run, i, far};
      }
    }
  }
  return best;
}

const pointers = new Map();
let moved = 0;
canvas.addEventListener('pointerdown', (e) => { pointers.set(e.pointerId, e.offsetX); moved = 0; });
canvas.addEventListener('pointermove', (e) => {
  if (!pointers.has(e.pointerId)) return;
  const before = [...pointers.values()];
  pointers.set(e.pointerId, e.offsetX);
  const after = [...pointers.values()];
  if (after.length === 2) {
    const was = Math.abs(before[0] - before[1]), is = Math.abs(after[0] - after[1]);
    if (was > 5 && is > 5) zoom(was / is, (after[0] + after[1]) / 2);
  } else {
    moved += Math.abs(after[0] - before[0]);
    pan((before[0] - after[0]) / (canvas.clientWidth - labels));
  }
});
for (const end of ['pointerup', 'pointercancel', 'pointerleave']) {
  canvas.addEventListener(end, (e) => pointers.delete(e.pointerId));
}
canvas.addEventListener('click', (e) => {
  const mark = moved < 5 && hitMark(e.offsetX, e.offsetY);
  if (mark) pick(mark.run, mark.i, false);
});
canvas.addEventListener('wheel', (e) => {
  if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) pan((e.deltaX || e.deltaY) / 800);
  else zoom(Math.exp(e.deltaY / 400), e.offsetX);
  e.preventDefault();
}, {passive: false});
addEventListener('keydown', (e) => {
  if (e.target.tagName === 'INPUT' || e.ctrlKey || e.metaKey) return;
  const middle = (labels + canvas.clientWidth) / 2;
  const act = {w: () => zoom(.5, middle), s: () => zoom(2, middle), a: () => pan(-.2), d: () => pan(.2),
    ArrowLeft: () => pan(-.2), ArrowRight: () => pan(.2), n: () => search(true), p: () => search(false),
    0: () => show(0, page.length_ns), Escape: () => { picked = null; about.hidden = true; redraw(); }}[e.key];
  if (act) { act(); e.preventDefault(); }
});
document.getElementById('search').addEventListener('submit', (e) => { e.preventDefault(); search(true); });
document.getElementById('previous').addEventListener('click', () => search(false));
document.getElementById('whole').addEventListener('click', () => show(0, page.length_ns));
document.getElementById('theme').addEventListener('click', () => {
  document.documentElement.dataset.theme = dark() ? 'light' : 'dark';
  key();
  redraw();
});
function key() {
  const colours = dark() ? page.dark : page.light, box = document.getElementById('key');
  box.textContent = '';
  page.states.forEach((state, i) => {
    if (!state || !colours[i]) return;
    const one = document.createElement('span'), patch = document.createElement('i');
    patch.style.background = colours[i];
    one.append(patch, state);
    box.append(one);
  });
}
chart.addEventListener('scroll', redraw);
addEventListener('resize', redraw);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { key(); redraw(); });
key();
draw();
