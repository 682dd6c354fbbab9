"""fgpu slice for CUDA programs, over the stand-in driver: whole programs in slices, driven as a user drives them."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from cuda_world import CONTEXT, FILL, MIB, NEEDS_STAND_IN, CudaSlices, finish, slices  # noqa: F401
from harness import PATIENCE_S, eventually
from slice_world import BUILD, gone

pytestmark = NEEDS_STAND_IN
GPU = BUILD / "tests" / "gpu"
QUARTER = ["--gpu", "256MiB", "--share", "25"]


def tenant(seconds=300):
    return [GPU / "gpu_tenant", "--shape", "grid", "--seconds", seconds]


# --- the device and the program ---

def test_the_gpu_is_named_by_its_uuid_and_comes_before_other_devices(slices):
    _, err = slices(*QUARTER, "--", "true")
    assert re.search(r"GPU-[0-9a-f-]{36} \(FastGPU stand-in \d\), 256 MiB memory, 25 % weighted; audited", err)


def test_a_device_is_meant_by_number_by_uuid_or_by_the_beginning_of_it(slices):
    def device(word):
        return slices(*QUARTER, "--device", word, "--", "true")[1].split()[2]
    first, second = device("0"), device("1")
    assert first != second and device(first) == first and device(second[:10]) == second and device(first[:9].lower()) == first
    assert "more than one" in slices.refused(2, "-q", *QUARTER, "--device", "GPU-", "--", "true")
    out = slices.refused(4, "-q", *QUARTER, "--device", "GPU-nowhere", "--", "true")
    assert "no device" in out and first in out and second in out


def test_the_program_sees_the_leased_device_alone_and_its_quota(slices):
    script = ("import ctypes, os\ncu, n, size = ctypes.CDLL('libcuda.so.1'), ctypes.c_int(), ctypes.c_size_t()\nassert cu.cuInit(0) == 0\n"
              "cu.cuDeviceGetCount(ctypes.byref(n)); cu.cuDeviceTotalMem_v2(ctypes.byref(size), 0); print(n.value, size.value)")
    for device in "0", "1":
        assert slices("-q", *QUARTER, "--device", device, "--", sys.executable, "-c", script, env={"CUDA_VISIBLE_DEVICES": "1,0"})[0] == f"1 {256 * MIB}\n"


def test_the_management_library_shows_the_slice(slices):
    script = ("import ctypes\nml, device, m = ctypes.CDLL('libnvidia-ml.so.1'), ctypes.c_void_p(), (ctypes.c_uint64 * 3)()\n"
              "assert ml.nvmlInit_v2() == 0 and ml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == 0\n"
              "assert ml.nvmlDeviceGetMemoryInfo(device, m) == 0\nprint(m[0])")
    assert slices("-q", *QUARTER, "--", sys.executable, "-c", script)[0] == f"{256 * MIB}\n"


@pytest.mark.parametrize("name", ["libcuda.so.1", "libcuda.so"])
def test_both_names_of_the_driver_lead_to_the_front_end(slices, name):
    """Some programs open the name without a number, which on a real machine is a link beside the driver."""
    (slices.driver / "libcuda.so").symlink_to("libcuda.so.1")
    got = slices("-q", *QUARTER, "--", sys.executable, "-c", FILL.replace("libcuda.so.1", name))[0]
    assert got == f"{(256 * MIB - CONTEXT) // (16 * MIB)}\n"


def test_the_folder_is_the_users_alone_and_gone_with_the_slice(slices):
    out, _ = slices("-q", *QUARTER, "--", "sh", "-c", 'stat -c "%a %n" "${LD_LIBRARY_PATH%%:*}"; echo "${LD_LIBRARY_PATH#*:}"')
    first, rest = out.splitlines()
    mode, folder = first.split()
    assert mode == "700" and pathlib.Path(folder).parent == slices.run_dir / "fastgpu" and rest == str(slices.driver)
    assert not slices.folders()


def test_what_a_killed_slice_left_is_removed_by_the_next_and_nobody_elses(slices):
    stays, _ = slices.hold(*QUARTER)
    killed, _ = slices.hold(*QUARTER)
    kept = next(f for f in slices.folders() if f"-{stays.pid}-" in f.name)
    killed.kill()
    killed.wait()
    assert len(slices.folders()) == 2
    slices("-q", *QUARTER, "--", "true")
    assert slices.folders() == [kept]


def test_without_the_driver_itself_it_says_so(slices):
    (slices.driver / "libcuda.so.1").unlink()
    assert "libcuda.so.1 was not found beside its management library" in slices("-q", *QUARTER, "--", "true", code=5)[1]
    assert not slices.folders()


# --- memory ---

def test_every_way_to_get_memory_stops_at_the_quota(slices):
    out, _ = slices("-q", "--gpu", "512MiB", "--share", "100", "--", GPU / "gpu_exact", "--chunk", "16", "--quota", "512")
    assert "10 exact, 0 wrong" in out


def test_processes_of_a_slice_share_its_quota(slices):
    """Two contexts and ten chunks of the first leave fourteen to the second, and nothing to a third."""
    script = """
