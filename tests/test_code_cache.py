"""Compiled code as it is kept: shared by checkouts, verified, filled by many, useful where nothing can be written."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numba import njit

from vcpu_env import precompile
from vcpu_env.base import code_cache
from vcpu_env.base.code_cache import CodeCache, digest_of, keep_code, read_verified, write_whole
from vcpu_env.base.jit import JIT
from vcpu_env.progress import Progress, duration

PACKAGE = code_cache.PACKAGE
PROBE = """
from vcpu_env.base.log2 import log2_bin
print(log2_bin(1000), sum(log2_bin.stats.cache_misses.values()))
"""
"""Calls a small function of the package; prints its result and whether it had to be compiled."""

compiled_only = pytest.mark.skipif(not JIT, reason="uncompiled, nothing is kept")


def probe(root, cache):
    """Result, versions compiled, and what a fresh process says, with the package under `root`."""
    settings = {"PYTHONPATH": str(root), "VCPU_ENV_CACHE_DIR": str(cache), "NUMBA_DISABLE_JIT": "0"}
    environment = os.environ | settings
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result, compiled = map(int, done.stdout.split())
    return result, compiled, done.stderr


@compiled_only
def test_two_checkouts_share_one_cache(tmp_path):
    for name in ("one", "other"):
        shutil.copytree(PACKAGE, tmp_path / name / "vcpu_env", ignore=shutil.ignore_patterns("__pycache__"))
    result, compiled, said = probe(tmp_path / "one", tmp_path / "cache")
    assert (compiled, said) == (1, "")
    assert probe(tmp_path / "other", tmp_path / "cache") == (result, 0, "")


@compiled_only
def test_code_is_compiled_again_if_what_it_is_made_from_has_changed(tmp_path):
    """What it imports from, near or far; an edit of any other file leaves it as it is."""
    for name in ("before", "beside", "below"):
        shutil.copytree(PACKAGE, tmp_path / name / "vcpu_env", ignore=shutil.ignore_patterns("__pycache__"))
    for name, edited in (("beside", "scenario/host.py"), ("below", "base/header.py")):
        with (tmp_path / name / "vcpu_env" / edited).open("a") as file:
            file.write("# edited\n")
    result, compiled, _ = probe(tmp_path / "before", tmp_path / "cache")
    assert compiled == 1
    assert probe(tmp_path / "beside", tmp_path / "cache") == (result, 0, "")
    assert probe(tmp_path / "below", tmp_path / "cache") == (result, 1, "")
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_what_compiled_code_is_made_from():
    kernel = code_cache.imported(PACKAGE / "kernel" / "entry_points.py")
    assert PACKAGE / "kernel" / "core.py" in kernel
    assert PACKAGE / "base" / "jit.py" in kernel
    assert not any(path.parent == PACKAGE / "scenario" for path in kernel)


@compiled_only
def test_two_processes_fill_a_cache_at_once(tmp_path):
    settings = {"PYTHONPATH": str(PACKAGE.parent), "VCPU_ENV_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", PROBE], env=os.environ | settings, **pipes) for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [said for _, said in outputs] == ["", ""]
    assert len({output.split()[0] for output, _ in outputs}) == 1
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and all(read_verified(path) for path in files)


@compiled_only
@pytest.mark.slow
def test_a_second_checkout_compiles_nothing(tmp_path):
    """A whole simulation in it, with this one's code."""
    precompile.ensure_compiled()
    directory = code_cache.cache_dir()
    before = {path.name for path in directory.iterdir()}
    shutil.copytree(PACKAGE, tmp_path / "vcpu_env", ignore=shutil.ignore_patterns("__pycache__"))
    short = ("--set", "run.warmup_ns=1000000", "--set", "run.duration_ns=1000000")
    command = [sys.executable, "-m", "vcpu_env", "simulate", "dbench-1vm-2vcpu", "--policy", "series-v2", *short]
    settings = {"PYTHONPATH": str(tmp_path), "VCPU_ENV_CACHE_DIR": str(directory.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in directory.iterdir()} == before


def compiled_in(directory):
    """A small function, and whether it had to be compiled: its code is kept in that directory."""

    def double(x):
        return 2 * x

    function = njit(double)
    function._cache = CodeCache(double, directory)
    code_cache.tell.cache_clear()
    assert function(21) == 42
    return not function.stats.cache_hits


@compiled_only
def test_a_damaged_file_is_compiled_again_with_one_line(tmp_path, capsys):
    assert compiled_in(tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (b"", whole[:20], whole[:-1], bytes(flipped)):
        path.write_bytes(damaged)
        assert compiled_in(tmp_path)
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "is damaged" in said
        assert not compiled_in(tmp_path)
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == [path]


@compiled_only
def test_what_cannot_be_written_is_for_this_process_only(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(code_cache, "storing", True)
    (tmp_path / "cache").write_text("no directory")
    assert compiled_in(tmp_path / "cache")
    assert compiled_in(tmp_path / "cache")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be kept" in said


@compiled_only
def test_a_directory_that_may_only_be_read_is_used(tmp_path, monkeypatch, capsys):
    assert compiled_in(tmp_path)

    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(code_cache, "write_whole", read_only)
    assert not compiled_in(tmp_path)
    assert capsys.readouterr().err == ""


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.code"
    body = b"machine code"
    write_whole(path, digest_of(body) + body)
    assert read_verified(path) == body

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"other")
    assert read_verified(path) == body
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def complete(tmp_path):
    """A directory with two files and its marker."""
    directory = tmp_path / "now"
    directory.mkdir()
    for name in ("a.code", "b.code"):
        write_whole(directory / name, digest_of(name.encode()) + name.encode())
    mark(directory, ["a.code", "b.code"], seconds=7.0)
    return directory


def mark(directory, files, seconds=1.0):
    body = json.dumps({"seconds": seconds, "files": files}).encode()
    write_whole(directory / precompile.MARKER, digest_of(body) + body)


def test_a_complete_directory_is_verified(complete, capsys):
    assert precompile.is_complete(complete)
    assert precompile.expectation(complete.parent) == {"seconds": 7.0, "files": 2}
    (complete / "b.code").write_bytes(b"")
    code_cache.tell.cache_clear()
    assert not precompile.is_complete(complete)
    assert sorted(path.name for path in complete.iterdir()) == ["a.code"]
    assert capsys.readouterr().err.count("\n") == 1


def test_the_second_process_waits_for_the_first(complete):
    program = f"""
import pathlib, time
from vcpu_env.precompile import alone
with alone(pathlib.Path({str(complete)!r})):
    print("in", flush=True)
    time.sleep(0.5)
"""
    settings = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(PACKAGE.parent)}
    first = subprocess.Popen([sys.executable, "-c", program], env=settings, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "in\n"
    begin = time.monotonic()
    with precompile.alone(complete):
        waited_s = time.monotonic() - begin
    first.wait(), first.stdout.close()
    assert waited_s >= 0.2


def test_a_file_system_without_locks_is_no_obstacle(complete, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with precompile.alone(complete):
        pass


@pytest.mark.parametrize("free", [10 << 20, None])
def test_no_room_is_said_in_one_line(tmp_path, monkeypatch, capsys, free):
    def usage(_):
        if free is None:
            raise PermissionError(errno.EACCES, "Permission denied")
        return shutil._ntuple_diskusage(1 << 40, 0, free)

    monkeypatch.setattr(precompile, "JIT", True)
    monkeypatch.setattr(precompile, "cache_dir", lambda: tmp_path / "now")
    monkeypatch.setattr(precompile.shutil, "disk_usage", usage)
    monkeypatch.setattr(code_cache, "storing", True)
    code_cache.tell.cache_clear()
    precompile.ensure_compiled.__wrapped__()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert ("the disk is full" if free else "Permission denied") in said
    assert not code_cache.storing


def test_code_of_old_sources_is_forgotten(tmp_path):
    sources = [tmp_path / f"source-{i}" for i in range(precompile.KEPT + 2)]
    for i, source in enumerate(sources):
        source.mkdir()
        mark(source, [])
        os.utime(source / precompile.MARKER, (i, i))
    being_compiled, abandoned = tmp_path / "being-compiled", tmp_path / "abandoned"
    being_compiled.mkdir(), abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    precompile.forget_old_sources(sources[-1])
    assert set(tmp_path.iterdir()) == {*sources[2:], being_compiled}


def test_the_target_is_part_of_the_name(monkeypatch):
    here = code_cache.target_hash()
    assert here == code_cache.target_hash()
    monkeypatch.setattr(code_cache.sys, "version_info", (3, 99))
    assert code_cache.target_hash() != here


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
    now_s = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    with Progress("evaluating", 100, "cells", done=20) as progress:
        for done in range(21, 61):
            now_s += 1.0
            progress.show(done, f"cell {done}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "evaluating: 30 of 100 cells, 10 s, 1 min 10 s left, cell 30",
        "evaluating: 40 of 100 cells, 20 s, 1 min 0 s left, cell 40",
        "evaluating: 50 of 100 cells, 30 s, 50 s left, cell 50",
        "evaluating: 60 of 100 cells, 40 s, 40 s left, cell 60",
    ]
    assert [duration(s) for s in (0.4, 59, 61, 7260)] == ["0 s", "59 s", "1 min 1 s", "2 h 1 min"]


def test_importing_compiles_nothing(tmp_path):
    program = "import vcpu_env.machine, vcpu_env.envs.host_env"
    settings = {"PYTHONPATH": str(PACKAGE.parent), "VCPU_ENV_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"}
    subprocess.run([sys.executable, "-c", program], env=os.environ | settings, check=True)
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_puts_there_meanwhile_is_not_damaged(tmp_path, monkeypatch, capsys):
    """It is looked for, is not there, and is when it is looked whether it is there."""

    def read_first(path):
        found = read_verified(path)
        if not path.exists():
            keep_code("sum-1", b"code", tmp_path)
        return found

    monkeypatch.setattr(code_cache, "read_verified", read_first)
    assert code_cache.kept_code("sum-1", tmp_path) == b"code"
    assert capsys.readouterr().err == ""
