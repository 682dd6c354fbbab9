"""Ways past the CUDA front end of a slice: what each comes to stands in docs/slice.md, which a test compares with this table.

`cuda_escape WAY` asks for 24 chunks of 64 MiB in a slice of 256 MiB, where a context and three chunks fit. Two levels: cooperative is
the front end alone (slice_run), audited is `fgpu slice`. REAL is the folder of the machine's driver, OURS that of the slice."""
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from cuda_world import DRIVERS, FILL, MIB, NEEDS_STAND_IN, SHIMS, CudaSlices, finish, slices  # noqa: F401
from harness import PATIENCE_S, ROOT, eventually
from slice_world import BUILD, FGPU, TWO_USERS

TOOLS = BUILD / "tests" / "tools"
ESCAPE = TOOLS / "cuda_escape"
pytestmark = [NEEDS_STAND_IN, pytest.mark.skipif(not ESCAPE.exists(), reason="tests/tools are not built")]
SLICE = ["--gpu", 256 * MIB, "--share", "50", "--device", "0", "--"]
WORLD = "FGPU_FAKE_CUDA={world}"  # where the stand-in's devices are: a cleaned environment keeps it, as a machine keeps its GPUs

LIMITED, NOTHING, ALL = "granted 3", "no ", "granted 24"
UUID = "GPU-3b4c5d6e-7f90-a1b2-c3d4-e5f60718293a"  # of the stand-in's first
PAST, BOOKS, ESCAPES = "past the front end that keeps the limits, the driver says", "its books say", "escapes"


def way(name):
    return [ESCAPE, name, "{real}"]


def shell(script, *words):
    """$0 is cuda_escape, $1 REAL, then words."""
    return ["sh", "-c", script, ESCAPE, "{real}", *words]


LOADER = next(iter(pathlib.Path("/lib64").glob("ld-linux-*.so.2")), pathlib.Path("/lib/ld-linux-aarch64.so.1"))

