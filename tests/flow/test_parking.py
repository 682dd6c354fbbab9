"""The device memory of an idle task is lent, through the whole system: real server, agent, sandbox and front end, stand-in driver.

The stand-in's machine is a file; a hard link to it in each attempt's folder makes the sandboxed task and the agent see the same one."""
import ctypes
import json
import os
import shutil
import threading
import time

import pytest

from agent_world import ROOT_ONLY, until
from fake_server import AGENT, BUILD, Agent
from harness import Server

MIB = 1 << 20
SETUP = "devices={} name=Stand-in total=2304M context=0 module=0 driver=13000"
pytestmark = [ROOT_ONLY, pytest.mark.skipif(not AGENT.exists(), reason=f"{AGENT} is not built")]

# Holds so many MiB with a pattern, and for each file goN in its folder makes a call and says whether all is as it was. Word 2: it
# holds managed memory as well, which no driver can put aside.
PROGRAM = """
import ctypes, os, sys, time
CHILD = '''import ctypes
cuda, libc = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
assert cuda.cuInit(0) == 0
print("child on", libc.getenv(b"CUDA_VISIBLE_DEVICES").decode(), flush=True)'''
while not os.path.exists("machine"):
    time.sleep(0.05)
os.environ["FGPU_FAKE_CUDA"] = "machine"
cuda = ctypes.CDLL("libcuda.so.1")
def ok(rc): assert rc == 0, rc
context, device, pointer = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_uint64()
ok(cuda.cuInit(0))
ok(cuda.cuDeviceGet(ctypes.byref(device), 0))
ok(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
ok(cuda.cuCtxSetCurrent(context))
ok(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(int(sys.argv[1]) << 20)))
if sys.argv[2:]:
    ok(cuda.cuMemAllocManaged(ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(1 << 20), 1))
pattern = bytes(range(256)) * 16
ok(cuda.cuMemcpyHtoD_v2(pointer, pattern, ctypes.c_size_t(len(pattern))))
print("holds", flush=True)
n = 0
while True:
    n += 1
    while not os.path.exists("go%d" % n):
        time.sleep(0.1)
    word = open("go%d" % n).read()
    if word == "end":
        break
    if word == "child":
        import subprocess
        subprocess.run([sys.executable, "-c", CHILD], check=True)
    back = ctypes.create_string_buffer(len(pattern))
    ok(cuda.cuMemcpyDtoH_v2(back, pointer, ctypes.c_size_t(len(pattern))))
    print("call", n, "intact" if back.raw == pattern else "spoilt", flush=True)
"""


class System:
    def __init__(self, folder, monkeypatch, devices, *settings, machine=""):
        self.folder, self.calls, self.linked, self.ended = folder, {}, set(), False
        os.chmod(folder, 0o755)
        driver = folder / "driver"
        driver.mkdir()
        for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
            shutil.copy(BUILD / "tests/fakes/cuda" / name, driver / name)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(driver))
        monkeypatch.setenv("FGPU_FAKE_CUDA", str(folder / "machine"))
        monkeypatch.setenv("FGPU_FAKE_CUDA_SETUP", SETUP.format(devices) + machine)
        self.fake = ctypes.CDLL(str(driver / "libcuda.so.1"))
        self.fake.fake_free.restype = self.fake.fake_live.restype = ctypes.c_uint64
        assert self.fake.cuInit(0) == 0      # the machine is made here, so that all pids can be seen from here
        os.chmod(folder / "machine", 0o666)
        self.server = Server(folder, lease_s=60, heartbeat_s=1).start()
        self.agent = Agent(folder / "data", "reclaim.idle_s=1", "reclaim.when=always", "device_check_s=1", *settings)
        threading.Thread(target=self.link, daemon=True).start()
        until(lambda: len(self.devices()) == devices)

    def link(self):
        """The machine into the folder of each attempt, those that come again too."""
        while not self.ended:
            for work in (self.folder / "data/agent/attempts").glob("tsk_*/work"):
                try:
                    os.link(self.folder / "machine", work / "machine")
                except OSError:
                    pass
            time.sleep(0.05)

    def devices(self):
        return [d for d in self.server.get("/v1/devices").json["devices"] if d["backend"] == "nvidia" and d["connected"]]

    def submit(self, mib, hold, share, *words, **more):
        spec = {"task_type": "command", "command": ["python3", "-c", PROGRAM, str(hold), *words],
                "resources": {"memory": f"{mib}MiB", "share": share, "device_kind": self.devices()[0]["kind"]}, **more}
        answer = self.server.post("/v1/tasks", spec)
        assert answer.status in (200, 201, 202), answer
        return answer.json["id"]

    def task(self, task):
        return self.server.get(f"/v1/tasks/{task}").json

    def place(self, task):
        return self.task(task)["placement"] or {}

    def log(self, task):
        return self.server.get(f"/v1/tasks/{task}/logs").body.decode()

    def go(self, task, word="", attempt=1):
        """The task's next call; returns its number."""
        self.calls[task] = self.calls.get(task, 0) + 1
        folder = self.folder / f"data/agent/attempts/{task}.{attempt}/work"
        (folder / "next").write_text(word)
        os.chmod(folder / "next", 0o644)
        os.rename(folder / "next", folder / f"go{self.calls[task]}")
        return self.calls[task]

    def holds(self, task):
        until(lambda: "holds" in self.log(task))

    def answers(self, task, call):
        until(lambda: f"call {call} " in self.log(task))
        assert f"call {call} intact" in self.log(task)

    def is_parked(self, task):
        return self.place(task).get("parking") == "parked"

    def parked(self, task):
        until(lambda: self.is_parked(task))

    def events(self, task):
        page = self.server.get(f"/v1/tasks/{task}/events", headers={"Accept": "application/json"})
        return page.body.decode()

    def restart_agent(self):
        self.agent.kill()
        self.agent.run()
        until(self.devices)

    def close(self):
        self.ended = True
        for t in self.server.get("/v1/tasks?limit=50").json["tasks"]:
            if t["state"] in ("queued", "starting", "running"):
                self.server.post(f"/v1/tasks/{t['id']}/cancel")
        if self.agent.process.poll() is not None:
            self.agent.run()
        try:
            until(lambda: not self.agent.folders())
        finally:
            self.agent.terminate()
            self.server.stop()


