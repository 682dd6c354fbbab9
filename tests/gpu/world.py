"""Where the built programs, the shim and the driver are; how programs are run, and until when."""
import ctypes
import glob
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
NEEDED = ["tests/gpu/gpu_exact", "tests/gpu/gpu_tenant", "tests/gpu/gpu_launches", "tests/gpu/gpu_hold", "tests/gpu/gpu_slices",
          "src/shim/cuda/libcuda.so.1", "src/device/fgpu-checkpoint"]
PLACES = ["/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
          "/usr/lib/wsl/lib", "/opt/nvidia/lib64", "/run/opengl-driver/lib"]


class Skip(Exception):
    """Why there is no row."""


def loaded(name):
    """The file that the loader takes for this library, as a program of this environment would; None: none."""
    code = f"import ctypes; ctypes.CDLL({name!r}); print(*[l.split()[-1] for l in open('/proc/self/maps') if {name.split('.so')[0]!r} in l][:1])"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None
    path = done.stdout.strip()
    return os.path.realpath(path) if not done.returncode and path.startswith("/") else None


def find_library(name):
    """The machine's library: the loader's own answer, else ldconfig's, else the places where containers have it. No linker's stub."""
    found = [loaded(name)]
    for tool in ("/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"):
        try:
            text = subprocess.run([tool, "-p"], capture_output=True, text=True, timeout=30, check=False).stdout
        except OSError:
            continue
        found += re.findall(rf"{re.escape(name)} .*x86-64.*=> (\S+)", text) + re.findall(rf"{re.escape(name)} .*=> (\S+)", text)
        break
    for place in PLACES:
        found += glob.glob(f"{place}/{name}") + glob.glob(f"{place}/*/{name}")
    for path in filter(None, found):
        if "/stubs/" not in path and "lib32" not in path and os.path.exists(path):
            return os.path.realpath(path)
    return None


def run(command, env, timeout):
    """(exit status, what it printed; where it failed also what it complained of). Ended with all its children at the timeout."""
    try:
        child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 errors="replace", start_new_session=True)
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror}"
    try:
        text, complaint = child.communicate(timeout=max(1, timeout))
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return 124, f"still running after {timeout:.0f} s"
    return child.returncode, text + (("\n" + complaint.strip()) if child.returncode else "")


def last(text, code):
    """The line that says most."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip()[:160] if lines else f"exit {code}"


class World:
    def __init__(self, args):
        self.build = pathlib.Path(args.build or HERE.parent.parent / "build").resolve()
        if missing := [name for name in NEEDED if not (self.build / name).exists()]:
            raise Skip(f"{self.build} lacks {', '.join(missing)}: build all (make), or with a C compiler and Python 3.11 alone: tests/gpu/build DIR")
        self.end = time.monotonic() + args.limit
        self.scale = 0.1 if args.quick else 1.0
        self.quick, self.stand_in = args.quick or args.stand_in, args.stand_in
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fastgpu-gpu-"))
        self.driver = self.build / "tests/fakes/cuda/libcuda.so.1" if args.stand_in else find_library("libcuda.so.1")
        nvml = pathlib.Path(self.driver).parent / "libnvidia-ml.so.1" if self.driver else None
        if nvml and not nvml.exists() and not args.stand_in:
            nvml = find_library("libnvidia-ml.so.1")
        self.env = dict(os.environ)
        for name in ("FGPU_LEASE", "FGPU_CUDA_CONTEXT_BYTES"):
            self.env.pop(name, None)
        if args.stand_in:
            self.env.update(FGPU_FAKE_CUDA_SETUP="devices=1 total=8G", FGPU_FAKE_CUDA=str(self.folder / "world"))
        (self.folder / "driver").mkdir()
        (self.folder / "libcuda.so.1").symlink_to(self.build / "src/shim/cuda/libcuda.so.1")
        for name, path in (("libcuda.so.1", self.driver), ("libnvidia-ml.so.1", nvml)):
            if path and os.path.exists(path):
                (self.folder / "driver" / name).symlink_to(path)
        self.shim_env = dict(self.env, LD_LIBRARY_PATH=f"{self.folder}:{self.env.get('LD_LIBRARY_PATH', '')}")
        self.keeper = None

    def left(self):
        return self.end - time.monotonic()

    def keep_awake(self):
        """A program with a context, so that the driver is not brought up anew for each of ours (persistence mode may be off)."""
        if self.driver:
            self.keeper = Holder(self, 0)

    def close(self):
        if self.keeper:
            self.keeper.end()

    def program(self, name):
        return str(self.build / f"tests/gpu/gpu_{name}")

    def seconds(self, n):
        return str(max(0.6, n * self.scale))

    def tenant(self, shape, seconds, *more):
        """--warm_ms: a GPU that was idle takes a while to reach its clock."""
        warm = [] if self.stand_in else ["--warm_ms", "400"]
        return [self.program("tenant"), "--shape", shape, "--seconds", self.seconds(seconds), *warm, *more]

    def bare(self, *command, timeout=120):
        return run(list(command), dict(self.env), min(timeout, self.left()))

    def tool(self, name, *args, timeout=120):
        return self.bare(self.program(name), "--driver", str(self.driver), *args, timeout=timeout)

    def slices(self, settings, *commands, timeout=120):
        """Programs side by side in slices: (exit status, what each printed, the figures of each slice, why not where they are none)."""
        prefix = str(self.folder / "out")
        line = [self.program("slices"), *settings, f"out={prefix}", "--"]
        for i, command in enumerate(commands):
            line += (["++"] if i else []) + list(command)
        code, text = run(line, self.shim_env, min(timeout, self.left()))
        figures = [json.loads(row) for row in text.splitlines() if row.startswith("{")]
        outputs = [pathlib.Path(f"{prefix}.{i}").read_text(errors="replace") for i in range(len(figures))]
        return code, outputs, figures, last(text if not figures else "".join(outputs) + "\n" + "\n".join(
            row for row in text.splitlines() if not row.startswith("{")), code)


class Holder:
    """A program that holds device memory with a pattern in it."""

    def __init__(self, world, mib):
        self.process = subprocess.Popen([world.program("hold"), "--driver", str(world.driver), "--mib", str(mib)], env=world.env, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=die_with_us)
        self.free = self.hear()[1]

    def hear(self, within=90):
        alarm = signal.signal(signal.SIGALRM, lambda *_: self.process.kill())
        signal.alarm(within)  # its end of the pipe closes then
        words = self.process.stdout.readline().split()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, alarm)
        if len(words) != 2:
            self.process.kill()
            raise RuntimeError(last(self.process.stderr.read(), "the program that holds memory ended, or said nothing"))
        return words[0], int(words[1])

    def ask(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.hear()

    def end(self):
        self.process.kill()
        self.process.wait()


def die_with_us():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
