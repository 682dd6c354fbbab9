"""fgpu slice, driven as a user drives it: no server, real processes, the machine's own OpenCL device."""
import os
import pathlib
import pty
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from harness import PATIENCE_S, eventually
from slice_world import FGPU, LAYER, MIB, NEEDS_OPENCL, free_bytes, gone, slices  # noqa: F401

pytestmark = NEEDS_OPENCL


# --- the program ---

def test_the_program_runs_with_a_lease_and_the_layer(slices):
    out, err = slices("--gpu", "64MiB", "--share", "25", "--", "sh", "-c", 'echo "$FGPU_LEASE"; echo "$OPENCL_LAYERS"')
    lease, layers = out.splitlines()
    assert lease.startswith("/proc/") and lease.count(":") == 1
    assert layers == str(LAYER.resolve())
    assert "64 MiB" in err and "25 %" in err and "audited" in err and "opencl0" in err


def test_quiet_prints_nothing(slices):
    assert slices("-q", "--gpu", "64MiB", "--share", "25", "--", "true") == ("", "")


def test_layers_of_the_user_stay(slices):
    out, _ = slices("--gpu", "64MiB", "--share", "25", "--", "sh", "-c", 'echo "$OPENCL_LAYERS"', env={"OPENCL_LAYERS": "/a.so:/b.so"})
    assert out == f"{LAYER.resolve()}:/a.so:/b.so\n"


@pytest.mark.parametrize("script, code", [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)])
def test_the_exit_status_is_the_programs(slices, script, code):
    slices("-q", "--gpu", "64MiB", "--share", "25", "--", "sh", "-c", script, code=code)


def test_a_program_that_cannot_be_started_is_named(slices, tmp_path):
    assert "/nowhere" in slices.refused(127, "-q", "--gpu", "64MiB", "--share", "25", "--", "/nowhere")
    assert "Permission denied" in slices.refused(126, "-q", "--gpu", "64MiB", "--share", "25", "--", tmp_path)


def test_standard_input_is_the_programs(slices):
    p = slices.start("-q", "--gpu", "64MiB", "--share", "25", "--", "cat", stdin=subprocess.PIPE)
    assert p.communicate("hello\n", timeout=PATIENCE_S)[0] == "hello\n"


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_program(slices, sig):
    """The program sleeps shortly: a signal that comes just before Python's sleep does not end it."""
    script = f"import signal, sys, time\nsignal.signal({int(sig)}, lambda *a: sys.exit(42))\nprint('up', flush=True)\nwhile True: time.sleep(0.05)"
    p = slices.start("-q", "--gpu", "64MiB", "--share", "25", "--", sys.executable, "-c", script)
    assert p.stdout.readline() == "up\n"
    p.send_signal(sig)
    assert p.wait(PATIENCE_S) == 42


def read_until(fd, part, timeout=PATIENCE_S):
    text, end = b"", time.monotonic() + timeout
    while part not in text and select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
        text += os.read(fd, 1000)
    assert part in text, text
    return text


def test_ctrl_c_reaches_the_program_once(slices):
    """The terminal sends it to the whole group: passed on as well, the program would get it twice."""
    script = ("import signal, sys, time\nn = []\nsignal.signal(2, lambda *a: n.append(1))\nprint('up', flush=True)\n"
              "end = time.monotonic() + 600\nwhile not n and time.monotonic() < end: time.sleep(0.05)\n"
              "time.sleep(1)\nprint('got', len(n), flush=True)")
    master, terminal = pty.openpty()
    # the new session's first opened terminal is its own
    command = f"exec {shlex.join(map(str, [FGPU, 'slice', '-q', '--gpu', '64MiB', '--share', '25', '--', sys.executable, '-c', script]))}"
    p = subprocess.Popen(["sh", "-c", f"exec <>{os.ttyname(terminal)} >&0 2>&1; {command}"], env=slices.env, start_new_session=True)
    slices.running.append(p)
    read_until(master, b"up")
    os.write(master, b"\x03")
    assert b"got 1" in read_until(master, b"got 1")
    assert p.wait(PATIENCE_S) == 0
    os.close(master)
    os.close(terminal)


def test_a_signal_the_program_does_not_treat_ends_both(slices):
    p, _ = slices.hold("--gpu", "64MiB", "--share", "25")
    p.terminate()
    assert p.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert eventually(lambda: not slices.ls())


