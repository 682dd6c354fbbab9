"""A task's way: submit, start, run, result, settled; and its other ends."""
import re
import threading
import time

import pytest

from fake_agent import FakeAgent, STDERR, STDOUT, device, new_id, record
from harness import command, eventually


def test_a_submitted_task_is_started_runs_and_gives_its_result(server, agent):
    task = server.submit(command("echo", "hi", labels={"who": "me"}, name="first", resources={"memory": "1GiB", "share": 50}))
    assert re.fullmatch(r"tsk_[0-9A-Z]{26}", task["id"])
    assert task["state"] == "queued" and task["labels"] == {"who": "me"} and task["name"] == "first"
    start = agent.start(task["id"])
    assert start["spec"]["command"] == ["echo", "hi"]
    assert start["lease"]["memory_bytes"] == 1 << 30 and start["lease"]["share_permille"] == 500
    assert start["device_name"] == "cpu0" and start["tenant"].startswith("ten_")
    assert server.task(task["id"])["state"] == "starting"
    agent.started(start)
    now = server.task(task["id"])
    assert now["state"] == "running" and now["placement"]["device_kind"] == "cpu" and now["slice"] == {"memory_bytes": 1 << 30, "share_percent": 50}
    assert now["placement"]["enforcement"] == {"memory": "kernel", "share": "kernel", "level": "kernel"}
    assert server.get(f"/v1/tasks/{task['id']}/result").status == 202
    agent.finished(start, result='{"answer":42}')
    result = server.get(f"/v1/tasks/{task['id']}/result").json
    assert result["state"] == "succeeded" and result["result"] == {"answer": 42} and result["exit_code"] == 0
    # cpu: 0.05 USD/h = 13,889 nano-dollars/s; 2 s at max(1/4 of memory, 1/2 of compute) = 13,889 nano-dollars
    assert result["cost"]["amount"] == "0.000013889" and result["cost"]["currency"] == "USD"
    assert [line["phase"] for line in result["cost"]["lines"]] == ["queue", "pull", "load", "run"]
    assert result["timings"]["run_s"] == 2.0


def test_a_failed_task_tells_reason_hint_and_last_lines(server, agent):
    task = server.submit(command("false"))
    agent.run(task["id"], state="failed", reason="user_error", exit_code=3, detail="exit code 3", log_tail="Traceback\nboom\n")
    result = server.get(f"/v1/tasks/{task['id']}/result").json
    assert result["state"] == "failed" and result["exit_code"] == 3
    assert result["error"] == {"reason": "user_error", "message": "exit code 3", "hint": "fgpu logs ID shows what it printed.",
                               "log_tail": "Traceback\nboom\n"}


def test_a_result_that_is_not_json_is_told_as_text(server, agent):
    task = server.submit()
    agent.run(task["id"], result='"},"state":"stolen')
    result = server.get(f"/v1/tasks/{task['id']}/result").json
    assert result["state"] == "succeeded" and result["result"] == '"},"state":"stolen'


def test_submit_that_waits_is_answered_201_with_the_end(server, agent):
    running = threading.Thread(target=agent.run)
    running.start()
    began = time.monotonic()
    answer = server.post("/v1/tasks", command("true"), Prefer="wait=60")
    running.join()
    assert answer.status == 201 and answer.json["state"] == "succeeded", answer
    assert time.monotonic() - began < 30 # of the 60 that it would have waited


def test_waiting_ends_with_the_time_asked_for(server):
    task = server.submit()
    for path in (f"/v1/tasks/{task['id']}?wait=1", f"/v1/tasks/{task['id']}/result?wait=1"):
        began = time.monotonic()
        assert server.get(path).json["state"] == "queued"
        assert time.monotonic() - began > 0.9
    assert server.post("/v1/tasks", command("true"), Prefer="wait=1").status == 202


def test_wait_is_woken_by_the_end(server, agent):
    task = server.submit()
    start = agent.start()
    agent.started(start)
    ending = threading.Timer(0.3, agent.finished, [start])
    ending.start()
    began = time.monotonic()
    assert server.get(f"/v1/tasks/{task['id']}/result?wait=60").json["state"] == "succeeded"
    assert time.monotonic() - began < 30
    ending.join()


