"""Programs that know nothing of FastGPU, each run whole in a slice and without one: the same answer, and inside the quota.

A compiled kernel is kept in build/test-data, so the first run takes longer: hashcat's alone are half a minute of PoCL."""
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from slice_world import BUILD, MIB, NEEDS_OPENCL, slices  # noqa: F401

PYTHON = "/usr/bin/python3"
POCL = list(pathlib.Path("/etc/OpenCL/vendors").glob("pocl*.icd"))
pytestmark = [NEEDS_OPENCL, pytest.mark.skipif(not POCL, reason="PoCL is not installed (tools/deps opencl)")]


def needs(*programs, modules=(), files=()):
    """Skip, naming what is missing."""
    absent = [p for p in programs if not shutil.which(p)] + [f for f in files if not os.path.exists(f)]
    absent += [m for m in modules if subprocess.run([PYTHON, "-c", f"import {m}"], capture_output=True, check=False).returncode]
    return pytest.mark.skipif(bool(absent), reason=f"{', '.join(absent)}: not installed (tools/deps clients)")


# Its kernels are compiled anew for each device it sees: half a minute each on a quiet machine, minutes on a busy one.
LONG = pytest.mark.skipif(not os.environ.get("FGPU_LONG"), reason="minutes of compiling: FGPU_LONG=1 (make nightly) runs it")


class Both:
    """The same command without a slice and in one."""

    def __init__(self, slices, cwd):
        self.slices, self.cwd = slices, cwd
        data = BUILD / "test-data" / "clients"
        data.mkdir(parents=True, exist_ok=True)
        self.env = {"HOME": str(data), "POCL_CACHE_DIR": str(data / "pocl"), "XDG_CACHE_HOME": str(data / "cache"),
                    "OPENCV_OPENCL_CACHE_DISABLE": "1"}

    def plain(self, *command, env=None):
        ran = subprocess.run([*map(str, command)], cwd=self.cwd, env={**self.slices.env, **self.env, **(env or {})}, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=600, check=False)
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    def sliced(self, memory, *command, env=None, code=0, share=50, mode="weighted"):
        """(output, what it used)"""
        stats = self.cwd / "stats.json"
        p = self.slices.start("-q", "--gpu", memory, "--share", share, "--mode", mode, "--stats", stats, "--", *command, cwd=self.cwd,
                              env={**self.env, **(env or {})}, stderr=subprocess.STDOUT)
        out = p.communicate(timeout=600)[0]
        assert p.returncode == code, f"{p.returncode}: {out}"
        used = json.loads(stats.read_text())
        assert used["peak_bytes"] <= used["memory_bytes"] == memory
        assert not used["corrupt"]
        return out, used


@pytest.fixture
def both(slices, tmp_path):
    return Both(slices, tmp_path)


def test_what_a_slice_used_is_written_when_its_program_has_ended(slices, tmp_path):
    slices("-q", "--gpu", "64MiB", "--share", "25", "--stats", tmp_path / "s", "--", "true")
    used = json.loads((tmp_path / "s").read_text())
    assert (used["memory_bytes"], used["share_permille"], used["peak_bytes"], used["denied"]) == (64 * MIB, 250, 0, 0)


@needs("clinfo")
def test_clinfo_tells_the_same_of_a_smaller_device(both):
    def told(text):
        drop = r"memory size|Max memory alloc|Max number of (constant|pipe)|Extensions|Profiling|Date|rofiling|ICD loader|NULL platform|clCreate|clGet|Layer"
        return [line for line in text.splitlines() if line.strip() and not re.search(drop, line)]

    plain, (out, _) = both.plain("clinfo"), both.sliced(256 * MIB, "clinfo")
    assert re.search(r"Global memory size\s+268435456 \(256MiB\)", out)
    assert told(out) == told(plain)


@needs("clpeak")
def test_clpeak_sizes_itself_to_the_quota(both):
    """It takes half of the memory that the device says it has, at most one allocation's size, and measures with that."""
    shape = re.compile(r"^\s+(float\d*)\s+: [0-9.]+$", re.M)
    out, used = both.sliced(64 * MIB, "clpeak", "--global-bandwidth")
    assert shape.findall(out) == ["float", "float2", "float4", "float8", "float16"]
    assert 16 * MIB <= used["peak_bytes"] <= 64 * MIB and used["denied"] == 0
    assert used["submitted"] > 100 and used["device_ns"] > 0