@pytest.fixture
def system(tmp_path, monkeypatch):
    made = []

    def make(devices, *settings, **more):
        made.append(System(tmp_path, monkeypatch, devices, *settings, **more))
        return made[-1]
    yield make
    for s in made:
        s.close()


def free(s, device=0):
    return s.fake.fake_free(device) // MIB


def parked_owner(s):
    owner = s.submit(1536, 1200, 80)
    s.holds(owner)
    s.parked(owner)
    return owner


def borrower_of(s, *words):
    borrower = s.submit(1024, 900, 50, *words, spot=True)
    s.holds(borrower)
    assert s.place(borrower)["borrowed"]
    return borrower


def came_again(s, task):
    until(lambda: s.task(task)["attempt"] >= 2)


def test_an_idle_tasks_place_is_lent_and_its_next_call_finds_all_as_it_was(system):
    s = system(1)
    whole = free(s)
    owner = parked_owner(s)
    assert s.devices()[0]["memory_parked_bytes"] == 1536 * MIB and free(s) == whole
    borrower = borrower_of(s, "managed")
    assert s.devices()[0]["memory_borrowed_bytes"] == 1024 * MIB and free(s) <= whole - 900
    assert s.devices()[0]["memory_free_bytes"] < 1024 * MIB      # to who is to stay nothing of it is free
    s.answers(owner, s.go(owner))
    came_again(s, borrower)
    until(lambda: all(f"lease.{word}" in s.events(owner) for word in ("parked", "called", "resumed")))       # the agent tells it by and by
    assert "borrowed" in s.events(borrower)
    s.go(owner, "end")
    until(lambda: s.task(owner)["state"] == "succeeded")
    until(lambda: s.task(borrower)["state"] == "running")
    assert s.task(borrower)["cost"]["amount"] == "0.00"


def test_who_only_waits_is_never_the_one_to_borrow(system):
    s = system(1)
    parked_owner(s)
    stays = s.submit(1024, 900, 50)
    until(lambda: s.task(stays)["state"] == "queued")
    spot = borrower_of(s, "managed")             # behind it in the queue, and it runs
    assert s.task(stays)["state"] == "queued" and s.task(spot)["state"] == "running"


def test_an_idle_borrower_is_parked_for_the_owner_and_asked_to_go_when_it_wakes_without_room(system):
    s = system(1)
    owner = parked_owner(s)
    borrower = borrower_of(s)
    s.parked(borrower)
    s.answers(owner, s.go(owner))
    assert s.task(borrower)["attempt"] == 1
    call = s.go(borrower)
    until(lambda: s.task(borrower)["attempt"] >= 2 or f"call {call} intact" in s.log(borrower))
    s.answers(owner, s.go(owner))                # whatever became of the borrower


