"""The window of mode "human" on an X server of its own: what the screen shows is the picture."""

import os
import shutil
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("pygame")

HEADER = 100
"""Bytes of an XWD file's fixed header, as 25 big-endian words."""

PLAY = """
import gymnasium, numpy as np, sys
import vcpu_env
arguments = dict(horizon_ns=2_000_000, warm_starts=1)
shown = gymnasium.make("vcpu_env/PenaltyScale-v2", render_mode="human", **arguments)
drawn = gymnasium.make("vcpu_env/PenaltyScale-v2", render_mode="rgb_array", **arguments)
for env in (shown, drawn):
    env.reset(seed=1)
    for _ in range(20):
        env.step(np.zeros(1, np.float32))
np.save(sys.argv[1], drawn.render())
print("shown", flush=True)
sys.stdin.read()
shown.close()
"""


def screen(path):
    """The framebuffer of an Xvfb as RGB, (height, width, 3)."""
    raw = path.read_bytes()
    words = struct.unpack(">25I", raw[:HEADER])
    size, width, height, line, colours = words[0], words[4], words[5], words[12], words[19]
    pixels = np.frombuffer(raw, np.uint8, offset=size + 12 * colours)[: height * line].reshape(height, line)
    return pixels[:, : 4 * width].reshape(height, width, 4)[:, :, 2::-1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="no Xvfb")
def test_the_screen_shows_the_picture(tmp_path):
    display = ":87"
    server = subprocess.Popen(["Xvfb", display, "-screen", "0", "1600x1200x24", "-fbdir", str(tmp_path)])
    try:
        time.sleep(1)
        command = [sys.executable, "-c", PLAY, str(tmp_path / "picture.npy")]
        environment = os.environ | {"DISPLAY": display, "SDL_VIDEODRIVER": "x11"}
        player = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert player.stdout.readline() == "shown\n", player.communicate()[1]
        picture, seen = np.load(tmp_path / "picture.npy"), screen(tmp_path / "Xvfb_screen0")
        player.communicate("")
    finally:
        server.terminate()
        server.wait()
    height, width, _ = picture.shape
    places = np.argwhere((seen == picture[0, 0]).all(axis=2))
    assert any(np.array_equal(seen[y : y + height, x : x + width], picture) for y, x in places[:2000])