# what it does | program | at the cooperative level | reason at the audited one; "": as at the cooperative; ESCAPES: all the same
WAYS = [
    # by the front door
    ("links with the driver", [TOOLS / "cuda_linked"], LIMITED, ""),
    ("links with it and has a run path (RUNPATH) to the machine's", [TOOLS / "cuda_linked_runpath"], LIMITED, ""),
    ("links with a static runtime library", [TOOLS / "cuda_linked_runtime"], LIMITED, ""),
    ("is a script that opens the driver (ctypes)", [sys.executable, "-c", FILL.replace("16 << 20", "64 << 20").replace("print(n", "print('granted', n")], LIMITED, ""),
    ("`dlopen` with `RTLD_NOW`", way("plain"), LIMITED, ""),
    ("`dlopen` with `RTLD_LAZY`, `RTLD_LOCAL`", way("lazy"), LIMITED, ""),
    ("`dlopen` with `RTLD_DEEPBIND`", way("deepbind"), LIMITED, ""),
    ("`dlopen` with `RTLD_GLOBAL`, then `RTLD_DEFAULT`", way("global"), LIMITED, ""),
    ("likewise, then `RTLD_NEXT`", way("next"), LIMITED, ""),
    ("`dlvsym`: the driver has no versions", way("versioned"), NOTHING, ""),
    ("`dlopen` of `libcuda.so`, without a number", way("unnumbered"), LIMITED, ""),
    ("`dlmopen`: a link namespace of its own", way("namespace"), LIMITED, ""),
    ("two link namespaces at once", way("namespaces"), "granted 1", ""),
    ("`dlclose`, and opens it again", way("reopened"), LIMITED, ""),
    ("`cuGetProcAddress`", way("proc-address"), LIMITED, ""),
    ("`cuGetProcAddress` asked of `cuGetProcAddress_v2`", way("proc-address-v2"), LIMITED, ""),
    ("sets `CUDA_VISIBLE_DEVICES` to other devices", way("visible"), LIMITED, ""),
    ("binds everything at its start (`LD_BIND_NOW`)", ["env", "LD_BIND_NOW=1", *way("plain")], LIMITED, ""),
    ("preloads a library of its own (`LD_PRELOAD`)", ["env", "LD_PRELOAD=libm.so.6", *way("plain")], LIMITED, ""),
    ("takes `OPENCL_LAYERS` out of its environment", ["env", "-u", "OPENCL_LAYERS", *way("plain")], LIMITED, ""),
    # more than one process
    ("32 threads at once", way("threads"), LIMITED, ""),
    ("ends its first thread and goes on in another", way("leaderless"), LIMITED, ""),
    ("`fork`, and both begin", way("fork-first"), "granted 1", ""),
    ("`posix_spawn` beside a parent who holds memory", way("spawned"), "granted 1", ""),
    ("a daemon: `fork`, `setsid`, `fork`", way("orphan"), LIMITED, ""),
    ("a session of its own", ["setsid", "-w", *way("plain")], LIMITED, ""),
    ("starts through a static program", [TOOLS / "exec_static", *way("plain")], LIMITED, ""),
    ("starts through the loader by name (`ld.so PROGRAM`)", [LOADER, *way("plain")], LIMITED, ""),
    # another driver
    ("opens the machine's driver by its path", way("direct"), ALL, PAST),
    ("likewise in a link namespace of its own", way("direct-namespace"), ALL, PAST),
    ("likewise, and forbids its user to look at it (`PR_SET_DUMPABLE`)", way("hidden"), ALL, PAST),
    ("likewise, in a process whose first thread has ended", way("leaderless-direct"), ALL, BOOKS),
    ("opens a copy of the driver under another name", way("copied"), ALL, PAST),
    ("opens a copy that is in memory alone (`memfd_create`)", way("from-memory"), ALL, PAST),
    ("links with the driver and has an old run path (RPATH) to the machine's", [TOOLS / "cuda_linked_rpath"], ALL, PAST),
    ("sets `LD_LIBRARY_PATH` to the machine's", ["env", "LD_LIBRARY_PATH={real}", *way("plain")], ALL, PAST),
    ("puts the machine's before ours there", shell('LD_LIBRARY_PATH=$1:$LD_LIBRARY_PATH exec "$0" plain "$1"'), ALL, PAST),
    ("preloads the machine's driver", ["env", "LD_PRELOAD={real}/libcuda.so.1", *way("plain")], ALL, PAST),
    ("`ld.so --library-path`", [LOADER, "--library-path", "{real}", *way("plain")], ALL, PAST),
    ("`ld.so --preload`", [LOADER, "--preload", "{real}/libcuda.so.1", *way("plain")], ALL, PAST),
    ("starts its children with an empty environment (`env -i`)", ["env", "-i", WORLD, "LD_LIBRARY_PATH={real}", *way("plain")], ALL, PAST),
    ("likewise, as a daemon", ["env", "-i", WORLD, "LD_LIBRARY_PATH={real}", *way("orphan")], ALL, PAST),
    ("likewise, behind a static program", [TOOLS / "exec_static", "/usr/bin/env", "-i", WORLD, "LD_LIBRARY_PATH={real}", *way("plain")], ALL, PAST),
    ("puts a link to the machine's driver in the place of ours", shell('ln -sf "$1/libcuda.so.1" "${LD_LIBRARY_PATH%%:*}/libcuda.so.1"; exec "$0" plain "$1"'), ALL, PAST),
    ("removes our folder", shell('rm -r "${LD_LIBRARY_PATH%%:*}"; exec "$0" plain "$1"'), ALL, PAST),
    # in the books, and beside them
    ("begins by the front end, then calls the driver by its path", way("beside"), ALL, BOOKS),
    ("likewise, found in the list of loaded libraries", way("link-map"), ALL, BOOKS),
    ("writes a jump to the driver over our functions", way("patched"), ALL, BOOKS),
    # the lease
    ("takes `FGPU_LEASE` out of its children's environment", ["env", "-u", "FGPU_LEASE", *way("plain")], ALL, PAST),
    ("takes it out of its own before the first call", way("no-lease"), ALL, PAST),
    ("clears its own environment", way("cleared"), ALL, PAST),
    ("names a lease that is none", way("broken-lease"), NOTHING, ""),
    ("makes a lease of its own, a copy with a larger quota", way("own-lease"), ALL, PAST),
    ("makes the file of the limits writable (`chmod`), and writes a larger quota", way("written-limits"), LIMITED, ESCAPES),
    ("cuts the lease's files off", way("truncated"), LIMITED, ""),
    ("makes the page of limits writable (`mprotect`)", way("unprotected"), LIMITED, ""),
    ("writes to it through `/proc/self/mem`", way("own-memory"), LIMITED, ""),
    ("maps a page of its own over it", way("remapped"), ALL, BOOKS),
    ("strikes what it took from the books", way("struck"), ALL, BOOKS),
]