def test_killing_the_slice_ends_its_program_and_frees_its_quota(slices):
    p = slices.start("--gpu", "64MiB", "--share", "100", "--", "sh", "-c", "echo $$; exec sleep 600")
    pid = int(p.stdout.readline())
    p.kill()
    p.wait()
    assert eventually(lambda: gone(pid))
    slices("-q", "--gpu", "64MiB", "--share", "100", "--", "true")


# --- admission ---

def test_never_more_memory_than_the_device_has(slices):
    _, row = slices.hold("--gpu", "64MiB", "--share", "10")
    total = free_bytes(slices)
    out = slices.refused(5, "--gpu", total, "--share", "10", "--", "true")
    assert "not enough memory left" in out and "free" in out and "fgpu slice ls" in out
    slices("--gpu", total - 64 * MIB, "--share", "10", "--", "true")


@pytest.mark.parametrize("mode", ["weighted", "capped"])
def test_shares_over_a_hundred_are_refused(slices, mode):
    slices.hold("--gpu", "64MiB", "--share", "70", "--mode", mode)
    out = slices.refused(5, "--gpu", "64MiB", "--share", "40", "--mode", mode, "--", "true")
    assert "30 % is free" in out
    slices("--gpu", "64MiB", "--share", "30", "--mode", mode, "--", "true")


def test_exclusive_is_alone(slices):
    p, row = slices.hold("--gpu", "64MiB", "--mode", "exclusive")
    assert row["mode"] == "exclusive" and row["share_permille"] == 1000
    assert "alone" in slices.refused(5, "--gpu", "64MiB", "--share", "1", "--", "true")
    p.terminate()
    p.wait(PATIENCE_S)
    slices.hold("--gpu", "64MiB", "--share", "1")
    assert "cannot be held alone" in slices.refused(5, "--gpu", "64MiB", "--mode", "exclusive", "--", "true")


@pytest.mark.parametrize("options, code, text", [
    (["--gpu", "0", "--share", "25"], 2, "--gpu"),
    (["--gpu", "lots", "--share", "25"], 2, "--gpu"),
    (["--gpu", "3000000GB", "--share", "25"], 2, "--gpu"),
    (["--gpu", "1500GB", "--share", "25"], 2, "is more than opencl0"),
    (["--gpu", "64MiB", "--share", "0"], 2, "--share"),
    (["--gpu", "64MiB", "--share", "101"], 2, "--share"),
    (["--gpu", "64MiB"], 2, "--share is missing"),
    (["--share", "25"], 2, "--gpu is missing"),
    (["--gpu", "64MiB", "--share", "25", "--mode", "greedy"], 2, "greedy"),
    (["--gpu", "64MiB", "--share", "25", "--device", "31"], 4, "opencl0 ("),
    (["--gpu", "64MiB", "--share", "25", "--device", "no such card"], 4, "no such card"),
])
def test_bad_input_is_named(slices, options, code, text):
    assert text in slices.refused(code, *options, "--", "true")


def test_a_program_is_needed(slices):
    assert "no program was given" in slices.refused(2, "--gpu", "64MiB", "--share", "25")


@pytest.mark.parametrize("word", ["0", "opencl0"])
def test_a_device_is_named_by_number_or_name(slices, word):
    _, row = slices.hold("--gpu", "64MiB", "--share", "25", "--device", word)
    assert row["device"] == "opencl0"


def test_slices_do_not_nest(slices):
    out = slices.refused(5, "-q", "--gpu", "64MiB", "--share", "25", "--", FGPU, "slice", "--gpu", "1MiB", "--share", "1", "--", "true")
    assert "do not nest" in out


# --- ls and set ---

def test_ls_shows_what_runs(slices):
    assert slices("ls")[0].split()[0] == "ID"
    assert slices.ls() == []
    _, row = slices.hold("--gpu", "64MiB", "--share", "12.5", "--mode", "capped")
    assert row["memory_bytes"] == 64 * MIB and row["share_permille"] == 125 and row["mode"] == "capped"
    assert row["used_bytes"] == 0 and row["command"] == "sleep 600" and row["level"] == "audited"
    text = slices("ls")[0]
    assert row["id"] in text and "64 MiB" in text and "12.5 %" in text and "capped" in text


