"""Charts of CPUs x time: samples and marks are the machine's own, pictures show them, and looking changes nothing."""

import importlib.util
import re
import sys
from dataclasses import replace

import numpy as np
import pygame
import pytest
from gymnasium.error import DependencyNotInstalled
from PIL import Image

from tests.helpers.at_once import at_once
from tests.helpers.paths import DOCS
from vcpu_env.envs.drawing import render
from vcpu_env.envs.drawing.gantt import COMPUTE, HOST, SPIN, UNSEEN, Gantt
from vcpu_env.guest.types import SEG_SPIN
from vcpu_env.kvm.pcpu import GUEST
from vcpu_env.machine import Machine
from vcpu_env.policy.named import POLICIES
from vcpu_env.policy.rules import EXTERNAL
from vcpu_env.scenario import apply_overrides, load_scenario

MSEC = 1_000_000
SMALL, CROWDED = "dbench-1vm-2vcpu", "dedup-2vm"
MAKE_GIF = DOCS / "make_gif.py"


def machine(scenario: str = CROWDED, *overrides: str) -> Machine:
    return Machine(apply_overrides(at_once(load_scenario(scenario)), overrides), "stock", 0)


def followed(run: Machine, length_ns: int, *arguments: int) -> Gantt:
    """A chart of a machine's next `length_ns`."""
    gantt = Gantt(*arguments)
    assert gantt.follow(run, run.now_ns + length_ns)
    return gantt


@pytest.fixture(scope="module")
def crowded() -> Gantt:
    """20 ms in which VMs compute, spin, yield and send IPIs."""
    run = machine()
    run.run_until(20 * MSEC)
    return followed(run, 20 * MSEC, 20 * MSEC)


def seen(world, cpu: int) -> tuple[int, int, int]:
    """(activity, VM, vCPU) of one CPU, read field by field."""
    vcpu, mode = world["rq"]["curr"][cpu], world["pcpu"][cpu]["mode"]
    if vcpu < 0:
        return mode, -1, -1
    guest = world["guest_vcpu"][vcpu]
    return SPIN if mode == GUEST and guest["segment"] == SEG_SPIN else mode, guest["vm"], guest["index"]


def check_samples(run: Machine, samples: int) -> set[int]:
    """Compare a chart's samples with readings of their own; returns the activities met."""
    gantt, read = Gantt(samples * 50_000), []
    gantt.sample(run.world, run.now_ns)
    first_ns = gantt.window().start_ns
    read.append([seen(run.world, cpu) for cpu in range(gantt.nr_cpus)])
    for column in range(1, samples):
        run.run_until(gantt.next_ns)
        assert run.now_ns // 50_000 * 50_000 == first_ns + column * 50_000
        gantt.sample(run.world, run.now_ns)
        read.append([seen(run.world, cpu) for cpu in range(gantt.nr_cpus)])
    window = gantt.window()
    drawn = np.stack([window.activity, window.vm, window.vcpu_idx], axis=2)
    assert np.array_equal(drawn, np.array(read).transpose(1, 0, 2))
    return set(np.unique(window.activity))


@pytest.mark.core
def test_samples_are_direct_readings():
    assert COMPUTE in check_samples(machine(SMALL), 40)


def test_samples_of_a_crowded_host_are_direct_readings():
    run = machine()
    run.run_until(20 * MSEC)
    assert {HOST, COMPUTE, SPIN} <= check_samples(run, 200)


def test_marks_are_differences_of_counters():
    run = machine()
    run.run_until(20 * MSEC)
    before = run.counters()
    gantt = followed(run, 10 * MSEC)
    run.run_until(gantt.next_ns)
    gantt.sample(run.world, run.now_ns)
    after, window = run.counters(), gantt.window()
    yields = after["kvm"]["ple_yield_ok"] - before["kvm"]["ple_yield_ok"]
    ipis = [sum(vm["ipi_call"] + vm["ipi_reschedule"] for vm in counted["vms"]) for counted in (before, after)]
    assert window.yields.sum() == yields > 0
    assert window.ipis.sum() == ipis[1] - ipis[0] > 0


