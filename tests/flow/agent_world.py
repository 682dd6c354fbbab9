"""A real agent and a fake server, for tests that want both. Import `world` as a fixture."""
import os
import subprocess
import time

import pytest

from fake_server import AGENT, Agent, FakeServer
from harness import PATIENCE_S


def users_have_namespaces():
    """Whether an ordinary user can make a user namespace here; in a chroot, for one, the kernel lets none."""
    return os.geteuid() != 0 or subprocess.run(["unshare", "--user", "true"], user=64999, group=64999, extra_groups=[], cwd="/",
                                               stderr=subprocess.DEVNULL, check=False).returncode == 0


USERS = pytest.mark.skipif(not users_have_namespaces(), reason="this machine lets no ordinary user make a user namespace (a chroot?)")
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make cgroups and users here")


class World:
    def __init__(self, folder, **options):
        settings = options.pop("settings", [])
        user = options.pop("user", None)
        self.folder = folder
        os.chmod(folder, 0o755)
        if user:
            os.chown(folder, user, user)
        self.server = FakeServer(folder / "agent.sock", **options)
        if user:
            os.chown(folder / "agent.sock", user, user)
        self.agent = Agent(folder, *settings, user=user)
        self.server.wait_hello(1)

    def run(self, *command, **spec):
        """Run to its end; (outcome, stdout and stderr)."""
        task = self.server.start(list(command), **spec)
        outcome = self.server.finished(task)
        return outcome, self.server.text(task)

    def sh(self, script, **spec):
        return self.run("sh", "-c", script, **spec)

    def attempt_dir(self, task, attempt=1):
        return self.folder / "agent" / "attempts" / f"{task}.{attempt}"

    def gone(self, timeout=PATIENCE_S):
        """All attempts' folders are gone."""
        end = time.monotonic() + timeout
        while self.agent.folders():
            assert time.monotonic() < end, f"these stay: {self.agent.folders()}"
            time.sleep(0.02)

    def close(self):
        self.server.auto_ack = self.server.auto_forget = True
        if self.agent.process.poll() is not None:
            self.agent.run()
        self.server.wait_hello(1)
        for name in self.agent.folders():
            if name.startswith("tsk_"):
                task, attempt = name.split(".")
                self.server.send({"m": "forget", "task": task, "attempt": int(attempt)})
        try:
            self.gone()
        finally:
            if self.agent.process.poll() is None:
                self.agent.terminate()
            self.server.close()


def open_way(folder):
    """Let other users walk to folder: pytest's own folders are closed to them."""
    os.chmod(folder, 0o755)
    for parent in folder.parents:
        if len(parent.parts) > 2:
            os.chmod(parent, os.stat(parent).st_mode | 0o011)


def until(test, timeout=PATIENCE_S):
    """Wait for test() to hold."""
    end = time.monotonic() + timeout
    while not test():
        assert time.monotonic() < end, f"did not happen within {timeout} s"
        time.sleep(0.05)


def marked(mark):
    """Host processes whose environment or command line has mark."""
    out = subprocess.run(["ps", "-eo", "pid,stat,args", "ww"], capture_output=True, text=True, check=True).stdout
    return [line for line in out.splitlines() if mark in line and "ps -eo" not in line and " Z" not in line]


@pytest.fixture
def world(tmp_path):
    assert AGENT.exists(), f"{AGENT} is not built"
    w = World(tmp_path)
    yield w
    w.close()


@pytest.fixture
def make_world(tmp_path):
    made = []

    def make(**options):
        made.append(World(tmp_path, **options))
        return made[-1]
    yield make
    for w in made:
        w.close()


def lease_outlives_agent(world, program, device, **more):
    """A quarter of its memory is taken before the agent is killed: another agent knows of it, and the fifth allocation of 16 MiB of 64
    is refused. program: Python that has say() and alloc(mib)."""
    task = world.server.start(["python3", "-c", program + """
import time
say(alloc(16)[0])
while not os.path.exists("go"):
    time.sleep(0.05)
say(*[alloc(16)[0] for _ in range(4)])
"""], device=device, memory=64 << 20, share=500, **more)
    world.server.wait_text(task, "0")
    world.agent.kill()
    world.agent.run()
    world.server.wait_hello(2)
    (world.attempt_dir(task) / "work" / "go").write_text("")
    assert world.server.finished(task)["state"] == "succeeded"
    assert world.server.text(task).split() == ["0", "0", "0", "0", "2"]
