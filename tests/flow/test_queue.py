"""Arrays, gangs, deadlines, priorities that displace, fair share, and what `why` says of it, through the real server."""
import pytest

from fake_agent import FakeAgent, device
from harness import command, eventually


@pytest.fixture
def agent(server):
    with FakeAgent(server, devices=[device("dev0", memory=16 << 30)]) as made:
        yield made


def running(agent, task):
    start = agent.start(task["id"])
    agent.started(start)
    return start


def slice_of(share, **more):
    return command("x", resources={"memory": "1GB", "share": share}, **more)


def test_an_array_is_one_request_and_each_task_knows_its_index(server):
    answer = server.post("/v1/tasks", slice_of(10, array="5-7", hold=True))
    assert answer.status == 202 and answer.json["size"] == 3 and answer.json["id"] == answer.json["tasks"][0]
    tasks = [server.task(t) for t in answer.json["tasks"]]
    assert [t["array"]["index"] for t in tasks] == [5, 6, 7]
    assert {t["array"]["id"] for t in tasks} == {answer.json["id"]} and not tasks[0]["array"]["gang"]


@pytest.mark.parametrize("spec, pointer", [
    (dict(array="7-5"), "/array"), (dict(array="x"), "/array"), (dict(array="0-10000"), "/array"), (dict(gang=True), "/array"),
    (dict(limits={"deadline": 0}), "/limits/deadline"), (dict(spot="yes"), "/spot")])
def test_what_makes_no_sense_is_refused_by_name(server, spec, pointer):
    answer = server.post("/v1/tasks", slice_of(10, **spec))
    assert answer.status == 422 and answer.json["errors"][0]["pointer"] == pointer


def test_an_array_is_no_item_of_a_batch(server):
    answer = server.post("/v1/tasks:batch", {"tasks": [slice_of(10, array="0-3"), slice_of(10)]})
    assert answer.json["tasks"][0]["error"]["pointer"] == "/array" and "id" in answer.json["tasks"][1]


def test_a_gang_larger_than_all_devices_is_refused(server, agent):
    """Three halves never fit on one device at once; as an array they take turns."""
    answer = server.post("/v1/tasks", slice_of(50, array="0-2", gang=True))
    assert answer.status == 422 and answer.json["errors"][0]["pointer"] == "/gang"
    assert "only 2 of them" in answer.json["detail"] and "array" in answer.json["hint"]
    assert server.post("/v1/tasks", slice_of(50, array="0-2", hold=True)).status == 202


def test_a_gang_starts_whole_or_not_at_all(server, agent):
    first = server.submit(slice_of(50))
    start = running(agent, first)
    gang = server.post("/v1/tasks", slice_of(50, array="0-1", gang=True)).json["tasks"]
    small = server.submit(slice_of(50))
    why = server.get(f"/v1/tasks/{gang[0]}/why").json
    assert why["state"] == "queued"
    agent.finished(start)
    assert eventually(lambda: all(server.task(t)["state"] == "starting" for t in gang))
    assert server.task(small["id"])["state"] == "queued"


def test_a_spot_task_makes_room_and_is_queued_again(server, agent):
    spot = server.submit(slice_of(100, spot=True))
    start = running(agent, spot)
    normal = server.submit(slice_of(100))
    agent.expect("kill", task=spot["id"])
    agent.finished(start, state="failed", reason="preempted", exit_code=-1)
    assert eventually(lambda: server.task(normal["id"])["state"] == "starting")
    again = server.task(spot["id"])
    assert again["state"] == "queued" and again["attempt"] == 2 and again["reason"] == "preempted"


def test_why_tells_place_start_and_what_would_start_it(server, agent):
    first = server.submit(slice_of(75))
    running(agent, first)
    head, behind = server.submit(slice_of(100)), server.submit(slice_of(25))
    why = server.get(f"/v1/tasks/{head['id']}/why").json
    assert why["position"] == 1 and 0 <= why["start"]["p10_s"] <= why["start"]["in_s"] <= why["start"]["p90_s"]
    assert "when 1 task there has ended" in why["blocks"][0]["text"] and why["blocks"][0]["free"]
    assert why["reservation"]["device_name"] == "dev0"
    why = server.get(f"/v1/tasks/{behind['id']}/why").json
    assert why["position"] == 2 and any("held for " + head["id"] in b["text"] for b in why["blocks"])
    placed = server.get(f"/v1/tasks/{first['id']}/why").json["decision"]
    assert placed["rule"] == 1 and placed["alternatives"] == [] and placed["plan"]["gap_percent"] == 0


