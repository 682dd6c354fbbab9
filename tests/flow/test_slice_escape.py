"""Ways past the layer that keeps a slice's limits: what each comes to is a row of the table in docs/slice.md.

`slice_escape WAY` asks for 16 buffers of 1 MiB in a slice of 8 and says how many it got."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from harness import PATIENCE_S, eventually
from slice_world import BUILD, MIB, NEEDS_OPENCL, Slices, gone, slices  # noqa: F401

ESCAPE, STATIC = BUILD / "tests/tools/slice_escape", BUILD / "tests/tools/exec_static"
POCL = list(pathlib.Path("/etc/OpenCL/vendors").glob("pocl*.icd"))
DRIVER = POCL[0].read_text().strip() if POCL else ""
pytestmark = [NEEDS_OPENCL, pytest.mark.skipif(not POCL or not ESCAPE.exists(), reason="PoCL or the OpenCL headers are missing (tools/deps opencl)")]
SLICE = ["--gpu", 8 * MIB, "--share", "50", "--"]


def run(slices, *program, code=0, **more):
    return slices("-q", *SLICE, *program, code=code, **more)


def others(slices):
    """Processes that this slice's program left behind."""
    return [p for p in slices.ls() if p["processes"]]


# --- stays limited ---

LIMITED = {
    "plain": "granted 8",
    "local": "granted 8",          # dlopen with RTLD_LOCAL
    "deepbind": "granted 8",
    "dlmopen": "granted 8",
    "namespaces": "granted 2",     # beside 6 of another copy of the loader in the same process
    "fork": "before 6 granted 2",  # the child holds the parent's context
    "exec": "granted 2",           # beside 6 of its parent
    "threads": "granted 8",        # 32 of them
}


@pytest.mark.parametrize("way, outcome", LIMITED.items())
def test_stays_limited(slices, way, outcome):
    assert run(slices, ESCAPE, way) == (outcome + "\n", "")


@pytest.mark.skipif(not STATIC.exists(), reason="a build with sanitizers has no static programs")
def test_stays_limited_behind_a_static_program(slices):
    """It has no dynamic loader, so nothing of ours is in it; what it becomes has."""
    assert run(slices, STATIC, ESCAPE, "plain")[0] == "granted 8\n"


def test_stays_limited_in_a_session_of_its_own(slices):
    assert run(slices, "setsid", "-w", ESCAPE, "plain")[0] == "granted 8\n"


def test_stays_limited_under_layers_of_the_users_own(slices):
    """They stand before ours, not in its place."""
    assert run(slices, ESCAPE, "plain", env={"OPENCL_LAYERS": "/nowhere/a.so"})[0] == "granted 8\n"


def may_unshare(*flags):
    return subprocess.run(["unshare", *flags, "true"], capture_output=True, check=False).returncode == 0


FLAGS = ["-p", "-f"] if os.geteuid() == 0 else ["-U", "-r", "-p", "-f"]
UNSHARE = pytest.mark.skipif(not may_unshare(*FLAGS), reason="this user can make no pid namespace here")


@UNSHARE
def test_stays_limited_in_a_pid_namespace_of_its_own(slices):
    assert run(slices, "unshare", *FLAGS, ESCAPE, "plain")[0] == "granted 8\n"


@UNSHARE
def test_what_was_killed_in_a_pid_namespace_of_its_own_is_credited(slices):
    """The first holds all and is killed; the second, outside, is granted all."""
    script = (f'unshare {" ".join(FLAGS)} sh -c \'"$0" wait & sleep 0.2; while ! [ -s up ]; do sleep 0.05; done; kill -9 $!\' "$0" >up; '
              'cat up; for i in $(seq 100); do "$0" plain >now; grep -q "granted 8" now && break; sleep 0.1; done; cat now')
    out, err = run(slices, "sh", "-c", script, ESCAPE, cwd=slices.home)
    assert out == "granted 8\ngranted 8\n" and err == ""


@UNSHARE
def test_with_a_proc_of_its_own_the_lease_is_out_of_sight_and_nothing_is_given(slices):
    assert run(slices, "unshare", *FLAGS, "--mount-proc", ESCAPE, "plain", code=3)[0] == "no context\n"


# --- is stopped and named ---

