"""Running tasks are moved between devices of a machine, through the whole system: real server, agent, sandbox and front end, stand-in driver."""
import json
import time

import pytest

from agent_world import ROOT_ONLY, until
from fake_server import AGENT
from test_parking import System

pytestmark = [ROOT_ONLY, pytest.mark.skipif(not AGENT.exists(), reason=f"{AGENT} is not built")]

# As test_parking's, but it never rests: a call each 20 ms, and all is as it was after each of them.
BUSY = """
import ctypes, os, time
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
ok(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(300 << 20)))
pattern = bytes(range(256)) * 16
ok(cuda.cuMemcpyHtoD_v2(pointer, pattern, ctypes.c_size_t(len(pattern))))
print("holds", flush=True)
n = 0
while not os.path.exists("end"):
    back = ctypes.create_string_buffer(len(pattern))
    ok(cuda.cuMemcpyDtoH_v2(back, pointer, ctypes.c_size_t(len(pattern))))
    assert back.raw == pattern
    n += 1
    if n % 10 == 0:
        print("calls", n, flush=True)
    time.sleep(0.02)
"""


class Moving(System):
    def submit(self, *words, **more):
        until(self.devices)              # it connects anew when it has something to say of them
        return super().submit(*words, **more)

    def busy(self, share, mib=512, **more):
        until(self.devices)
        spec = {"task_type": "command", "command": ["python3", "-c", BUSY],
                "resources": {"memory": f"{mib}MiB", "share": share, "device_kind": self.devices()[0]["kind"]}, **more}
        answer = self.server.post("/v1/tasks", spec)
        assert answer.status in (200, 201, 202), answer
        self.holds(answer.json["id"])
        return answer.json["id"]

    def whole(self, **more):
        return self.submit(1024, 100, 100, **more)

    def goes_on(self, task):
        """It is alive, calls, and was never started again."""
        before = self.log(task).count("calls")
        until(lambda: self.log(task).count("calls") > before + 1)
        assert self.task(task)["state"] == "running" and self.task(task)["attempt"] == 1

    def cancel(self, task):
        """Not ended by itself: its like are not believed to be as short."""
        self.server.post(f"/v1/tasks/{task}/cancel")
        until(lambda: self.task(task)["state"] == "canceled")

    def apart(self):
        """Two that never rest, of 30 and 60 %, on a device each."""
        small = self.busy(30)
        wall = self.submit(512, 100, 70)
        self.holds(wall)
        large = self.busy(60)
        assert self.place(small)["device"] != self.place(large)["device"]
        self.cancel(wall)
        return small, large

    def both_are_where_one_was(self, small, large, head):
        self.holds(head)
        until(lambda: self.place(small)["device"] == self.place(large)["device"] != self.place(head)["device"])
        self.goes_on(small)
        self.goes_on(large)


@pytest.fixture
def system(tmp_path, monkeypatch):
    made = []

    def make(devices, *settings, **more):
        made.append(Moving(tmp_path, monkeypatch, devices, "reclaim.idle_s=0", "reclaim.move=2", *settings, **more))
        return made[-1]
    yield make
    for s in made:
        s.close()


def movable(s):
    """The agent has asked its driver, and said so: for that it connects anew."""
    until(lambda: s.devices() and all(d["moves"] for d in s.devices()))


def test_a_busy_task_is_moved_for_one_that_needs_a_whole_device_and_notices_nothing(system):
    s = system(2)
    movable(s)
    small, large = s.apart()
    before = s.place(small)["device"]
    head = s.whole()
    until(lambda: s.place(small)["moved_for"] == head)
    s.both_are_where_one_was(small, large, head)
    assert s.place(head)["device"] == before and s.place(small)["moved_from"] == before
    until(lambda: all(f"lease.{word}" in s.events(small) for word in ("moving", "moved")))
    assert head in s.events(small)
    why = s.server.get(f"/v1/tasks/{small}/why").json["detail"]
    assert head in why and "moved" in why


def test_who_holds_what_cannot_be_put_aside_is_not_stopped_and_the_other_moves(system):
    s = system(2)
    movable(s)
    small = s.submit(512, 300, 30, "managed")
    s.holds(small)
    wall = s.submit(512, 100, 70)
    s.holds(wall)
    large = s.busy(60)
    s.cancel(wall)
    head = s.whole()
    s.holds(head)
    s.goes_on(large)
    assert s.place(large)["device"] == s.place(small)["device"]
    s.answers(small, s.go(small))
    assert "cannot be put aside" in s.agent.stderr()


def test_a_drained_device_is_left_by_those_that_run_there(system):
    s = system(2)
    movable(s)
    tasks = [s.busy(30), s.busy(30)]
    device = s.place(tasks[0])["device"]
    assert s.place(tasks[1])["device"] == device
    s.server.post(f"/v1/devices/{device}/drain", {"reason": "fan"})
    until(lambda: next(d for d in s.devices() if d["id"] == device)["tasks_there"] == 0)
    for task in tasks:
        assert s.place(task)["device"] != device
        s.goes_on(task)


@pytest.mark.parametrize("delay", [0, 0.05, 0.3, 0.6, 1.2])
def test_an_agent_that_is_killed_while_a_busy_one_moves_finds_it_where_the_driver_has_it(system, delay):
    s = system(2)
    movable(s)
    small, large = s.apart()
    head = s.whole()
    until(lambda: "lease.moving" in s.events(small) + s.events(large))
    time.sleep(delay)
    s.restart_agent()
    movable(s)
    for task in (small, large):
        s.goes_on(task)
    s.both_are_where_one_was(small, large, head)          # the server asks again
    for task in (small, large):
        attempt = json.loads((s.folder / f"data/agent/attempts/{task}.1/attempt.json").read_text())
        assert attempt["device"] == s.place(task)["device_name"] and not attempt["moving_to"]


@pytest.mark.parametrize("delay", [0, 0.1, 0.5, 1])
def test_a_server_that_is_killed_while_a_busy_one_moves_goes_on_with_it(system, delay):
    s = system(2)
    movable(s)
    small, large = s.apart()
    head = s.whole()
    until(lambda: "lease.moving" in s.events(small) + s.events(large))
    time.sleep(delay)
    s.server.kill()
    time.sleep(0.3)
    s.server.start()
    until(s.devices)
    s.both_are_where_one_was(small, large, head)


@pytest.mark.parametrize("delay", [0, 0.1, 0.4, 0.8])
def test_a_task_that_is_killed_while_it_moves_leaves_both_places(system, delay):
    s = system(2)
    movable(s)
    small, large = s.apart()
    head = s.whole()
    until(lambda: s.place(small).get("moving_to") or s.place(large).get("moving_to"))
    moved = small if s.place(small).get("moved_for") else large
    time.sleep(delay)
    s.server.post(f"/v1/tasks/{moved}/cancel")
    until(lambda: s.task(moved)["state"] == "canceled")
    s.holds(head)
    stays = large if moved == small else small
    s.goes_on(stays)
    s.go(head, "end")
    until(lambda: s.task(head)["state"] == "succeeded")
    free = [d["memory_free_bytes"] for d in s.devices()]
    assert max(free) - min(free) == 512 << 20