def test_prices_change_while_tasks_run_and_survive_a_restart(server, agent):
    """Half of a device: the price of the lease is what was asked when it was granted."""
    before = server.submit(slice_of(50))
    running(agent, before)
    kind = server.get("/v1/devices").json["devices"][0]["kind"]
    answer = server.request("PUT", "/v1/prices", {"kind": kind, "usd_per_hour": "7.20", "spot_usd_per_hour": "3.60"})
    mine = next(p for p in answer.json["prices"] if p["kind"] == kind)
    assert mine == {"kind": kind, "usd_per_hour": "7.20", "spot_usd_per_hour": "3.60", "source": "set"}
    assert server.get("/v1/devices").json["devices"][0]["price_usd_per_hour"] == "7.20"
    quote = server.post("/v1/tasks?dry_run=true", slice_of(50)).json
    assert float(quote["cost"]["p50"]) == pytest.approx(3.6 / 3600 * quote["expected"]["p50_s"], rel=0.01)
    events = [e for e in server.get("/v1/events?after=0").json["events"] if e["event"] == "price.set"]
    assert len(events) == 1 and events[0]["data"]["kind"] == kind
    server.restart()
    assert mine in server.get("/v1/prices").json["prices"]
    assert server.request("PUT", "/v1/prices", {"kind": kind, "usd_per_hour": None}).json["prices"] != answer.json["prices"]
    assert mine not in server.get("/v1/prices").json["prices"]


@pytest.mark.parametrize("body, pointer", [
    ({"usd_per_hour": "1"}, "/kind"), ({"kind": "cpu", "usd_per_hour": 1}, "/usd_per_hour"), ({"kind": "cpu", "usd_per_hour": "-1"}, "/usd_per_hour"),
    ({"kind": "cpu", "usd_per_hour": "9999999999"}, "/usd_per_hour"), ({"kind": "cpu", "spot_usd_per_hour": "1"}, "/spot_usd_per_hour"),
    ({"kind": "x" * 64, "usd_per_hour": "1"}, "/kind"), ({"kind": "cpu", "price": "1"}, "/price")])
def test_a_price_that_is_none_is_refused_by_name(server, body, pointer):
    answer = server.request("PUT", "/v1/prices", body)
    assert answer.status == 422 and answer.json["errors"][0]["pointer"] == pointer


def test_a_paused_server_places_nothing(server, agent):
    assert server.post("/v1/pause", {"seconds": 60}).json == {"seconds": 60}
    task = server.submit(slice_of(10))
    agent.expect_none("start")
    assert server.post("/v1/pause", {"seconds": 0}).status == 200
    running(agent, task)
    for wrong in ({"seconds": 61}, {"seconds": -1}, {"seconds": "5"}, {}):
        assert server.post("/v1/pause", wrong).json["errors"][0]["pointer"] == "/seconds"
    reader = server.post("/v1/keys", {"name": "r", "scopes": ["keys:admin"]}).json["key"]
    assert server.post("/v1/pause", {"seconds": 60}, key=reader).status == 403


def test_weights_are_the_first_tenants_to_set(server):
    mine = server.get("/v1/tenants").json["tenants"]
    other = server.post("/v1/keys", {"name": "k", "tenant": "other"}).json
    answer = server.request("PUT", f"/v1/tenants/{other['tenant']}", {"weight": 5})
    assert answer.status == 200 and answer.json["weight"] == 5
    assert server.request("PUT", f"/v1/tenants/{other['tenant']}", {"weight": 0}).json["errors"][0]["pointer"] == "/weight"
    assert server.request("PUT", "/v1/tenants/ten_" + "0" * 26, {"weight": 5}).status == 404
    assert server.request("PUT", f"/v1/tenants/{other['tenant']}", {"weight": 9}, key=other["key"]).status == 403
    assert server.request("PUT", "/v1/prices", {"kind": "cpu", "usd_per_hour": "9"}, key=other["key"]).status == 403
    assert [t["weight"] for t in server.get("/v1/tenants", key=other["key"]).json["tenants"]] == [5]
    server.restart()
    assert 5 in [t["weight"] for t in server.get("/v1/tenants").json["tenants"]], mine
