"""Whatever dies, no task is lost, none runs twice, and its end is told once."""
import json
import os
import signal
import time

from agent_world import ROOT_ONLY, make_world, marked, until, world  # noqa: F401
from fake_server import FINISHED, STARTED
from harness import PATIENCE_S

# It begins, waits until the test says `go`, counts and ends with 9: what happens in between takes as long as it takes.
COUNT = "echo begin; until [ -e go ]; do sleep 0.05; done; for i in 1 2 3 4 5 6 7 8; do echo $i; done; exit 9"
COUNTED = "begin\n" + "".join(f"{i}\n" for i in range(1, 9))


def ends(server, task):
    return [r["outcome"]["exit_code"] for r in server.reports if r["task"] == task and r["kind"] == FINISHED]


def go(world, task):  # noqa: F811
    (world.attempt_dir(task) / "work" / "go").touch()


def test_a_killed_agents_task_goes_on_and_its_exit_code_arrives_once(world):  # noqa: F811
    task = world.server.start(["sh", "-c", COUNT])
    world.server.wait_text(task, "begin")
    pids = world.agent.supervisors()
    world.agent.kill()
    world.agent.run()
    world.server.wait_hello(2)
    assert world.agent.supervisors() == pids
    assert world.server.hellos[1]["attempts"] == [{"task": task, "attempt": 1, "epoch": 1, "finished": False}]
    go(world, task)
    assert world.server.finished(task)["exit_code"] == 9
    assert world.server.text(task) == COUNTED
    world.gone()
    time.sleep(0.3)
    assert ends(world.server, task) == [9]


def test_an_end_while_no_agent_runs_is_told_by_the_next_one(world):  # noqa: F811
    task = world.server.start(["sh", "-c", COUNT])
    world.server.wait_text(task, "begin")
    world.agent.kill()
    go(world, task)
    until(lambda: world.agent.supervisors() == {})
    world.agent.run()
    assert world.server.finished(task)["exit_code"] == 9
    assert world.server.text(task) == COUNTED
    world.gone()


def test_the_agent_may_be_killed_at_any_moment(world):  # noqa: F811
    """Killed after 0, 2, 4 ... ms of an attempt: each task runs once and ends once."""
    world.server.auto_ack = True
    marks = world.folder / "marks"
    marks.mkdir(mode=0o777)
    for step in range(14):
        task = world.server.start(["sh", "-c", "echo one; sleep 0.1; exit 6"])
        time.sleep(step * 0.002)
        hellos = len(world.server.hellos)
        world.agent.kill()
        world.agent.run()
        world.server.wait_hello(hellos + 1)
        if not any(a["task"] == task for a in world.server.hellos[-1]["attempts"]) and not ends(world.server, task):
            world.server.start(["sh", "-c", "echo one; sleep 0.1; exit 6"], task=task)     # as the core does with what is not there
        assert world.server.finished(task)["exit_code"] == 6, step
        assert world.server.text(task) == "one\n", step
        assert set(ends(world.server, task)) == {6}, step
    world.gone()


def test_an_ended_agent_leaves_its_tasks_running(world):  # noqa: F811
    task = world.server.start(["sh", "-c", COUNT])
    world.server.report(task, STARTED)
    world.agent.terminate()
    assert len(world.agent.supervisors()) == 1
    world.agent.run()
    go(world, task)
    assert world.server.finished(task)["exit_code"] == 9


def test_a_killed_supervisor_takes_its_task_along(world):  # noqa: F811
    task = world.server.start(["sleep", "301.5"])
    world.server.report(task, STARTED)
    os.kill(world.agent.supervisors()[f"{task}.1"], signal.SIGKILL)
    outcome = world.server.finished(task)
    assert (outcome["state"], outcome["reason"]) == ("failed", "internal")
    assert "supervisor" in outcome["detail"]
    assert marked("sleep 301.5") == []


def test_a_supervisor_killed_while_no_agent_runs_is_noticed(world):  # noqa: F811
    task = world.server.start(["sleep", "302.5"])
    world.server.report(task, STARTED)
    pid = world.agent.supervisors()[f"{task}.1"]
    world.agent.kill()
    os.kill(pid, signal.SIGKILL)
    world.agent.run()
    assert world.server.finished(task)["reason"] == "internal"
    assert marked("sleep 302.5") == []


def test_a_second_start_of_the_same_attempt_is_ignored(world):  # noqa: F811
    task = world.server.start(["sh", "-c", COUNT])
    for _ in range(3):
        world.server.start(["sh", "-c", COUNT], task=task)
    world.server.wait_text(task, "begin")
    go(world, task)
    world.server.finished(task)
    assert world.server.text(task) == COUNTED
    world.gone()