def test_marks_are_on_the_cpu_of_the_vcpu():
    run = machine(CROWDED, "host.placement=one_to_one")
    run.run_until(20 * MSEC)
    cpu_of = run.world["task_struct"]["cpu"].copy()
    before = run.world["kvm_vcpu"]["ple_yield_ok"].copy()
    gantt = followed(run, 10 * MSEC)
    run.run_until(gantt.next_ns)
    gantt.sample(run.world, run.now_ns)
    assert np.array_equal(run.world["task_struct"]["cpu"], cpu_of)
    grown = np.bincount(cpu_of, run.world["kvm_vcpu"]["ple_yield_ok"] - before, gantt.nr_cpus)
    assert grown.any()
    assert np.array_equal(gantt.window().yields.sum(axis=1), grown)


@pytest.mark.core
def test_following_does_not_change_the_run():
    watched, alone = machine(SMALL), machine(SMALL)
    gantt = followed(watched, 2 * MSEC)
    render.ansi(gantt)
    alone.run_until(2 * MSEC)
    assert np.array_equal(watched.world.words, alone.world.words)


def test_following_does_not_change_a_crowded_run():
    watched, alone = machine(), machine()
    render.rgb_array(followed(watched, 20 * MSEC, MSEC, 7_001))
    alone.run_until(20 * MSEC)
    assert np.array_equal(watched.world.words, alone.world.words)


def test_samples_do_not_beat_with_the_tick():
    """All CPUs are in the host kernel at a tick; samples at multiples of its period would see nothing else."""
    run = machine("vips-2vm")
    run.run_until(20 * MSEC)
    before = run.counters()["host"]["host_ns"]
    gantt = followed(run, 40 * MSEC)
    share = (run.counters()["host"]["host_ns"] - before) / (40 * MSEC * gantt.nr_cpus)
    assert (gantt.window().activity == HOST).mean() == pytest.approx(share, abs=0.01)


def test_follow_stops_at_a_decision():
    policy = replace(POLICIES["stock"], name="asks", target_rule=EXTERNAL)
    run, gantt = Machine(at_once(load_scenario(CROWDED)), policy, 0), Gantt()
    assert not gantt.follow(run, 100 * MSEC)
    assert run.decision is not None
    stopped_ns = run.now_ns
    run.answer_target(1)
    gantt.follow(run, stopped_ns + 1)
    assert 0 <= run.now_ns - stopped_ns <= 1


@pytest.mark.core
def test_chart_fills_then_moves():
    run = machine(SMALL)
    gantt = followed(run, 300_000, 500_000, 50_000)
    window = gantt.window()
    assert window.start_ns == 0
    assert window.activity.shape == (gantt.nr_cpus, 10)
    assert ((window.activity != UNSEEN) == (np.arange(10) < 6)).all()
    gantt.follow(run, 1_000_000)
    later = gantt.window()
    assert later.start_ns == 500_000
    assert (later.activity != UNSEEN).all()


@pytest.mark.core
def test_columns_without_a_sample_are_unseen():
    run, gantt = machine(SMALL), Gantt(500_000, 50_000)
    for now_ns in (0, 10_000, 200_000):
        run.run_until(now_ns)
        gantt.sample(run.world, now_ns)
    assert [column for column in range(10) if (gantt.window().activity[:, column] != UNSEEN).all()] == [0, 4]
    run.run_until(10 * MSEC)
    gantt.sample(run.world, run.now_ns)
    assert (gantt.window().activity[:, :-1] == UNSEEN).all()
    assert gantt.window().start_ns + 10 * 50_000 == 10 * MSEC + 50_000


@pytest.mark.core
@pytest.mark.parametrize("how", ["clear", "earlier", "other host"])
def test_another_run_begins_a_new_chart(how):
    gantt, other = followed(machine(SMALL), 400_000), machine(SMALL)
    if how == "clear":
        gantt.clear()
        assert (gantt.window().activity == UNSEEN).all()
    elif how == "other host":
        other = machine("dbench-1vm-16vcpu")
        other.run_until(500_000)
    gantt.sample(other.world, other.now_ns)
    window = gantt.window()
    assert gantt.nr_cpus == len(other.world["pcpu"])
    assert window.start_ns == other.now_ns
    assert (window.activity[:, 1:] == UNSEEN).all()
    assert not window.yields.any() and not window.ipis.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MSEC, 0), r"sample_ns: value 0 \(allowed: integer >= 1\)"),
        ((MSEC, 2 * MSEC), r"window_ns: value 1000000 \(allowed: 1..10000 times sample_ns, 2000000\)"),
        ((10_001, 1), r"window_ns: value 10001 \(allowed: 1..10000 times sample_ns, 1\)"),
    ],
)
def test_wrong_lengths_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Gantt(*arguments)