import subprocess, sys
for most in "10", "100", "1":
    p = subprocess.Popen([sys.executable, "-c", sys.argv[1], most], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    print(p.stdout.readline().strip() or "refused")
    globals()["p" + most] = p
"""
    out, _ = slices("-q", "--gpu", "512MiB", "--share", "25", "--", sys.executable, "-c", script, FILL)
    assert out.split() == ["10", "14", "refused"]


def test_a_change_of_quota_takes_effect_while_it_runs(slices):
    p = slices.start("-q", *QUARTER, "--", sys.executable, "-c", FILL, stdin=subprocess.PIPE)
    assert p.stdout.readline() == "12\n"
    row = slices.row(p)
    assert row["used_bytes"] == 256 * MIB and row["device"].startswith("GPU-") and row["level"] == "audited"
    slices("set", row["id"], "--gpu", "512MiB")
    p.stdin.write("\n")
    p.stdin.flush()
    assert p.stdout.readline() == "28\n"
    slices("set", row["id"], "--gpu", "128MiB")  # nothing is taken, nothing more is given
    p.stdin.write("\n")
    p.stdin.flush()
    assert p.stdout.readline() == "28\n" and slices.row(p)["used_bytes"] == 512 * MIB
    p.stdin.close()
    assert p.wait(PATIENCE_S) == 0


def test_never_more_than_the_gpu_has(slices):
    slices.hold("--gpu", "3GiB", "--share", "10", "--device", "0")
    assert "1 GiB is free" in slices.refused(5, "-q", "--gpu", "2GiB", "--share", "10", "--device", "0", "--", "true")
    slices("-q", "--gpu", "2GiB", "--share", "10", "--", "true")  # the other one has room


def test_a_gpu_is_one_device_for_all_users(tmp_path_factory):
    claims = tmp_path_factory.mktemp("claims")
    users = [CudaSlices(tmp_path_factory.mktemp("u"), claims) for _ in range(2)]
    try:
        users[0].hold("--gpu", "3GiB", "--share", "60", "--device", "0")
        users[1].env.update(FGPU_FAKE_CUDA=str(users[0].world))
        assert "40 % is free" in users[1].refused(5, "-q", "--gpu", "1GiB", "--share", "50", "--device", "0", "--", "true")
        users[1]("-q", "--gpu", "1GiB", "--share", "40", "--device", "0", "--", "true")
    finally:
        for made in users:
            finish(made)


# --- time ---

def figures(slices, p):
    row = slices.row(p)
    return row["submitted"], row["device_ns"]


def test_two_slices_get_their_parts_of_the_jobs(slices):
    """30 and 70 of equal jobs, both always wanting more: the sum of jobs tends to that, however slow the machine."""
    a = slices.start("-q", "--gpu", "256MiB", "--share", "30", "--device", "0", "--", *tenant())
    b = slices.start("-q", "--gpu", "256MiB", "--share", "70", "--device", "0", "--", *tenant())

    def part():
        if not (slices.row(a) and slices.row(b)):
            return None
        jobs = figures(slices, a)[0], figures(slices, b)[0]
        return jobs[0] / sum(jobs) if min(jobs) > 500 else None
    assert eventually(lambda: part() and 0.22 < part() < 0.38, every=0.5), (part(), slices.ls())


def test_a_change_of_share_takes_effect_while_it_runs(slices):
    """Capped at 10, then at 90: in one of the following seconds it gets at least three times the device time."""
    p = slices.start("-q", "--gpu", "256MiB", "--share", "10", "--mode", "capped", "--", *tenant())
    assert eventually(lambda: slices.row(p) and figures(slices, p)[0] > 100)

    def rate():
        (_, before), began = figures(slices, p), time.monotonic()
        time.sleep(1)
        return (figures(slices, p)[1] - before) / (time.monotonic() - began)
    slow = min(rate() for _ in range(3))
    slices("set", slices.row(p)["id"], "--share", "90")
    assert eventually(lambda: rate() > 3 * slow)


# --- ends ---

def test_a_killed_program_leaves_nothing_in_the_books(slices):
    p = slices.start("-q", *QUARTER, "--", "sh", "-c", f"exec 3<&0; {sys.executable} -c \"$0\" <&3 & echo $!; wait; exec sleep 600", FILL, stdin=subprocess.PIPE)
    pid, got = int(p.stdout.readline()), p.stdout.readline()
    assert got == "12\n" and slices.row(p)["used_bytes"] == 256 * MIB
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: slices.row(p)["used_bytes"] == 0)


def test_a_killed_slice_ends_its_program_and_its_lease(slices):
    p = slices.start("-q", "--gpu", "4GiB", "--share", "100", "--device", "0", "--", "sh", "-c", 'echo $$; exec "$@"', "sh", *tenant())
    pid = int(p.stdout.readline())
    assert eventually(lambda: slices.row(p) and figures(slices, p)[0] > 10)
    p.kill()
    p.wait()
    assert eventually(lambda: gone(pid))
    slices("-q", "--gpu", "4GiB", "--share", "100", "--device", "0", "--", sys.executable, "-c", FILL)


def test_a_killed_arbiter_costs_neither_memory_nor_jobs(slices):
    p = slices.start("-q", *QUARTER, "--", *tenant())
    assert eventually(lambda: slices.row(p) and figures(slices, p)[0] > 10)
    used = slices.row(p)["used_bytes"]
    for pid in slices.arbiters():
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: slices.row(p) and slices.row(p)["used_bytes"] == used)
    jobs = figures(slices, p)[0]
    assert eventually(lambda: figures(slices, p)[0] > jobs + 10)