def test_set_changes_a_slice_that_runs(slices):
    p, row = slices.hold("--gpu", "64MiB", "--share", "25")
    assert "128 MiB" in slices("set", row["id"], "--gpu", "128MiB", "--share", "50")[0]
    now = slices.row(p)
    assert now["memory_bytes"] == 128 * MIB and now["share_permille"] == 500 and now["mode"] == "weighted"
    slices("set", row["id"][1:], "--mode", "capped")
    assert slices.row(p)["mode"] == "capped"


def test_set_refuses_what_open_would_refuse(slices):
    p, row = slices.hold("--gpu", "64MiB", "--share", "25")
    slices.hold("--gpu", "64MiB", "--share", "60")
    assert "40 % is free" in slices.refused(5, "set", row["id"], "--share", "50")
    assert "cannot be held alone" in slices.refused(5, "set", row["id"], "--mode", "exclusive", "--share", "40")
    assert "is more than" in slices.refused(2, "set", row["id"], "--gpu", "1500GB")
    slices.refused(2, "set", row["id"], "--gpu", "0")
    slices.refused(2, "set", row["id"], "--share", "0")
    slices.refused(2, "set", row["id"])
    assert slices.row(p)["share_permille"] == 250 and slices.row(p)["memory_bytes"] == 64 * MIB


def test_set_of_a_slice_that_is_not_there(slices):
    slices.refused(4, "set", "s1", "--share", "5")
    slices.hold("--gpu", "64MiB", "--share", "25")
    assert "no slice 's1'" in slices.refused(4, "set", "s1", "--share", "5")


# --- the arbiter ---

def test_the_arbiter_is_private_and_ends_with_its_last_slice(slices):
    p, _ = slices.hold("--gpu", "64MiB", "--share", "25")
    assert len(slices.arbiters()) == 1
    assert slices.socket.stat().st_mode & 0o777 == 0o600 and slices.socket.parent.stat().st_mode & 0o77 == 0
    p.terminate()
    assert eventually(lambda: not slices.socket.exists())
    assert eventually(lambda: not slices.arbiters())


def test_many_slices_at_once_have_one_arbiter_and_never_too_much(slices):
    go = slices.home / "go"
    started = [slices.start("-q", "--gpu", "16MiB", "--share", "10", "--", "sh", "-c", f"until [ -e {go} ]; do sleep 0.1; done") for _ in range(16)]
    assert eventually(lambda: len(slices.ls()) == 10 and sum(p.poll() is None for p in started) == 10)
    assert len(slices.arbiters()) == 1
    go.touch()
    codes = sorted(p.wait(PATIENCE_S) for p in started)
    assert codes == [0] * 10 + [5] * 6
    assert len({s["id"] for s in slices.ls()}) == len(slices.ls())


def test_ls_shows_more_slices_than_one_answer_holds(slices):
    started = [slices.start("-q", "--gpu", "1MiB", "--share", "1", "--", "sleep", "900") for _ in range(80)]
    assert eventually(lambda: len(slices.ls()) == 80, 300, every=0.3)
    assert {s["pid"] for s in slices.ls()} == {p.pid for p in started}
    os.kill(slices.arbiters()[0], signal.SIGKILL)
    assert eventually(lambda: len(slices.ls()) == 80, 300, every=0.3), "not all came back"
    for p in started:
        p.terminate()
    assert eventually(lambda: not slices.ls())


def test_one_after_another_each_gets_the_whole_device(slices):
    for _ in range(10):
        slices("-q", "--gpu", "64MiB", "--share", "100", "--", "true")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_arbiter_is_replaced_and_nothing_is_given_away(slices, how):
    p, before = slices.hold("--gpu", "64MiB", "--share", "60")
    slices.hold("--gpu", "64MiB", "--share", "30")
    for _ in range(3):
        old, = slices.arbiters()
        os.kill(old, how)
        assert "10 % is free" in slices.refused(5, "-q", "--gpu", "64MiB", "--share", "20", "--", "true")
        assert eventually(lambda: old not in slices.arbiters() and len(slices.arbiters()) == 1)
        assert p.poll() is None
        now = slices.row(p)
        assert (now["id"], now["memory_bytes"], now["share_permille"]) == (before["id"], 64 * MIB, 600)
    slices("set", before["id"], "--share", "65")
    assert slices.row(p)["share_permille"] == 650