@pytest.mark.parametrize("picture", [render.ansi, render.rgb_array])
def test_picture_of_nothing_is_refused(picture):
    with pytest.raises(ValueError, match="nothing sampled"):
        picture(Gantt())


def plain(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


def test_ansi_has_a_line_for_every_cpu(crowded):
    text = render.ansi(crowded, "a title")
    lines, window = plain(text), crowded.window()
    assert lines[0] == "a title"
    rows = [line for line in lines if line.startswith("CPU")]
    assert len(rows) == crowded.nr_cpus
    for cpu, row in enumerate(rows):
        chart, counts = row[7:107], row[107:].split()
        for place in range(0, render.ANSI_COLUMNS, 7):
            at = place * crowded.columns // render.ANSI_COLUMNS
            activity, letter = window.activity[cpu, at], "ab"[window.vm[cpu, at]]
            assert chart[place] == {COMPUTE: letter, SPIN: letter.upper()}.get(activity, "_.~   "[activity])
        assert [int(count) for count in counts] == [window.yields[cpu].sum(), window.ipis[cpu].sum()]
    assert "20 ms" in lines[-1] and "38 ms" in lines[-1]
    assert text == render.ansi(crowded, "a title")


def colours(frame: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(int(c) for c in colour) for colour in np.unique(frame.reshape(-1, 3), axis=0)}


def test_frame(crowded):
    frame = render.rgb_array(crowded, "a title")
    assert frame.dtype == np.uint8
    assert frame.shape == (390, 880, 3)
    assert np.array_equal(frame, render.rgb_array(crowded, "a title"))
    assert not np.array_equal(frame, render.rgb_array(crowded, "another title"))


def test_frame_shows_every_sample(crowded):
    """Half-way down each CPU's row, away from the numbers, stand its samples' colours, one after the other."""
    frame, window = render.rgb_array(crowded), crowded.window()
    row = 20
    top = frame.shape[0] - render.AXIS - row * crowded.nr_cpus
    columns = np.arange(render.WIDTH) * crowded.columns // render.WIDTH
    for cpu in range(crowded.nr_cpus):
        drawn = frame[top + row * cpu + 4, render.LEFT : render.LEFT + render.WIDTH]
        for vm in (0, 1):
            for activity in (COMPUTE, SPIN):
                there = ((window.activity[cpu] == activity) & (window.vm[cpu] == vm))[columns]
                allowed = {tuple(map(int, colour)) for colour in render.COLOUR_TABLE[activity, vm]}
                assert {tuple(map(int, colour)) for colour in drawn[there]} <= allowed
    assert {tuple(map(int, render.COLOUR_TABLE[SPIN, vm, 0])) for vm in (0, 1)} <= colours(frame[top:])


def test_strips_of_a_frame_show_events(crowded):
    frame, window = render.rgb_array(crowded), crowded.window()
    row = 20
    top = frame.shape[0] - render.AXIS - row * crowded.nr_cpus
    columns = np.arange(render.WIDTH) * crowded.columns // render.WIDTH
    for counts, y in ((window.yields, 1), (window.ipis, row - 2)):
        assert counts.any()
        for cpu in range(crowded.nr_cpus):
            drawn = frame[top + row * cpu + y, render.LEFT : render.LEFT + render.WIDTH]
            assert np.array_equal((drawn < 255).any(axis=1), counts[cpu, columns] > 0)


def test_frames_of_one_machine_have_one_size():
    run, gantt = machine(), Gantt(2 * MSEC)
    shapes = set()
    for end_ns in (0, MSEC, 5 * MSEC, 123_456_789):
        gantt.follow(run, end_ns)
        shapes.add(render.rgb_array(gantt, f"{end_ns} ns").shape)
    assert len(shapes) == 1


@pytest.mark.parametrize(("cpus", "row"), [(8, 20), (64, 10), (128, 5), (256, 3)])
def test_hosts_of_other_sizes(cpus, row):
    gantt = followed(machine("vips-4vm", f"host.cpus={cpus}"), 2 * MSEC, 2 * MSEC, 1_999)
    chart = row * cpus
    frame = render.rgb_array(gantt)
    assert chart < frame.shape[0] < chart + 100
    assert {tuple(map(int, render.COLOUR_TABLE[COMPUTE, vm, 0])) for vm in range(4)} <= colours(frame)
    assert sum(line.startswith("CPU") for line in plain(render.ansi(gantt))) == cpus


def test_more_vms_than_colours():
    gantt = followed(machine("vips-2vm", "host.cpus=64", "vms.0.count=30"), 2 * MSEC)
    assert gantt.nr_vms == 30
    assert gantt.window().vm.max() > 26
    assert render.rgb_array(gantt).shape[1] == 880
    assert len(plain(render.ansi(gantt))) == 64 + 4


def test_colours_differ():
    table = render.COLOUR_TABLE.astype(int)
    luminance = table @ [0.299, 0.587, 0.114]
    assert (luminance[COMPUTE] - luminance[SPIN] > 40).all(), "spinning is darker, also without colour"
    flat = {tuple(colour) for colour in table[[COMPUTE, SPIN]].reshape(-1, 3).tolist()}
    assert len(flat) == 2 * len(render.VM_COLOURS) * len(render.SHADES)


@pytest.mark.parametrize("module", ["PIL", "pygame"])
def test_a_missing_library_is_named(monkeypatch, crowded, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyNotInstalled, match=r'is not installed; run `pip install "vcpu-env\[render\]"`'):
        render.rgb_array(crowded) if module == "PIL" else render.Window()


def test_window(monkeypatch, crowded):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    window, frame = render.Window("caption", fps=0), render.rgb_array(crowded)
    for shown in (frame, frame, frame[:100]):
        window.show(shown)
        surface = pygame.display.get_surface()
        assert np.array_equal(pygame.surfarray.array3d(surface).transpose(1, 0, 2), shown)
    assert pygame.display.get_caption()[0] == "caption"
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    window.show(frame)
    assert window.closed and not pygame.display.get_init()
    window.show(frame)
    window.close()
    again = render.Window()
    again.show(frame)
    again.close()
    assert not pygame.display.get_init()


@pytest.fixture
def make_gif(monkeypatch):
    spec = importlib.util.spec_from_file_location("make_gif", MAKE_GIF)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FRAMES", 3)
    monkeypatch.setattr(module, "LENGTH_NS", 3 * MSEC)
    return module


def gif(module, monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["make_gif.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        module.main()
    return end.value.code or 0


def test_gif(make_gif, monkeypatch, tmp_path):
    toml = tmp_path / "tiny.toml"
    toml.write_text('run.warmup_ns = 1_000_000\n[[vms]]\nname = "a"\nvcpus = 4\nworkload = "vips"\n')
    for name in ("one.gif", "two.gif"):
        assert gif(make_gif, monkeypatch, "--scenario", toml, "--out", tmp_path / name) == 0
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()
    with Image.open(tmp_path / "one.gif") as image:
        assert (image.n_frames, image.size[0], image.info["loop"]) == (3, 880, 0)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--scenario", "dedup-2wm", "did you mean 'dedup-2vm'?"),
        ("--seed", "-1", "seed: value -1"),
        ("--seed", "x", "--seed"),
        ("--out", "picture.png", "--out: value 'picture.png'"),
        ("--out", "no/such/place.gif", "--out: value 'no/such/place.gif'"),
    ],
)
def test_gif_refuses(make_gif, monkeypatch, capsys, option, value, says):
    assert gif(make_gif, monkeypatch, option, value) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and error[0].startswith("error: ") and says in error[0]


def test_shipped_gif_is_small():
    with Image.open(MAKE_GIF.parent / "stock-vs-series.gif") as image:
        assert image.n_frames == 80 and image.info["loop"] == 0
    assert (MAKE_GIF.parent / "stock-vs-series.gif").stat().st_size < 1_500_000