@needs("clpeak")
def test_clpeak_gets_no_more_than_its_share(both):
    """Six seconds of kernels at 50 %. A busy machine makes the wall time longer, never the bound wrong; the second is for kernels
    longer than a window, which are paid back after they ran. Without the limit it would be 6 of 7 seconds."""
    _, used = both.sliced(64 * MIB, "clpeak", "--compute-integer", mode="capped")
    assert used["device_ns"] <= 0.5 * used["age_ns"] + 1e9
    assert used["throttle_ns"] > 1e9


PYOPENCL = """
import hashlib, sys
import numpy as np, pyopencl as cl, pyopencl.array as a
device = cl.get_platforms()[0].get_devices()[0]
context = cl.Context([device])
queue = cl.CommandQueue(context)
rng = np.random.default_rng(3)
x, y = (a.to_device(queue, rng.standard_normal(1 << 18).astype("float32")) for _ in range(2))
z = (x * y + 2 * x).get()
held, big = [], 0
try:
    while len(held) < 64:
        held.append(cl.Buffer(context, cl.mem_flags.READ_WRITE, 8 << 20)); big += 1
except cl.Error as error:
    print("refused", error.code == cl.status_code.MEM_OBJECT_ALLOCATION_FAILURE, big, file=sys.stderr)
print(hashlib.sha256(z.tobytes()).hexdigest())
"""


@needs("clinfo", modules=["numpy, pyopencl"])
def test_pyopencl_computes_the_same_and_is_refused_beyond_the_quota(both):
    """Two arrays of 1 MiB and the result's at most two stay: of 64 MiB, seven buffers of 8 MiB are left."""
    plain = both.plain(PYTHON, "-c", PYOPENCL)
    out, used = both.sliced(64 * MIB, PYTHON, "-c", PYOPENCL)
    assert "refused True 7" in out and used["denied"] >= 1  # pyopencl asks twice
    assert out.split()[-1] == plain.split()[-1]


# What it asks the device for its attack does not shrink with the word list.
HASHCAT = ["hashcat", "-m", "0", "-a", "0", "--potfile-disable", "--force", "--quiet", "--self-test-disable", "-O",
           "--backend-vector-width", "1", "-D", "1", "hash", "words"]
CRACKED = "8743b52063cd84097a65d1633f5c74f5:hashcat"


@pytest.fixture
def hashes(both):
    (both.cwd / "hash").write_text(CRACKED.split(":")[0] + "\n")
    (both.cwd / "words").write_text("secret42\nhashcat\nother\n")
    return both


@LONG
@needs("hashcat")
def test_hashcat_finds_the_same_password(hashes):
    assert CRACKED in hashes.plain(*HASHCAT)
    out, used = hashes.sliced(1024 * MIB, *HASHCAT)
    assert CRACKED in out
    assert used["submitted"] > 0 and used["peak_bytes"] > MIB


@LONG
@needs("hashcat")
def test_hashcat_sees_the_quota_and_ends_cleanly_below_its_need(hashes):
    assert re.search(r"Memory\.Total\.*: 256 MB", hashes.sliced(256 * MIB, "hashcat", "-I")[0])
    out, _ = hashes.sliced(64 * MIB, *HASHCAT, code=252)  # -4: its own "device error"
    assert "Not enough allocatable device memory" in out


@needs("clFFT-client")
def test_clfft_runs_whole(both):
    """1024 x 256 complex numbers, in place: 2 MiB on the device, beside what the library keeps."""
    command = ["clFFT-client", "-x", "1024", "-y", "256", "-p", "5"]
    assert "Execution wall time" in both.plain(*command)
    out, used = both.sliced(64 * MIB, *command)
    assert "Execution wall time" in out and used["submitted"] >= 5 and used["peak_bytes"] >= 2 * MIB
    out, used = both.sliced(MIB, *command, code=1)  # and says so when it cannot
    assert used["denied"] >= 1 and used["peak_bytes"] <= MIB