@pytest.mark.parametrize("wait", ["-1", "x", "99999999999999999999"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(shared, wait):
    task = shared.submit()
    answer = shared.get(f"/v1/tasks/{task['id']}?wait={wait}")
    assert answer.status == 422 and answer.json["errors"][0]["pointer"] == "?wait"


def test_a_queued_task_is_canceled_at_once_and_stays_so(server):
    task = server.submit()
    answer = server.post(f"/v1/tasks/{task['id']}/cancel")
    assert answer.status == 200 and answer.json["state"] == "canceled"
    assert server.post(f"/v1/tasks/{task['id']}/cancel").json["state"] == "canceled"
    assert server.post(f"/v1/tasks/{task['id']}/hold").status == 409
    with FakeAgent(server) as late:
        late.expect_none("start")


def test_a_running_task_is_killed_when_canceled(server, agent):
    task = server.submit()
    start = agent.start()
    agent.started(start)
    assert server.post(f"/v1/tasks/{task['id']}/cancel").status == 202
    agent.expect("kill", task=task["id"])
    agent.finished(start, state="canceled", exit_code=-1, signal=9)
    assert server.task(task["id"])["state"] == "canceled"


def test_a_held_task_waits_until_it_is_released(server, agent):
    task = server.submit(command("true", hold=True))
    agent.expect_none("start")
    why = server.get(f"/v1/tasks/{task['id']}/why").json
    assert why["reason"] == "held"
    assert server.post(f"/v1/tasks/{task['id']}/release").status == 200
    agent.run(task["id"])
    assert server.post(f"/v1/tasks/{task['id']}/release").status == 409


def test_hold_keeps_a_queued_task_from_being_placed(server):
    task = server.submit()
    assert server.post(f"/v1/tasks/{task['id']}/hold").json["held"] is True
    with FakeAgent(server) as agent:
        agent.expect_none("start")
        server.post(f"/v1/tasks/{task['id']}/release")
        agent.run(task["id"])


def test_an_ended_task_is_run_again_by_retry(server, agent):
    task = server.submit(command("echo", "again", name="n"))
    assert server.post(f"/v1/tasks/{task['id']}/retry").status == 409
    agent.run(task["id"])
    again = server.post(f"/v1/tasks/{task['id']}/retry", Idempotency_Key="r")
    assert again.status == 201 and again.json["id"] != task["id"] and again.json["name"] == "n"
    assert server.post(f"/v1/tasks/{task['id']}/retry", Idempotency_Key="r").json["id"] == again.json["id"]
    assert agent.start(again.json["id"])["spec"]["command"] == ["echo", "again"]


def test_a_retry_is_not_held_as_the_first_one_was(server, agent):
    task = server.submit(command("true", hold=True))
    server.post(f"/v1/tasks/{task['id']}/cancel")
    again = server.post(f"/v1/tasks/{task['id']}/retry").json
    agent.run(again["id"])


def test_why_names_each_device_and_what_is_missing(server):
    with FakeAgent(server, devices=[device("cpu0", 4 << 30), device("cpu1", 2 << 30)]) as agent:
        first = server.submit(command("a", resources={"memory": "4GiB", "share": 100}))
        agent.start(first["id"])
        second = server.submit(command("b", resources={"memory": "3GiB", "share": 50}))
        why = server.get(f"/v1/tasks/{second['id']}/why").json
        blocks = {b["device_name"]: b for b in why["blocks"]}
        assert why["reason"] == "waiting_capacity" and why["position"] == 1
        assert blocks["cpu0"]["reason"] == "waiting_capacity" and blocks["cpu0"]["memory_missing_bytes"] == 3 << 30
        assert blocks["cpu1"]["reason"] == "invalid"
        assert server.get(f"/v1/tasks/{first['id']}/why").json["decision"]["rule_text"]


def test_why_without_any_device_says_so(server):
    why = server.get(f"/v1/tasks/{server.submit()['id']}/why").json
    assert len(why["blocks"]) == 1 and why["blocks"][0]["device"] is None


def test_a_lost_connection_goes_on_with_the_same_attempt(server):
    agent = FakeAgent(server).connect()
    task = server.submit()
    start = agent.start()
    agent.started(start)
    agent.close()
    assert eventually(lambda: not server.get("/v1/nodes").json["nodes"][0]["connected"])
    agent.attempts = [{"task": task["id"], "attempt": 1, "epoch": start["lease"]["epoch"], "finished": False}]
    agent.connect()
    assert agent.welcome["keep"] == [{"task": task["id"], "attempt": 1, "epoch": start["lease"]["epoch"], "log_offset": 0}]
    agent.expect_none("start", 0.2)
    agent.finished(start)
    assert server.task(task["id"])["attempt"] == 1 and server.task(task["id"])["state"] == "succeeded"
    agent.close()


def test_a_start_that_got_lost_is_sent_again_at_hello(server):
    agent = FakeAgent(server).connect()
    task = server.submit()
    first = agent.start()
    agent.close()                        # it never saw it, as far as its next hello says
    agent.connect()
    again = agent.start(task["id"])
    assert again["lease"]["epoch"] == first["lease"]["epoch"] and again["attempt"] == 1
    agent.started(again)
    agent.finished(again)
    agent.close()


def test_reports_may_be_repeated(server, agent):
    task = server.submit()
    start = agent.start()
    for _ in range(3):
        agent.started(start)
    agent.finished(start, exit_code=0)
    before = server.get(f"/v1/tasks/{task['id']}/result").json
    agent.report(start, 2, 9, outcome={"state": "failed", "reason": "user_error", "exit_code": 7, "signal": 0, "pull_ns": 0, "load_ns": 0,
                                       "run_ns": 1, "usage": agent.usage(9)})
    agent.expect("forget", task=task["id"])
    assert server.get(f"/v1/tasks/{task['id']}/result").json == before


def test_an_attempt_that_is_over_for_us_is_forgotten_at_hello(server):
    agent = FakeAgent(server).connect()
    task = server.submit()
    start = agent.run(task["id"])
    agent.close()
    agent.attempts = [{"task": task["id"], "attempt": 1, "epoch": start["lease"]["epoch"], "finished": True},
                      {"task": new_id("tsk"), "attempt": 1, "epoch": 77, "finished": False}]
    agent.connect()
    assert agent.welcome["keep"] == []
    agent.expect("forget", task=task["id"])
    agent.close()


def test_the_cost_of_a_task_follows_its_slice_not_its_use(server, agent):
    task = server.submit(command("x", resources={"memory": "4GiB", "share": 10}))     # all of the memory: the whole price
    agent.run(task["id"])
    assert server.get(f"/v1/tasks/{task['id']}/result").json["cost"]["amount"] == "0.000027778"


def test_logs_and_end_reach_the_disk_before_the_agent_may_forget(server, agent):
    task = server.submit()
    log = record(STDOUT, b"one\n") + record(STDERR, b"two\n")
    agent.run(task["id"], log=log)
    assert (server.data / "logs" / f"{task['id']}.1.log").read_bytes() == log