def line_of(pipe, seconds=PATIENCE_S):
    """The next line, or a failure."""
    assert select.select([pipe], [], [], seconds)[0], "nothing was said"
    return pipe.readline()


def filled(program, made):
    if TOOLS / "exec_static" in program and not (TOOLS / "exec_static").exists():
        pytest.skip("a build with sanitizers has no static programs")
    return [str(w).replace("{real}", str(made.driver)).replace("{world}", str(made.world)) for w in program]


@pytest.fixture
def machine(slices):
    (slices.driver / "libcuda.so").symlink_to("libcuda.so.1")
    return slices


@pytest.mark.parametrize("what, program, outcome, reason", WAYS, ids=[w[0] for w in WAYS])
def test_with_the_front_end_alone(machine, what, program, outcome, reason):
    ours = machine.home / "front"
    (ours / "driver").mkdir(parents=True)
    for library, driver in zip(SHIMS, DRIVERS):
        (ours / library.name).symlink_to(library)
        (ours / "driver" / library.name).symlink_to(driver)
    (ours / "libcuda.so").symlink_to("libcuda.so.1")
    env = {**machine.env, "LD_LIBRARY_PATH": f"{ours}:{machine.driver}"}
    done = subprocess.run([TOOLS / "slice_run", f"memory={256 * MIB}", f"device={UUID}", "--", *filled(program, machine)], env=env, cwd=machine.home,
                          capture_output=True, text=True, check=False, timeout=PATIENCE_S, stdin=subprocess.DEVNULL)
    assert done.stdout.startswith(outcome), done


@pytest.mark.parametrize("what, program, outcome, reason", WAYS, ids=[w[0] for w in WAYS])
def test_in_a_slice_that_is_audited(machine, what, program, outcome, reason):
    p = machine.start("-q", *SLICE, *filled(program, machine), cwd=machine.home, stdin=subprocess.PIPE)
    if reason in ("", ESCAPES):
        assert line_of(p.stdout).startswith(ALL if reason else outcome)
        p.stdin.close()
        assert p.wait(PATIENCE_S) in (0, 3) and p.stderr.read() == ""
        return
    said = line_of(p.stderr)
    assert reason in said and re.match(r"fgpu: slice s\d+: stopped: process \d+", said), said
    p.stdin.close()
    p.wait(PATIENCE_S)
    assert p.stdout.read() in (outcome + "\n", "")  # it may have been stopped before it could say so


# --- what takes more than one program ---

def test_a_slice_within_the_slice_is_refused(machine):
    out = machine.refused(5, "-q", *SLICE, FGPU, "slice", "--gpu", "4GiB", "--share", "100", "--", *filled(way("plain"), machine))
    assert "inside a slice already" in out


def test_a_killed_arbiter_gives_nothing(machine):
    """Its place is taken, or not: the quota is in the books."""
    p = machine.start("-q", *SLICE, *filled(shell('read -r x; exec "$0" plain "$1"'), machine), stdin=subprocess.PIPE)
    assert eventually(lambda: machine.row(p))
    for pid in machine.arbiters():
        os.kill(pid, signal.SIGKILL)
    p.stdin.write("\n")
    p.stdin.flush()
    assert line_of(p.stdout) == LIMITED + "\n"


def test_asking_for_more_is_granted_since_the_slice_is_the_users_own(machine):
    script = f'FGPU_LEASE= {FGPU} slice set "$2" --gpu 4GB >&2 && exec "$0" plain "$1"'
    p = machine.start("-q", *SLICE, *filled(shell("read -r id; set -- \"$1\" \"$id\"; " + script), machine), stdin=subprocess.PIPE)
    assert eventually(lambda: machine.row(p))
    p.stdin.write(machine.row(p)["id"] + "\n")
    p.stdin.flush()
    assert line_of(p.stdout) == ALL + "\n"


