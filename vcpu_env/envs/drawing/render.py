"""Pictures of a `Gantt`: text for a terminal, an RGB array, a window. Pillow and pygame are the extra `render`."""

import os
from collections.abc import Iterator
from functools import cache
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled

from vcpu_env.envs.drawing.gantt import COMPUTE, HOST, IDLE, POLL, SPIN, UNSEEN, Gantt, Samples

VM_COLOURS = [  # (runs, spins); blue, orange, green, pink, yellow, violet keep apart for colour-blind readers
    ("#8fb8de", "#1f5f99"),
    ("#f2c078", "#b3541e"),
    ("#8fd3bd", "#00694e"),
    ("#eeb4d2", "#96296e"),
    ("#eee48a", "#857600"),
    ("#c3b7e8", "#54389c"),
]
"""By VM; the seventh VM has the colours of the first again."""
OTHER_COLOURS = {IDLE: "#ffffff", HOST: "#8a8a8a", POLL: "#c9c9c9", UNSEEN: "#f0f0f0"}
OTHER_NAMES = {HOST: "host kernel", POLL: "halt polling", IDLE: "idle"}
YIELD_COLOUR, IPI_COLOUR, INK, PAPER = "#d5006d", "#008a6a", "#222222", "#ffffff"
SHADES = (0.0, 0.17, 0.34)
"""Towards white, by vCPU number: neighbours in time can be told apart."""

LEFT, RIGHT, WIDTH = 58, 22, 800
THIN_ROW, LABEL_WIDTH = 8, 16
TITLE, LEGEND_LINE, AXIS = 26, 18, 22
ANSI_COLUMNS = 100


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def _colour_table() -> np.ndarray:
    """Colours by activity, VM and vCPU: (6, VM colours, shades, 3)."""
    table = np.empty((UNSEEN + 1, len(VM_COLOURS), len(SHADES), 3), np.uint8)
    for activity, colour in OTHER_COLOURS.items():
        table[activity] = _rgb(colour)
    for activity, depth in ((COMPUTE, 1.0), (SPIN, 0.5)):
        for vm, pair in enumerate(VM_COLOURS):
            base = _rgb(pair[activity == SPIN])
            table[activity, vm] = [base + (255 - base) * shade * depth for shade in SHADES]
    return table


COLOUR_TABLE = _colour_table()


def _missing(package: str) -> DependencyNotInstalled:
    return DependencyNotInstalled(f'{package} is not installed; run `pip install "vcpu-env[render]"`')


def _colours(samples: Samples, columns: np.ndarray) -> np.ndarray:
    """Colours of the chosen columns: (CPUs, columns, 3)."""
    activity, vm, vcpu_idx = (a[:, columns] for a in (samples.activity, samples.vm, samples.vcpu_idx))
    return COLOUR_TABLE[activity, vm % len(VM_COLOURS), vcpu_idx % len(SHADES)]


def _columns(gantt: Gantt, width: int) -> np.ndarray:
    """The column of the ring at each of `width` places."""
    if gantt.nr_cpus == 0:
        raise ValueError("gantt: nothing sampled (allowed: at least one sample)")
    return np.arange(width) * gantt.columns // width