def test_the_program_goes_on_when_no_arbiter_can_be_had(slices):
    p, _ = slices.hold("--gpu", "64MiB", "--share", "60", program=["sh", "-c", f"until [ -e {slices.home}/go ]; do sleep 0.1; done; exit 9"])
    folder = slices.socket.parent
    hidden = folder.with_name("hidden")
    folder.rename(hidden)
    folder.write_text("in the way")
    for pid in [int(q.parent.name) for q in pathlib.Path("/proc").glob("[0-9]*/cmdline") if is_arbiter_of(q, folder)]:
        os.kill(pid, signal.SIGKILL)
    said = ""
    while "its arbiter is gone" not in said and (line := p.stderr.readline()):
        said += line
    (slices.home / "go").touch()
    assert "its arbiter is gone" in said and p.wait(PATIENCE_S) == 9
    folder.unlink()
    shutil.rmtree(hidden)


def is_arbiter_of(cmdline, folder):
    try:
        return cmdline.read_bytes().split(b"\0")[1:3] == [b"slice-arbiter", str(folder).encode()]
    except OSError:
        return False


# --- errors of the machine ---

def test_without_a_device_the_package_is_named(slices, tmp_path):
    out = slices.refused(5, "--gpu", "64MiB", "--share", "25", "--", "true", env={"OCL_ICD_VENDORS": str(tmp_path / "none")})
    assert "OpenCL" in out and "pocl-opencl-icd" in out


@pytest.mark.skipif(os.geteuid() == 0, reason="root would use /run/fastgpu, which is this machine's own")
def test_a_folder_that_others_can_write_is_not_used(slices):
    (slices.run_dir / "fastgpu").mkdir()
    (slices.run_dir / "fastgpu").chmod(0o777)
    slices("-q", "--gpu", "64MiB", "--share", "25", "--", "true")  # the data folder instead
    assert not slices.socket.exists()


# --- a real OpenCL program ---

PROBE = r"""
import ctypes as C, sys
cl = C.CDLL("libOpenCL.so.1")
for f in ("clCreateContext", "clCreateBuffer"):
    getattr(cl, f).restype = C.c_void_p
p, d, n, e = C.c_void_p(), C.c_void_p(), C.c_uint64(), C.c_int32()
assert cl.clGetPlatformIDs(1, C.byref(p), None) == 0
assert cl.clGetDeviceIDs(p, C.c_uint64(0xffffffff), 1, C.byref(d), None) == 0
def size():
    assert cl.clGetDeviceInfo(d, 0x101f, C.c_size_t(8), C.byref(n), None) == 0
    return n.value
print(size(), flush=True)
ctx = cl.clCreateContext(None, 1, C.byref(d), None, None, C.byref(e))
assert ctx, e.value
def buffers():
    got = []
    while len(got) < 64:
        b = cl.clCreateBuffer(C.c_void_p(ctx), C.c_uint64(1), C.c_size_t(1 << 20), None, C.byref(e))
        if not b:
            break
        got.append(b)
    for b in got[:0 if len(sys.argv) > 1 else None]:
        cl.clReleaseMemObject(C.c_void_p(b))
    return len(got), e.value
print(*buffers(), flush=True)
for line in sys.stdin:
    print(size(), *buffers(), flush=True)
"""


def test_an_opencl_program_sees_and_gets_its_quota(slices):
    out, _ = slices("-q", "--gpu", "8MiB", "--share", "25", "--", sys.executable, "-c", PROBE)
    assert out.split() == [str(8 * MIB), "8", "-4"]


def test_a_resized_slice_grows_and_shrinks_at_once(slices):
    p = slices.start("-q", "--gpu", "8MiB", "--share", "25", "--", sys.executable, "-c", PROBE, stdin=subprocess.PIPE)
    assert p.stdout.readline().split() == [str(8 * MIB)]
    assert p.stdout.readline().split() == ["8", "-4"]
    for quota in (12, 4):
        slices("set", slices.row(p)["id"], "--gpu", f"{quota}MiB")
        p.stdin.write("\n")
        p.stdin.flush()
        assert p.stdout.readline().split() == [str(quota * MIB), str(quota), "-4"]
    p.stdin.close()
    assert p.wait(PATIENCE_S) == 0


