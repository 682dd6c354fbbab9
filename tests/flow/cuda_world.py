"""fgpu slice on a machine with the stand-in NVIDIA driver: two GPUs of 4 GiB. Import `slices` as a fixture."""
import pytest

from slice_world import BUILD, MIB, Slices

DRIVERS = [BUILD / "tests/fakes/cuda" / name for name in ("libcuda.so.1", "libnvidia-ml.so.1")]
SHIMS = [BUILD / "src/shim/cuda/libcuda.so.1", BUILD / "src/shim/nvml/libnvidia-ml.so.1"]
CONTEXT = 64 * MIB  # what a context of the stand-in takes
NEEDS_STAND_IN = pytest.mark.skipif(not all(p.exists() for p in DRIVERS + SHIMS), reason="the stand-in driver or the CUDA front end is not built")

# A CUDA program in Python: fills the device in chunks of 16 MiB, at most the number given, says how many it got, and tries again for each line it reads.
FILL = """
import ctypes, sys
cu = ctypes.CDLL("libcuda.so.1")
context, p, n = ctypes.c_void_p(), ctypes.c_uint64(), 0
assert cu.cuInit(0) == 0 and cu.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0 and cu.cuCtxSetCurrent(context) == 0
while True:
    while n < int((sys.argv[1:] + ["9999"])[0]) and cu.cuMemAlloc_v2(ctypes.byref(p), ctypes.c_size_t(16 << 20)) == 0:
        n += 1
    print(n, flush=True)
    if not sys.stdin.readline():
        break
"""


class CudaSlices(Slices):
    """The machine's driver is a folder in LD_LIBRARY_PATH, as the loader's cache would have it."""

    def __init__(self, folder, claims=None, user=None, setup="devices=2 total=4G"):
        super().__init__(folder, claims, user)
        self.driver = folder / "driver"
        self.driver.mkdir()
        for library in DRIVERS:
            (self.driver / library.name).symlink_to(library)
        self.world = folder / "world"
        self.env.update(LD_LIBRARY_PATH=str(self.driver), FGPU_FAKE_CUDA=str(self.world), FGPU_FAKE_CUDA_SETUP=setup)

    def folders(self):
        """Of slices, that put our libraries in front."""
        return list((self.run_dir / "fastgpu").glob("cuda-*"))


def finish(made):
    made.end()
    made.kill_arbiters()


@pytest.fixture
def slices(tmp_path_factory):
    made = CudaSlices(tmp_path_factory.mktemp("c"))
    yield made
    finish(made)