FORGE = """
import os, sys
limits, counters = (bytearray(open(p, "rb").read()) for p in os.environ["FGPU_LEASE"].split(":"))
limits[192:200] = (64 << 20).to_bytes(8, "little")   # memory_bytes
open("limits", "wb").write(limits)
open("counters", "wb").write(counters)
os.execv(sys.argv[1], sys.argv[1:])
"""
FORGED = "FGPU_LEASE={home}/limits:{home}/counters"
STOPPED = {
    "a cleaned environment": (["env", "-i", ESCAPE, "plain"], "OPENCL_LAYERS was taken out of its environment"),
    "layers of its own in place of ours": (["env", "OPENCL_LAYERS=/nowhere/a.so", ESCAPE, "plain"], "OPENCL_LAYERS was taken out of its environment"),
    "a driver loaded by hand": ([ESCAPE, "driver", DRIVER], "by itself, past the layer"),
    "an environment cleaned by itself": ([ESCAPE, "clearenv"], "is not in the books"),
    "a forged lease in the environment": ([sys.executable, "-c", FORGE, "/usr/bin/env", FORGED, ESCAPE, "plain"], "with a lease of its own"),
    "a forged lease set by itself": ([sys.executable, "-c", FORGE, ESCAPE, "own-lease", "{home}/limits:{home}/counters"], "is not in the books"),
    "a daemon": (["sh", "-c", f"setsid -f env -i {ESCAPE} plain & exec sleep 600"], "OPENCL_LAYERS was taken out of its environment"),
    "a pid namespace and a cleaned environment": (["unshare", *FLAGS, "env", "-i", ESCAPE, "plain"], "OPENCL_LAYERS was taken out of its environment"),
}


@pytest.mark.parametrize("way", STOPPED)
def test_is_stopped_and_named(slices, way):
    if "namespace" in way and not may_unshare(*FLAGS):
        pytest.skip("this user can make no pid namespace here")
    program, reason = STOPPED[way]
    p = slices.start("-q", *SLICE, *[str(w).format(home=slices.home) for w in program], cwd=slices.home)
    said = p.stderr.readline()
    assert reason in said and re.match(r"fgpu: slice s\d+: stopped: process \d+ \(slice_escape\)", said), said
    if way == "a daemon":
        p.terminate()
    assert p.wait(PATIENCE_S) != 0
    assert p.stdout.read() in ("granted 16\n", "")  # it may have been stopped before it could say so
    assert eventually(lambda: not others(slices))


def test_the_rest_of_the_slice_goes_on(slices):
    script = 'env -i "$0" plain; echo "ended $?"; "$0" plain'
    out, err = run(slices, "sh", "-c", script, ESCAPE)
    assert "ended 137\ngranted 8\n" in out and err.count("stopped:") == 1


def test_who_uses_no_device_is_left_alone(slices):
    """A cleaned environment is no offence."""
    assert run(slices, "env", "-i", "sh", "-c", "sleep 2; echo good") == ("good\n", "")


# --- escapes ---

@pytest.fixture
def user():
    """Slices of an ordinary user: root can look at everybody."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fgpu-escape-"))
    folder.chmod(0o755)
    claims = folder / "claims"
    claims.mkdir()
    claims.chmod(0o1777)
    made = Slices(folder, claims, 64801 if os.geteuid() == 0 else None)
    try:
        reads = subprocess.run([ESCAPE], capture_output=True, check=False, **made.user, cwd="/").returncode == 3
    except PermissionError:
        reads = False
    if not reads:
        pytest.skip("the build is not to be read by others")
    yield made
    made.end()
    made.kill_arbiters()
    shutil.rmtree(folder)


def test_escapes_by_forbidding_its_user_to_look(user):
    """A process that is not dumpable shows nothing to others of its user, ssh-agent for one: it is left alone."""
    p = user.start("-q", *SLICE, ESCAPE, "hidden", DRIVER, cwd="/")
    assert p.stdout.readline() == "granted 16\n"
    assert eventually(lambda: user.row(p)["age_ns"] > 7e9, every=0.5)
    assert p.poll() is None
    p.kill()


def test_escapes_once_its_slice_has_ended(slices, tmp_path):
    """Who was not attached when the program ended has nobody to look at him."""
    script = f'(exec >{tmp_path}/out 2>&1; sleep 2; exec env -i "$0" plain) & echo $!'
    pid = int(run(slices, "sh", "-c", script, ESCAPE)[0])
    assert eventually(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text() == "granted 16\n")
    assert not gone(pid)
    os.kill(pid, signal.SIGKILL)