def test_what_a_program_holds_is_shown_and_survives_the_arbiter(slices):
    p = slices.start("-q", "--gpu", "8MiB", "--share", "25", "--", sys.executable, "-c", PROBE, "keep", stdin=subprocess.PIPE)
    p.stdout.readline(), p.stdout.readline()
    row = slices.row(p)
    assert row["used_bytes"] == 8 * MIB and row["processes"] == 1 and row["denied"] == 1
    os.kill(slices.arbiters()[0], signal.SIGKILL)
    assert eventually(lambda: slices.ls())
    assert slices.row(p)["used_bytes"] == 8 * MIB
    slices("set", row["id"], "--gpu", "9MiB")
    p.stdin.write("\n")
    p.stdin.flush()
    assert p.stdout.readline().split() == [str(9 * MIB), "1", "-4"]
    p.stdin.close()
    assert p.wait(PATIENCE_S) == 0
    assert eventually(lambda: not slices.ls())


def test_a_background_process_keeps_its_slice(slices, tmp_path):
    """What outlives the program still holds device memory, and that is not given to others."""
    (tmp_path / "probe.py").write_text(PROBE)
    os.mkfifo(tmp_path / "line")
    script = f"{sys.executable} probe.py keep <>line >out & echo $!; until grep -q ' ' out; do sleep 0.05; done"
    p = slices.start("-q", "--gpu", "8MiB", "--share", "100", "--", "sh", "-c", script, cwd=tmp_path)
    pid = int(p.stdout.readline())
    try:
        assert p.wait(PATIENCE_S) == 0
        row, = slices.ls()
        assert row["id"] == f"s{p.pid}" and row["used_bytes"] == 8 * MIB and row["processes"] == 1
        assert "0 % is free" in slices.refused(5, "-q", "--gpu", "8MiB", "--share", "1", "--", "true")
    finally:
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not slices.ls())


# Fills one buffer after another; each line: jobs done, and how many of them passed without a grant (the first slot's word).
FILLER = r"""
import ctypes as C, os, struct, sys
cl = C.CDLL("libOpenCL.so.1")
for f in ("clCreateContext", "clCreateBuffer", "clCreateCommandQueue"):
    getattr(cl, f).restype = C.c_void_p
p, d, e, n = C.c_void_p(), C.c_void_p(), C.c_int32(), 0
assert cl.clGetPlatformIDs(1, C.byref(p), None) == 0
assert cl.clGetDeviceIDs(p, C.c_uint64(0xffffffff), 1, C.byref(d), None) == 0
ctx = C.c_void_p(cl.clCreateContext(None, 1, C.byref(d), None, None, C.byref(e)))
q = C.c_void_p(cl.clCreateCommandQueue(ctx, d, C.c_uint64(0), C.byref(e)))
b = C.c_void_p(cl.clCreateBuffer(ctx, C.c_uint64(1), C.c_size_t(4 << 20), None, C.byref(e)))
counters = os.open(os.environ["FGPU_LEASE"].split(":")[1], os.O_RDONLY)
while True:
    assert cl.clEnqueueFillBuffer(q, b, b"\0", C.c_size_t(1), C.c_size_t(0), C.c_size_t(4 << 20), 0, None, None) == 0
    assert cl.clFinish(q) == 0
    n += 1
    more = cl.clCreateBuffer(ctx, C.c_uint64(1), C.c_size_t(8 << 20), None, C.byref(e))
    print(n, struct.unpack("Q", os.pread(counters, 8, 4096 + 160))[0], bool(more), flush=True)
"""


def test_a_stopped_arbiter_holds_nobody_up_and_is_obeyed_again_when_it_goes_on(slices):
    p = slices.start("-q", "--gpu", "8MiB", "--share", "50", "--mode", "capped", "--", sys.executable, "-c", FILLER)

    def jobs(until, most=200000):
        """Read lines until the condition on (jobs done, ungated) holds."""
        for _ in range(most):
            n, ungated, more = p.stdout.readline().split()
            assert more == "False"  # the quota holds all the time
            if until(int(n), int(ungated)):
                return int(n), int(ungated)
        raise AssertionError("never so")

    _, before = jobs(lambda n, ungated: n >= 20)
    arbiter, = slices.arbiters()
    os.kill(arbiter, signal.SIGSTOP)
    try:
        n, passed = jobs(lambda n, ungated: ungated > before + 5)  # it went on without a grant
    finally:
        os.kill(arbiter, signal.SIGCONT)
    last = [passed, n]

    def steady(n, ungated):
        if ungated != last[0]:
            last[:] = ungated, n
        return n >= last[1] + 200
    jobs(steady)  # 200 jobs in a row were granted again
    row = slices.row(p)
    assert slices.arbiters() == [arbiter] and row["pid"] == p.pid and row["used_bytes"] == 4 * MIB
    p.terminate()
    p.wait(PATIENCE_S)
