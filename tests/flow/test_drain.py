"""Machines and devices that an operator takes out of use, through the real server and with the real `fgpu`."""
import re

import pytest

from fake_agent import FakeAgent, device
from harness import command


@pytest.fixture
def agent(server):
    with FakeAgent(server, devices=[device("dev0", memory=16 << 30), device("dev1", memory=16 << 30)]) as made:
        yield made


def running(agent, task):
    start = agent.start(task["id"])
    agent.started(start)
    return start


def slice_of(share, **more):
    return command("x", resources={"memory": "1GB", "share": share}, **more)


def the_node(server):
    return server.get("/v1/nodes").json["nodes"][0]


def test_a_drained_machine_takes_nothing_new_through_restarts_of_server_and_agent(server, agent):
    node = the_node(server)
    there = server.submit(slice_of(50))
    start = running(agent, there)
    answer = server.post(f"/v1/nodes/{node['id']}/drain", {"reason": "new fans"}).json
    assert answer["drained"]["reason"] == "new fans" and answer["tasks_there"] == 1
    assert [(t["id"], t["going"], t["may_go"]) for t in answer["tasks"]] == [(there["id"], False, False)]
    waits = server.submit(slice_of(10))
    agent.expect_none("start")
    blocks = server.get(f"/v1/tasks/{waits['id']}/why").json["blocks"]
    assert {b["reason"] for b in blocks if b["device"]} == {"drained"}
    assert re.fullmatch(rf"drained since [0-9T:-]+Z, for new fans: fgpu nodes resume {re.escape(node['name'])}", blocks[0]["text"])
    server.restart()
    assert the_node(server)["drained"]["reason"] == "new fans"
    agent.attempts = [{"task": there["id"], "attempt": 1, "epoch": start["lease"]["epoch"], "finished": False}]
    agent.connect()
    assert server.task(there["id"])["state"] == "running"
    agent.expect_none("start")
    text = server.get("/metrics").body.decode()
    assert text.count('fastgpu_device_drained{device="dev') == 2 and 'fastgpu_device_drained{device="dev0"' in text
    assert server.post(f"/v1/nodes/{node['id']}/resume").json["drained"] is None
    running(agent, waits)
    events = [e["event"] for e in server.get("/v1/events?after=0").json["events"] if e["event"].startswith("node.")]
    assert [e for e in events if e in ("node.drained", "node.resumed")] == ["node.drained", "node.resumed"]


def test_one_device_is_drained_and_the_other_is_used(server, agent):
    devices = {d["name"]: d for d in server.get("/v1/devices").json["devices"]}
    answer = server.post(f"/v1/devices/{devices['dev0']['id']}/drain", {}).json
    assert answer["device_name"] == "dev0" and answer["tasks"] == [] and answer["drained"]["reason"] is None
    for _ in range(3):
        assert running(agent, server.submit(slice_of(30)))["device_name"] == "dev1"
    shown = {d["name"]: d for d in server.get("/v1/devices").json["devices"]}
    assert shown["dev0"]["drained"] and not shown["dev1"]["drained"] and the_node(server)["drained"] is None


def test_with_now_spot_tasks_are_asked_to_go_and_run_elsewhere(server, agent):
    stays, goes = server.submit(slice_of(20)), server.submit(slice_of(20, spot=True))
    running(agent, stays)
    start = running(agent, goes)
    number = next(d["id"] for d in server.get("/v1/devices").json["devices"] if d["name"] == start["device_name"])
    answer = server.post(f"/v1/devices/{number}/drain", {"now": True}).json
    assert {t["id"]: t["going"] for t in answer["tasks"]} == {stays["id"]: False, goes["id"]: True}
    assert agent.expect("kill")[0]["task"] == goes["id"]
    agent.finished(start, "failed", "preempted")
    assert agent.start(goes["id"])["device_name"] != start["device_name"]


@pytest.mark.parametrize("body, pointer", [({"reason": 5}, "/reason"), ({"reason": "x" * 101}, "/reason"), ({"now": "yes"}, "/now"), ({"then": 1}, "/then")])
def test_a_drain_that_makes_no_sense_is_refused_by_name(server, agent, body, pointer):
    answer = server.post(f"/v1/nodes/{the_node(server)['id']}/drain", body)
    assert answer.status == 422 and answer.json["errors"][0]["pointer"] == pointer


def test_only_the_operator_drains_and_only_what_is_there(server, agent):
    other = server.post("/v1/keys", {"name": "r", "scopes": ["keys:admin"]}).json["key"]
    node = the_node(server)["id"]
    assert server.post(f"/v1/nodes/{node}/drain", {}, key=other).status == 403
    assert server.post(f"/v1/nodes/{node}/resume", key=other).status == 403
    for path in ("/v1/nodes/nod_" + "0" * 26, "/v1/nodes/x", "/v1/devices/99", "/v1/devices/x"):
        assert server.post(f"{path}/drain", {}).status == 404


def test_why_says_that_placing_is_paused(server, agent):
    server.post("/v1/pause", {"seconds": 60})
    task = server.submit(slice_of(10))
    block = server.get(f"/v1/tasks/{task['id']}/why").json["blocks"][0]
    assert block["reason"] == "paused" and block["text"].startswith("placing is paused for ") and block["device"] is None
    assert "fastgpu_placing_paused 1" in server.get("/metrics").body.decode()
    server.post("/v1/pause", {"seconds": 0})
    running(agent, task)
    assert "fastgpu_placing_paused 0" in server.get("/metrics").body.decode()