def _ticks(gantt: Gantt, start_ns: int) -> Iterator[tuple[float, str]]:
    """(place within the window 0..1, label) of up to eleven round times."""
    length_ns = gantt.columns * gantt.sample_ns
    step_ns = next(d * 10**e for e in range(19) for d in (1, 2, 5) if d * 10**e * 10 >= length_ns)
    for time_ns in range(-(-start_ns // step_ns) * step_ns, start_ns + length_ns + 1, step_ns):
        yield (time_ns - start_ns) / length_ns, f"{time_ns / 1e6:.10g} ms"


def ansi(gantt: Gantt, title: str = "") -> str:
    """Text: a line a CPU, a letter a VM, upper case where it spins; the colours only help. Each letter is a sample."""
    columns = _columns(gantt, ANSI_COLUMNS)
    samples = gantt.window()
    lower = ord("a") + samples.vm % 26
    letters = np.choose(samples.activity, [ord("_"), ord("."), ord("~"), lower, lower - 32, ord(" ")])[:, columns]
    colours = _colours(samples, columns)
    vms = "  ".join(f"{chr(97 + vm % 26)}/{chr(65 + vm % 26)} VM {vm + 1}" for vm in range(min(gantt.nr_vms, 26)))
    lines = [title, f"{vms}  (upper case: spins)   . host kernel   ~ halt polling   _ idle"]
    lines.append(f"{'':{7 + ANSI_COLUMNS}} {'yields':>7} {'IPIs':>7}")
    for cpu, row in enumerate(letters):
        text, line = "", [tuple(colour) for colour in colours[cpu].tolist()]
        for colour, run in groupby(zip(line, row.tolist(), strict=True), key=itemgetter(0)):
            ink = "38;2;255;255;255" if sum(colour) < 360 else "38;2;34;34;34"
            text += f"\x1b[{ink};48;2;{';'.join(map(str, colour))}m{''.join(chr(letter) for _, letter in run)}"
        lines.append(f"CPU{cpu:3d} {text}\x1b[0m {samples.yields[cpu].sum():7d} {samples.ipis[cpu].sum():7d}")
    axis = [" "] * (ANSI_COLUMNS + 12)
    for place, label in _ticks(gantt, samples.start_ns):
        at = int(place * ANSI_COLUMNS)
        if "".join(axis[max(0, at - 1) : at + len(label)]).isspace():
            axis[at : at + len(label)] = label
    return "\n".join([*lines, " " * 7 + "".join(axis).rstrip()])


@cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _strip(counts: np.ndarray, columns: np.ndarray, colour: str) -> np.ndarray:
    """Events as (CPUs, 1, places, 3): white for none, pale for one, the full colour from four on."""
    paleness = np.array([[1.0], [0.6], [0.4], [0.2], [0.0]])
    table = (_rgb(colour) + (255 - _rgb(colour)) * paleness).astype(np.uint8)
    return table[np.minimum(np.add.reduceat(counts, columns, axis=1), 4)][:, None]


def _rows(samples: Samples, columns: np.ndarray, row: int) -> np.ndarray:
    """What happened on every CPU, (CPUs * row, places, 3): its band, a strip of yields above, one of IPIs below.

    In thin rows both strips are one, and a yield hides an IPI.
    """
    picture = np.full((len(samples.activity), row, len(columns), 3), 255, np.uint8)
    band = _colours(samples, columns)[:, None]
    yields, ipis = _strip(samples.yields, columns, YIELD_COLOUR), _strip(samples.ipis, columns, IPI_COLOUR)
    if row >= THIN_ROW:
        strip = row // 6
        picture[:, 1 : 1 + strip] = yields
        picture[:, 1 + strip : -1 - strip] = band
        picture[:, -1 - strip : -1] = ipis
    else:
        picture[:, :-1] = band
        picture[:, -1:] = np.where((yields < 255).any(3, keepdims=True), yields, ipis)
    return picture.reshape(-1, len(columns), 3)


def _legend(nr_vms: int) -> list[tuple[int, int, str, str]]:
    """(x, line, colour, text) of every entry, filled up line by line."""
    entries = []
    for vm in range(min(nr_vms, len(VM_COLOURS))):
        runs, spins = VM_COLOURS[vm]
        entries += [(runs, f"VM {vm + 1}"), (spins, "spins")]
    entries += [(OTHER_COLOURS[activity], name) for activity, name in OTHER_NAMES.items()]
    entries += [(YIELD_COLOUR, "yields (above)"), (IPI_COLOUR, "IPIs (below)")]
    placed, x, line = [], LEFT, 0
    for colour, text in entries:
        width = 24 + round(_font(11).getlength(text))
        if x + width > LEFT + WIDTH:
            x, line = LEFT, line + 1
        placed.append((x, line, colour, text))
        x += width + 4
    return placed


def _label_runs(draw: Any, samples: Samples, columns: np.ndarray, top: int, row: int) -> None:
    """The vCPU's number on every stretch of a CPU that is wide enough for it."""
    vcpus = np.where(samples.vm < 0, -1, samples.vm.astype(int) << 8 | samples.vcpu_idx)[:, columns]
    changed = np.diff(vcpus, axis=1, prepend=-2, append=-2) != 0
    for cpu, edges in enumerate(changed):
        at = np.flatnonzero(edges)
        for first, last in pairwise(at):
            vcpu = vcpus[cpu, first]
            if vcpu >= 0 and last - first >= LABEL_WIDTH:
                dark = (samples.activity[cpu, columns[first : first + LABEL_WIDTH]] == SPIN).mean()
                if 0.2 < dark < 0.8:
                    continue  # no ink is legible on both
                ink = PAPER if dark > 0.5 else INK
                draw.text((LEFT + first + 3, top + row * cpu + row // 2 - 1), str(vcpu & 255), ink, _font(9), "lm")


def rgb_array(gantt: Gantt, title: str = "") -> np.ndarray:
    """The picture, uint8 (H, W, 3); the same size for every picture of one machine.

    Raises:
        DependencyNotInstalled: Pillow is missing.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise _missing("Pillow") from None
    columns = _columns(gantt, WIDTH)
    samples, cpus = gantt.window(), gantt.nr_cpus
    row = max(3, min(20, 640 // cpus))
    legend = _legend(gantt.nr_vms)
    top = TITLE + LEGEND_LINE * (legend[-1][1] + 1) + 4
    bottom = top + row * cpus
    image = Image.new("RGB", (LEFT + WIDTH + RIGHT, bottom + AXIS), PAPER)
    image.paste(Image.fromarray(_rows(samples, columns, row)), (LEFT, top))
    draw = ImageDraw.Draw(image)
    draw.rectangle((LEFT - 1, top - 1, LEFT + WIDTH, bottom), outline="#bbbbbb")
    draw.text((LEFT, TITLE // 2 + 1), title, INK, _font(13), "lm")
    for x, line, colour, text in legend:
        y = TITLE + LEGEND_LINE * line
        draw.rectangle((x, y + 2, x + 11, y + 12), colour, "#999999")
        draw.text((x + 16, y + 7), text, INK, _font(11), "lm")
    for cpu in range(0, cpus, -(-13 // row)):
        draw.text((LEFT - 6, top + row * cpu + row // 2), f"CPU {cpu}", INK, _font(11), "rm")
    for place, label in _ticks(gantt, samples.start_ns):
        x = LEFT + round(place * WIDTH)
        draw.line((x, bottom, x, bottom + 4), "#777777")
        draw.text((x, bottom + 12), label, INK, _font(11), "mm")
    if row >= THIN_ROW:
        _label_runs(draw, samples, columns, top, row)
    return np.array(image)


class Window:
    """A window that shows frames; once the user has closed it, frames are dropped.

    Args:
        caption: its title.
        fps: at most so many frames a second are shown; 0: as fast as they come.

    Attributes:
        closed: by the user or by `close`.
    """

    def __init__(self, caption: str = "vcpu_env", fps: int = 20):
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
        except ImportError:
            raise _missing("pygame") from None
        self._pygame, self._caption, self._fps = pygame, caption, fps
        self._screen: Any = None
        self._clock = pygame.time.Clock()
        self.closed = False

    def show(self, frame: np.ndarray) -> None:
        """Show an RGB array; the first one opens the window."""
        pygame, size = self._pygame, (frame.shape[1], frame.shape[0])
        if self._screen is not None and any(event.type == pygame.QUIT for event in pygame.event.get()):
            self.close()
        if self.closed:
            return
        if self._screen is None or self._screen.get_size() != size:
            pygame.display.init()
            self._screen = pygame.display.set_mode(size)
            pygame.display.set_caption(self._caption)
        self._screen.blit(pygame.image.frombuffer(frame.tobytes(), size, "RGB"), (0, 0))
        pygame.display.flip()
        pygame.event.pump()
        self._clock.tick(self._fps)

    def close(self) -> None:
        """Close the window; calling it again does nothing."""
        self.closed = True
        if self._screen is not None:
            self._screen = None
            self._pygame.display.quit()