VIENNACL = r"""
#include <cstdio>
#include <vector>
#include "viennacl/vector.hpp"
#include "viennacl/linalg/inner_prod.hpp"
int main()
{
    size_t n = 100000;
    std::vector<float> a(n), b(n), r(n);
    for (size_t i = 0; i < n; i++)
        a[i] = i % 7, b[i] = i % 5;
    viennacl::vector<float> x(n), y(n);
    viennacl::copy(a, x);
    viennacl::copy(b, y);
    x = x + 2.0f * y;
    float dot = viennacl::linalg::inner_prod(x, y);
    viennacl::copy(x, r);
    double sum = 0;
    for (float v : r)
        sum += v;
    printf("%.0f %.0f\n", dot, sum);
}
"""


@needs("g++", files=["/usr/include/viennacl/vector.hpp"])
def test_a_viennacl_program_computes_the_same(both):
    """Sums of small whole numbers, so exact: over i % 5 = b, i % 7 = a: sum a = 299995, sum b = 200000, so the sum is 699995."""
    (both.cwd / "p.cpp").write_text(VIENNACL)
    subprocess.run(["g++", "-w", "-DVIENNACL_WITH_OPENCL", "-DCL_TARGET_OPENCL_VERSION=120", "p.cpp", "-o", "p", "-lOpenCL"],
                   cwd=both.cwd, check=True, capture_output=True)
    out, used = both.sliced(4 * MIB, "./p")
    assert out.split()[-2:] == both.plain("./p").split()[-2:] and out.split()[-1] == "699995"
    assert used["submitted"] > 0 and used["peak_bytes"] >= 800000
    out, used = both.sliced(400000, "./p", code=134)  # its exception ends it
    assert "mem_object_allocation_failure" in out and used["denied"] >= 1


@needs("clblast_test_xaxpy")
def test_clblasts_own_test_passes(both):
    def counts(text):
        return re.findall(r"(\d+) test\(s\) (passed|failed)", re.sub(r"\x1b\[\d*m", "", text))

    command = ["clblast_test_xaxpy", "-platform", "0", "-device", "0"]
    out, used = both.sliced(64 * MIB, *command)
    assert counts(out) == counts(both.plain(*command))
    assert ("36", "passed") in counts(out) and all(n == "0" for n, what in counts(out) if what == "failed")
    assert used["submitted"] > 100


# Four convolutions with random weights. OpenCV takes no device but a GPU: FGPU_TEST_AS_GPU lets PoCL pass for one.
DNN = """
import numpy as np, onnx
from onnx import TensorProto as T, helper as h, numpy_helper as nh
rng = np.random.default_rng(7)
nodes, weights, x, n = [], [], "in", 3
for i, out in enumerate([8, 8, 16, 16]):
    weights += [nh.from_array((rng.standard_normal((out, n, 3, 3)) / np.sqrt(n * 9)).astype("float32"), f"w{i}"),
                nh.from_array(rng.standard_normal(out).astype("float32"), f"b{i}")]
    nodes += [h.make_node("Conv", [x, f"w{i}", f"b{i}"], [f"c{i}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]), h.make_node("Relu", [f"c{i}"], [f"r{i}"])]
    x, n = f"r{i}", out
shape = lambda c: [1, c, 32, 32]
graph = h.make_graph(nodes, "net", [h.make_tensor_value_info("in", T.FLOAT, shape(3))], [h.make_tensor_value_info(x, T.FLOAT, shape(n))], weights)
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 11)])
model.ir_version = 6
onnx.save(model, "net.onnx")
import cv2
cv2.ocl.setUseOpenCL(True)
data, got = rng.standard_normal(shape(3)).astype("float32"), {}
for target in (cv2.dnn.DNN_TARGET_CPU, cv2.dnn.DNN_TARGET_OPENCL):
    net = cv2.dnn.readNetFromONNX("net.onnx")
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setPreferableTarget(target)
    net.setInput(data)
    got[target] = net.forward().copy()
a, b = got.values()
print("\\n%d %.9f %.9f" % (cv2.ocl.useOpenCL(), np.abs(a - b).max(), np.abs(a).max()))
"""


@needs(modules=["cv2", "onnx"])
def test_opencv_infers_on_the_device_what_the_processor_does(both):
    out, used = both.sliced(64 * MIB, PYTHON, "-c", DNN, env={"FGPU_TEST_AS_GPU": "1"})
    on_device, error, size = map(float, out.split()[-3:])
    assert on_device == 1 and error <= 1e-4 < size
    assert used["submitted"] >= 4 and used["peak_bytes"] > 0 and used["denied"] == 0
