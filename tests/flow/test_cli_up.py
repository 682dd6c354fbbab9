"""fgpu up and down: one system a folder, kept running, found again, and gone when it is told to go."""
import os
import re
import signal
import socket

import pytest

from cli_world import NEEDS_FGPU, alone, running  # noqa: F401
from harness import PATIENCE_S

pytestmark = NEEDS_FGPU


def pid_of(fgpu, name):
    return int(re.findall(name + r" started, pid (\d+)", (fgpu.data / "up.log").read_text())[-1])


def test_up_prints_what_a_newcomer_needs_and_may_be_repeated(alone):  # noqa: F811
    first = alone("up", "--detach", "--listen", "127.0.0.1:0")
    url = re.search(r"http://\S+", first)[0]
    for word in ("key     fgpu_", str(alone.home / "config"), str(alone.data), "cpu0", "limits: memory", "fgpu down"):
        assert word in first
    assert oct((alone.home / "config" / "fastgpu" / "credentials").stat().st_mode)[-3:] == "600"
    before = (alone.data / "up.log").read_text().count(" started, pid ")
    assert url in alone("up", "--detach")
    assert (alone.data / "up.log").read_text().count(" started, pid ") == before
    assert "already runs" in alone.fails(5, "up")
    alone("down")
    assert "no task runs" in alone.err
    assert "nothing runs" in (alone("down") + alone.err)
    alone.fails(7, "ps")


def test_two_ups_at_once_start_one_system(alone):  # noqa: F811
    both = [alone.start("up", "--detach", "-q", "--listen", "127.0.0.1:0", text=True) for _ in range(2)]
    urls = {p.communicate(timeout=PATIENCE_S)[0] for p in both}
    assert len(urls) == 1 and all(p.returncode == 0 for p in both)


def test_in_the_foreground_it_stops_with_ctrl_c(alone):  # noqa: F811
    up = alone.start("up", "-q", "--listen", "127.0.0.1:0", text=True, start_new_session=True)
    assert up.stdout.readline().startswith("http://")
    os.killpg(up.pid, signal.SIGINT)
    assert up.wait(timeout=PATIENCE_S) == 0
    alone.fails(7, "ps")


def test_a_port_that_is_taken_fails_with_the_reason(alone):  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = alone.fails(7, "up", "--detach", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert "Address already in use" in error and "serve.log" in error


@pytest.mark.parametrize("name", ["serve", "agent"])
def test_killed_daemons_come_back_and_the_run_goes_on(alone, name):  # noqa: F811
    alone("up", "--detach", "--listen", "127.0.0.1:0")
    run = alone.start("run", "-q", "--no-workdir", "--", "sh", "-c", "for i in 1 2 3 4; do echo $i; sleep 0.5; done; exit 4", text=True)
    assert run.stdout.readline() == "1\n"
    os.kill(pid_of(alone, name), signal.SIGKILL)
    out, err = run.communicate(timeout=PATIENCE_S)
    assert (run.returncode, out) == (1, "2\n3\n4\n"), err
    assert alone.one("get", "last")["exit_code"] == 4
    assert alone.one("get", "last")["attempt"] == 1


def test_tasks_outlive_down_and_are_found_again(alone):  # noqa: F811
    alone("up", "--detach", "--listen", "127.0.0.1:0")
    task = alone("submit", "--no-workdir", "--", "sh", "-c", "until [ -e go ]; do sleep 0.05; done; for i in 1 2 3 4; do echo $i; done; exit 5").strip()
    assert running(alone, task)
    alone("down")
    assert "1 task goes on" in alone.err
    (alone.data / "agent" / "attempts" / f"{task}.1" / "work" / "go").touch()
    alone("up", "--detach", "--listen", "127.0.0.1:0")
    alone("wait", task, code=1)
    assert alone.one("get", task)["exit_code"] == 5
    assert alone("logs", task) == "1\n2\n3\n4\n"


def test_down_kill_leaves_nothing_running(alone):  # noqa: F811
    alone("up", "--detach", "--listen", "127.0.0.1:0")
    task = alone("submit", "--no-workdir", "--share", "100", "--", "sleep", "100").strip()
    assert running(alone, task)
    waiting = alone("submit", "--no-workdir", "--share", "100", "--", "true").strip()
    alone("down", "--kill")
    assert "no task runs" in alone.err
    assert not (alone.data / "agent" / "attempts" / f"{waiting}.1").exists()      # it did not take the freed place
    alone("up", "--detach", "--listen", "127.0.0.1:0")
    assert alone.one("get", task)["state"] == "canceled"
    assert "succeeded" in alone("wait", waiting)


def test_a_watcher_that_is_killed_takes_its_daemons_along(alone):  # noqa: F811
    alone("up", "--detach", "--listen", "127.0.0.1:0")
    serve = pid_of(alone, "serve")
    os.kill(int((alone.data / "up.pid").read_text()), signal.SIGKILL)
    alone("up", "--detach", "--listen", "127.0.0.1:0")
    assert pid_of(alone, "serve") != serve
    alone("ps")