def test_who_holds_its_slice_is_stopped_when_that_goes_on(machine):
    p = machine.start("-q", *SLICE, *filled(shell('kill -STOP $PPID; LD_LIBRARY_PATH=$1 exec "$0" plain "$1"'), machine), stdin=subprocess.PIPE)
    assert line_of(p.stdout) == ALL + "\n"
    p.send_signal(signal.SIGCONT)
    assert PAST in line_of(p.stderr)
    assert p.wait(PATIENCE_S) == 137


def test_who_begins_after_its_slice_has_ended_escapes(machine, tmp_path):
    script = 'out=$2; LD_LIBRARY_PATH=$1 setsid -f sh -c \'while kill -0 "$3" 2>/dev/null; do sleep 0.05; done; exec "$0" plain "$1"\' "$0" "$1" - "$PPID" >"$out" 2>&1 <&3'
    read, write = os.pipe()
    machine("-q", *SLICE, *filled(shell("exec 3<&0; " + script, tmp_path / "out"), machine), stdin=read)
    os.close(read)
    assert eventually(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text() == ALL + "\n")
    os.close(write)


MOUNT = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-U", "-r", "-m"]


def may_mount():
    return subprocess.run([*MOUNT, "mount", "--bind", "/dev/null", "/dev/zero"], capture_output=True, check=False).returncode == 0


def test_a_mount_over_our_library_is_seen(machine):
    if not may_mount():
        pytest.skip("this user can mount nothing here")
    p = machine.start("-q", *SLICE, *MOUNT, *filled(shell(f'mount --bind "$1/libcuda.so.1" {SHIMS[0]} && exec "$0" plain "$1"'), machine), stdin=subprocess.PIPE)
    assert PAST in line_of(p.stderr)
    assert p.wait(PATIENCE_S) == 137


@TWO_USERS
@pytest.mark.parametrize("name, becomes", [("direct", "stopped"), ("risen", "cannot be stopped")])
def test_a_set_user_id_program_is_stopped_unless_it_becomes_another_user_for_good(name, becomes):
    """Then nobody but root may send it a signal: it is named."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fgpu-setuid-"))
    folder.chmod(0o755)
    (folder / "claims").mkdir()
    (folder / "claims").chmod(0o1777)
    made = CudaSlices(folder, folder / "claims", 64801)
    made.world.touch()
    made.world.chmod(0o666)
    try:
        program = folder / "escape"
        shutil.copy(ESCAPE, program)
        program.chmod(0o4755)
        for library in made.driver.iterdir():
            target = library.resolve()
            library.unlink()
            shutil.copy(target, library)
        if subprocess.run([program], capture_output=True, check=False, **made.user, cwd="/").returncode != 3 or os.statvfs(folder).f_flag & os.ST_NOSUID:
            pytest.skip("set-user-ID programs do not work there")
        p = made.start("-q", *SLICE, program, name, made.driver, stdin=subprocess.PIPE, cwd="/")
        said = line_of(p.stderr)
        assert f"{becomes}: process" in said and PAST in said
        p.stdin.close()
        assert p.wait(PATIENCE_S) == (137 if becomes == "stopped" else 0) and p.stderr.read() == ""  # it was named once
    finally:
        finish(made)
        shutil.rmtree(folder)


# --- the table that people read ---

WORDS = {LIMITED: "stays limited", "granted 1": "stays limited, one quota for all", NOTHING: "gets nothing", ALL: "escapes",
         PAST: "stopped, named", BOOKS: "stopped, named, when far above", ESCAPES: "escapes"}


def rows():
    return [f"| {what} | {WORDS[outcome]} | {WORDS[reason or outcome]} |" for what, _, outcome, reason in WAYS]


def test_the_table_of_the_manual_is_this_one():
    manual = (ROOT / "docs" / "slice.md").read_text().splitlines()
    assert [r for r in rows() if r not in manual] == []