def with_wall(s):
    """A parked owner whose place is lent, on one of two devices; the other one has just become free."""
    owner = s.submit(1536, 1200, 80)
    s.holds(owner)
    wall = s.submit(2048, 100, 100, "managed")
    s.holds(wall)
    assert s.place(wall)["device"] != s.place(owner)["device"]
    s.parked(owner)
    borrower = borrower_of(s, "managed")
    assert s.place(borrower)["device"] == s.place(owner)["device"]
    s.go(wall, "end")
    until(lambda: s.task(wall)["state"] == "succeeded")
    return owner, borrower, s.place(owner)["device"]


def test_an_owner_without_room_moves_to_the_other_device_and_nobody_is_stopped(system):
    s = system(2, "reclaim.move=1")
    owner, borrower, before = with_wall(s)
    s.answers(owner, s.go(owner))
    until(lambda: s.place(owner)["device"] != before and s.place(owner)["parking"] != "called")
    assert s.task(borrower)["attempt"] == 1 and s.task(borrower)["state"] == "running"
    until(lambda: all(f"lease.{word}" in s.events(owner) for word in ("moving", "moved")))
    s.answers(borrower, s.go(borrower))
    s.parked(owner)                              # on its new device, as on the old one
    s.answers(owner, s.go(owner, "child"))
    assert f"child on {s.place(owner)['device_name']}" in s.log(owner)


def test_what_the_driver_does_not_bring_back_elsewhere_comes_back_where_it_was(system):
    s = system(2, "reclaim.move=1", machine=" 0.sms=80 1.sms=100")       # alike for all that the agent can see, but not for the driver
    owner, borrower, before = with_wall(s)
    s.answers(owner, s.go(owner))
    came_again(s, borrower)
    until(lambda: s.place(owner)["parking"] in ("none", "parked"))
    assert s.place(owner)["device"] == before and s.task(owner)["attempt"] == 1
    until(lambda: all(f"lease.{word}" in s.events(owner) for word in ("moving", "moved")))
    assert "does not move to" in s.agent.stderr()


def test_without_the_option_to_move_the_borrower_goes(system):
    s = system(2)
    owner, borrower, before = with_wall(s)
    s.answers(owner, s.go(owner))
    came_again(s, borrower)
    assert s.place(owner)["device"] == before


def test_idle_tasks_leave_a_device_that_takes_no_more_tasks(system):
    s = system(2, "reclaim.move=1")
    owner = parked_owner(s)
    before = s.place(owner)["device"]
    for index in (0, 1):                         # the stand-in's devices are in another order than the server's
        s.fake.fake_set(f"{index}.throttle=64".encode())
        until(lambda: not all(d["healthy"] for d in s.devices()))
        if [d["id"] for d in s.devices() if not d["healthy"]] == [before]:
            break
        s.fake.fake_set(f"{index}.throttle=0".encode())
        until(lambda: all(d["healthy"] for d in s.devices()))
    until(lambda: s.place(owner)["device"] != before)
    s.answers(owner, s.go(owner))


@pytest.mark.parametrize("delay", [None, 0, 0.03, 0.1, 0.3, 1])
def test_an_agent_that_is_killed_between_gives_the_owner_its_place_all_the_same(system, delay):
    s = system(1)
    owner = parked_owner(s)
    borrower = borrower_of(s, "managed")
    call = s.go(owner) if delay is not None else None
    time.sleep(delay or 0)
    s.restart_agent()
    s.answers(owner, call or s.go(owner))
    came_again(s, borrower)
    assert s.task(owner)["attempt"] == 1
    until(lambda: s.place(owner)["parking"] in ("none", "parked"))


@pytest.mark.parametrize("delay", [0.03, 0.1, 0.3, 1])
def test_an_agent_that_is_killed_while_one_moves_finds_it_where_the_driver_has_it(system, delay):
    s = system(2, "reclaim.move=1")
    owner, _, _ = with_wall(s)
    call = s.go(owner)
    time.sleep(delay)
    s.restart_agent()
    s.answers(owner, call)
    until(lambda: s.place(owner)["parking"] in ("none", "parked"))
    s.answers(owner, s.go(owner))
    assert s.task(owner)["attempt"] == 1
    device = s.place(owner)["device_name"]
    attempt = json.loads((s.folder / f"data/agent/attempts/{owner}.1/attempt.json").read_text())
    assert attempt["device"] == device and not attempt["moving_to"]


def test_the_owner_comes_back_while_the_server_is_away(system):
    s = system(1)
    owner = parked_owner(s)
    borrower = borrower_of(s, "managed")
    s.server.kill()
    call = s.go(owner)
    log = s.folder / f"data/agent/attempts/{owner}.1/log"
    until(lambda: f"call {call} intact".encode() in log.read_bytes())
    s.server.start()
    came_again(s, borrower)
    until(lambda: s.devices() and s.place(owner).get("parking") in ("none", "parked"))
    assert s.task(owner)["attempt"] == 1