def test_reports_are_repeated_until_they_are_acknowledged(make_world):  # noqa: F811
    world = make_world(auto_ack=False, auto_forget=False)  # noqa: F811
    task = world.server.start(["sh", "-c", "exit 3"])
    world.server.finished(task)
    world.server.drop()
    world.server.wait_hello(2)
    with world.server.changed:
        world.server._wait(lambda: len(ends(world.server, task)) >= 2, "second report")
    world.server.drop()
    world.server.wait_hello(3)
    with world.server.changed:
        world.server._wait(lambda: len(ends(world.server, task)) >= 3, "third report")
    assert set(ends(world.server, task)) == {3}
    assert world.server.hellos[-1]["attempts"][0]["finished"] is True
    seqs = {r["seq"] for r in world.server.reports if r["kind"] == FINISHED}
    assert len(seqs) == 1                # the same report each time
    world.server.send({"m": "ack", "task": task, "attempt": 1, "kind": FINISHED, "seq": seqs.pop()})
    world.server.send({"m": "forget", "task": task, "attempt": 1})
    world.gone()


def test_a_lost_server_is_found_again_and_the_log_has_no_hole(world):  # noqa: F811
    task = world.server.start(["sh", "-c", "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.005; done"])
    for _ in range(6):
        time.sleep(0.3)
        world.server.drop()
    world.server.finished(task)
    assert world.server.text(task) == "".join(f"line {i}\n" for i in range(400))


def test_a_task_whose_lease_ran_out_kills_itself_without_an_agent(make_world):  # noqa: F811
    world = make_world(lease_s=6)  # noqa: F811
    task = world.server.start(["sleep", "303.5"])
    world.server.report(task, STARTED)
    time.sleep(7)
    assert marked("sleep 303.5") != []   # heartbeats move it on
    world.agent.kill()
    until(lambda: marked("sleep 303.5") == [])
    world.agent.run()
    assert world.server.finished(task)["reason"] == "node_lost"


def test_a_server_that_does_not_answer_costs_the_lease_too(make_world):  # noqa: F811
    world = make_world(lease_s=2)  # noqa: F811
    task = world.server.start(["sleep", "304.5"])
    world.server.report(task, STARTED)
    world.server.answer_alive = False
    assert world.server.finished(task)["reason"] == "node_lost"


def test_a_server_whose_disk_is_full_costs_no_lease(make_world):  # noqa: F811
    world = make_world(lease_s=6)  # noqa: F811
    task = world.server.start(["sh", "-c", COUNT])
    world.server.report(task, STARTED)
    world.server.storeless = True        # it says that it is alive, and closes
    world.server.drop()
    time.sleep(9)                        # a lease and a half: the agent must come back often enough to be told
    world.server.storeless = False
    go(world, task)
    assert world.server.finished(task)["exit_code"] == 9


def test_canceled_tasks_are_asked_first(world):  # noqa: F811
    task = world.server.start(["sh", "-c", "trap 'echo bye; exit 1' TERM; echo here; sleep 60 & wait"])
    world.server.wait_text(task, "here")
    world.server.kill(task)
    assert world.server.finished(task)["state"] == "canceled"
    assert "bye" in world.server.text(task)


def test_a_kill_for_a_limit_keeps_its_reason(world):  # noqa: F811
    task = world.server.start(["sleep", "60"])
    world.server.report(task, STARTED)
    world.server.kill(task, "max_cost")
    assert world.server.finished(task)["reason"] == "max_cost"


def test_forgetting_a_running_attempt_ends_it_without_a_report(world):  # noqa: F811
    task = world.server.start(["sleep", "305.5"])
    world.server.report(task, STARTED)
    world.server.send({"m": "forget", "task": task, "attempt": 1})
    world.gone()
    assert marked("sleep 305.5") == []
    assert ends(world.server, task) == []


@ROOT_ONLY
def test_vgpus_that_are_nobodys_go_at_start(world):  # noqa: F811
    task = world.server.start(["sleep", "60"])
    world.server.report(task, STARTED)
    world.agent.kill()
    folder = world.attempt_dir(task)
    supervisor = json.loads((folder / "run.json").read_text())["pid"]
    os.kill(supervisor, signal.SIGKILL)
    os.rename(folder, world.folder / "taken-away")
    world.agent.run()
    world.server.wait_hello(2)
    until(lambda: not any(task in p for p, _, _ in os.walk("/sys/fs/cgroup")))


def test_two_agents_do_not_share_a_folder(world):  # noqa: F811
    from fake_server import Agent
    second = Agent(world.folder)
    assert second.process.wait(PATIENCE_S) == 1
    assert "another agent runs" in second.stderr()
