"""fgpu slice with a runtime folder, and so an arbiter, of its own. Import `slices` as a fixture."""
import ctypes
import glob
import json
import os
import pathlib
import signal
import subprocess

import pytest

from harness import PATIENCE_S, ROOT, eventually

BUILD = pathlib.Path(os.environ.get("FGPU_BUILD", ROOT / "build"))
FGPU = pathlib.Path(os.environ.get("FGPU_BIN", BUILD / "src" / "cli" / "fgpu"))
LAYER = BUILD / "src" / "shim" / "libfgpu_opencl.so"
MIB = 1 << 20


def missing():
    """Why these tests cannot run here; "" when they can."""
    if not FGPU.exists():
        return f"{FGPU} is not built"
    if not LAYER.exists():
        return f"{LAYER} is not built"
    try:
        ctypes.CDLL("libOpenCL.so.1")
    except OSError as e:
        return f"no OpenCL loader: {e}"
    return "" if glob.glob("/etc/OpenCL/vendors/*.icd") else "no OpenCL driver in /etc/OpenCL/vendors"


def another_user_can_run_it(user=64801):
    """A checkout below /root is closed to others: they cannot even try."""
    try:
        return os.geteuid() == 0 and subprocess.run([FGPU, "version"], user=user, group=user, extra_groups=[], cwd="/",
                                                    capture_output=True, check=False).returncode == 0
    except PermissionError:
        return False


NEEDS_OPENCL = pytest.mark.skipif(bool(missing()), reason=missing())
TWO_USERS = pytest.mark.skipif(not another_user_can_run_it(), reason="only root can be two users, and the build must be theirs to read")


class Slices:
    """fgpu with a runtime folder, and so an arbiter, of its own; claims: where arbiters meet each other."""

    def __init__(self, folder, claims=None, user=None):
        self.user = {"user": user, "group": user, "extra_groups": []} if user else {}
        self.run_dir = folder / "run"
        self.run_dir.mkdir(mode=0o700)
        self.home = folder / "home"
        self.home.mkdir()
        if not claims:
            claims = folder / "claims"
            claims.mkdir()
        if user:
            os.chown(self.run_dir, user, user)
            os.chown(self.home, user, user)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("FGPU_", "XDG_", "OPENCL_", "OCL_"))}
        self.env.update(HOME=str(self.home), XDG_RUNTIME_DIR=str(self.run_dir), XDG_CONFIG_HOME=str(self.home / "config"),
                        POCL_CACHE_DIR=str(self.home / "pocl"), FGPU_CLAIMS_DIR=str(claims))
        self.running = []

    @property
    def socket(self):
        return self.run_dir / "fastgpu" / "arbiter.sock"

    def start(self, *args, env=None, **more):
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **self.user, **more}
        p = subprocess.Popen([str(FGPU), "slice", *map(str, args)], env={**self.env, **(env or {})}, **more)
        self.running.append(p)
        return p

    def hold(self, *options, program=("sleep", "600"), **more):
        """A slice that is running: (process, its row)."""
        p = self.start(*options, "--", *program, **more)
        assert eventually(lambda: self.row(p) or p.poll() is not None), "the slice did not start"
        row = self.row(p)
        assert row, p.communicate()
        return p, row

    def __call__(self, *args, code=0, timeout=PATIENCE_S, **more):
        """(stdout, stderr) of a call that must end with this exit status."""
        p = self.start(*args, **more)
        out, err = p.communicate(timeout=timeout)
        assert p.returncode == code, f"{args}: {p.returncode}\n{out}\n{err}"
        return out, err

    def refused(self, code, *args, **more):
        return self(*args, code=code, **more)[1]

    def ls(self):
        return [json.loads(line) for line in self("ls", "--json")[0].splitlines()]

    def row(self, p):
        return next((s for s in self.ls() if s["pid"] == p.pid), None)

    def arbiters(self):
        """Pids of the arbiter processes of this runtime folder."""
        found = []
        for p in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = p.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[1:3] == [b"slice-arbiter", str(self.run_dir / "fastgpu").encode()]:
                found.append(int(p.parent.name))
        return found

    def kill_arbiters(self):
        """They would end by themselves in two seconds, as one of the tests shows; one that just has is no error."""
        for pid in self.arbiters():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def end(self):
        for p in self.running:
            if p.poll() is None:
                p.terminate()
                try:
                    p.wait(10)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
            for pipe in (p.stdout, p.stderr):
                if pipe:
                    pipe.close()


@pytest.fixture
def slices(tmp_path_factory):
    made = Slices(tmp_path_factory.mktemp("s"))
    yield made
    made.end()
    made.kill_arbiters()


def gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def free_bytes(slices):
    """What the device has: a quota far beyond it is refused with the figure; found by halving."""
    low, high = 0, 1 << 41
    while high - low > MIB:
        middle = (low + high) // 2
        p = slices.start("-q", "--gpu", middle, "--share", "1", "--", "true")
        code = p.wait(PATIENCE_S)
        assert code in (0, 2, 5)
        low, high = (middle, high) if code != 2 else (low, middle)
    return low
