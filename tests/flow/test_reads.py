"""Lists and pages, ETags, what the API says of itself, devices, usage, metrics."""
import re
import subprocess
import sys
import tomllib

import pytest

from fake_agent import FakeAgent, device
from harness import ROOT, command


def test_pages_give_every_task_once_newest_first(shared):
    made = [i["id"] for i in shared.post("/v1/tasks:batch", {"tasks": [command("x", name="paged")] * 25}).json["tasks"]]
    seen, cursor = [], None
    while True:
        page = shared.get("/v1/tasks?name=paged&limit=10" + (f"&cursor={cursor}" if cursor else "")).json
        seen += [t["id"] for t in page["tasks"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == list(reversed(made))


def test_a_full_last_page_has_no_next(shared):
    shared.post("/v1/tasks:batch", {"tasks": [command("x", name="ten")] * 10})
    page = shared.get("/v1/tasks?name=ten&limit=10").json
    assert len(page["tasks"]) == 10 and page["next_cursor"] is None


def test_lists_are_filtered_by_state_name_and_label(shared):
    a = shared.submit(command("x", labels={"team": "a", "k": "v"}))
    b = shared.submit(command("x", labels={"team": "b"}, hold=True))
    shared.post(f"/v1/tasks/{b['id']}/cancel")
    assert [t["id"] for t in shared.get("/v1/tasks?label=team%3Da").json["tasks"]] == [a["id"]]
    assert {t["id"] for t in shared.get("/v1/tasks?label=team").json["tasks"]} == {a["id"], b["id"]}
    assert b["id"] in [t["id"] for t in shared.get("/v1/tasks?state=canceled").json["tasks"]]
    assert a["id"] not in [t["id"] for t in shared.get("/v1/tasks?state=canceled").json["tasks"]]


def test_pages_by_label_give_every_match_once(shared):
    shared.post("/v1/tasks:batch", {"tasks": [command("x", labels={"odd": str(i % 2)}) for i in range(20)]})
    seen, cursor = [], None
    for _ in range(10):
        page = shared.get("/v1/tasks?label=odd%3D1&limit=4" + (f"&cursor={cursor}" if cursor else "")).json
        seen += [t["id"] for t in page["tasks"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 10 and not cursor


@pytest.mark.parametrize("query, where", [("state=done", "?state"), ("limit=0", "?limit"), ("limit=1001", "?limit"), ("limit=x", "?limit"),
                                          ("cursor=tsk_x", "?cursor"), ("cursor=%27%3B+drop", "?cursor")])
def test_a_bad_list_query_is_refused_by_name(shared, query, where):
    answer = shared.get("/v1/tasks?" + query)
    assert answer.status == 422 and answer.json["errors"][0]["pointer"] == where


@pytest.mark.parametrize("task", ["x", "tsk_", "tsk_" + "0" * 26, "tsk_" + "Z" * 26, "nod_" + "0" * 26, "%00", "..%2f..", "' or 1=1"])
def test_an_unknown_task_is_404(shared, task):
    from urllib.parse import quote
    answer = shared.get("/v1/tasks/" + quote(task, safe="%"))
    assert answer.status in (400, 404), answer


def test_an_unchanged_task_is_304_and_a_changed_one_is_not(server):
    task = server.submit()
    first = server.get(f"/v1/tasks/{task['id']}")
    tag = first.headers["ETag"]
    assert server.get(f"/v1/tasks/{task['id']}", If_None_Match=tag).status == 304
    server.post(f"/v1/tasks/{task['id']}/cancel")
    assert server.get(f"/v1/tasks/{task['id']}", If_None_Match=tag).status == 200


def test_head_has_the_head_of_get(shared):
    answer = shared.request("HEAD", "/v1/tasks")
    assert answer.status == 200 and answer.body == b""


def test_another_method_is_405(shared):
    assert shared.request("DELETE", "/v1/tasks").status == 405


# --- the API about itself ---


def routes():
    return tomllib.loads((ROOT / "api/routes.toml").read_text())["route"]


def test_openapi_has_the_routes_of_the_table_and_no_other(shared):
    api = shared.get("/openapi.json", key=None).json
    assert api["openapi"].startswith("3.1")
    described = {(m.upper(), path): op for path, ops in api["paths"].items() for m, op in ops.items()}
    assert set(described) == {(r["method"], r["path"]) for r in routes()}
    for r in routes():
        op = described[r["method"], r["path"]]
        assert op["operationId"] == r["name"] and op.get("x-scope", "") == r["scope"]
        assert {int(s) for s in op["responses"] if s != "default"} == set(r["status"])
        assert {p["name"] for p in op.get("parameters", []) if p["in"] == "query"} == set(r.get("query", []))


def test_openapi_refers_only_to_what_it_has(shared):
    text = shared.get("/openapi.json", key=None).body.decode()
    assert {r for r in re.findall(r'"#/components/schemas/(\w+)"', text)} <= set(shared.get("/openapi.json").json["components"]["schemas"])


def test_every_route_answers_with_a_status_of_the_table_or_a_problem(shared):
    task = shared.submit()["id"]
    for r in routes():
        path = r["path"].replace("{id}", task).replace("{sha256}", "0" * 64).replace("{name}", "resnet50")
        if r["name"] in ("task_retry", "key_revoke"):
            continue
        answer = shared.request(r["method"], path, b"{}" if r.get("body") else None)
        assert answer.status in r["status"] or answer.headers["Content-Type"] == "application/problem+json", (r["name"], answer)
        assert answer.status < 500, (r["name"], answer)


def check(schema, value, api, where="$"):
    """The part of JSON Schema that our answers need; types, members, alternatives."""
    if "$ref" in schema:
        return check(api["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], value, api, where)
    if "oneOf" in schema or "anyOf" in schema:
        failures = [check(s, value, api, where) for s in schema.get("oneOf", schema.get("anyOf"))]
        return None if None in failures else failures[0]
    names = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None), "object": dict, "array": list}
    types = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if types and not any(isinstance(value, names[t]) and not (isinstance(value, bool) and t != "boolean") for t in types):
        return f"{where}: {value!r} is not {types}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where}: {value!r} is not in {schema['enum']}"
    if isinstance(value, dict) and "properties" in schema:
        missing, unknown = set(schema.get("required", [])) - set(value), set(value) - set(schema["properties"])
        if missing or unknown:
            return f"{where}: missing {missing}, unknown {unknown}"
        for key, item in value.items():
            if (wrong := check(schema["properties"][key], item, api, f"{where}.{key}")) is not None:
                return wrong
    if isinstance(value, list):
        for i, item in enumerate(value):
            if (wrong := check(schema.get("items", {}), item, api, f"{where}[{i}]")) is not None:
                return wrong
    return None


def test_answers_are_what_openapi_says(server):
    api = server.get("/openapi.json").json
    with FakeAgent(server, devices=[device(), device("gpu0", kind="NVIDIA H200")]) as agent:
        done = server.submit(command("x", labels={"a": "b"}, resources={"device_kind": "cpu"}))
        agent.run(done["id"], result='{"a":1}', outputs='[{"path":"o","size":1,"blob":"%s"}]' % ("0" * 64))
        failed = server.submit()
        agent.run(failed["id"], state="failed", reason="user_error", exit_code=1, log_tail="x")
        running = server.submit()
        agent.started(agent.start(running["id"]))
        waiting = server.submit(command("x", resources={"memory": "4GiB", "share": 100, "device_kind": "NVIDIA H200"}))
        blocked = server.submit(command("x", resources={"memory": "4GiB", "share": 100, "device_kind": "NVIDIA H200"}))
        asked = []
        for task in (done, failed, running, waiting, blocked):
            asked += [("task_get", f"/v1/tasks/{task['id']}"), ("task_why", f"/v1/tasks/{task['id']}/why")]
        asked += [("task_result", f"/v1/tasks/{t['id']}/result") for t in (done, failed)]
        asked += [("task_list", "/v1/tasks"), ("events", "/v1/events"), ("task_events", f"/v1/tasks/{done['id']}/events"), ("devices", "/v1/devices"),
                  ("nodes", "/v1/nodes"), ("models", "/v1/models"), ("keys_list", "/v1/keys"), ("usage", "/v1/usage"), ("healthz", "/healthz"),
                  ("readyz", "/readyz")]
        operations = {op["operationId"]: op for ops in api["paths"].values() for op in ops.values()}
        for name, path in asked:
            schema = operations[name]["responses"]["200"]["content"]["application/json"]["schema"]
            assert check(schema, server.get(path).json, api) is None, (name, check(schema, server.get(path).json, api))
        quote = server.post("/v1/tasks?dry_run=true", command("x")).json
        assert check(api["components"]["schemas"]["Quote"], quote, api) is None, check(api["components"]["schemas"]["Quote"], quote, api)
        problem = server.post("/v1/tasks", {}).json
        assert check(api["components"]["schemas"]["Problem"], problem, api) is None, problem


def test_a_route_without_an_answer_in_openapi_stops_the_build(tmp_path):
    api = tmp_path / "api"
    api.mkdir()
    for path in (ROOT / "api").glob("*.toml"):
        (api / path.name).write_text(path.read_text())
    with open(api / "routes.toml", "a") as f:
        f.write('[[route]]\nname = "more"\nmethod = "GET"\npath = "/more"\nscope = ""\nstatus = [200]\ndoc = "x"\n')
    done = subprocess.run([sys.executable, ROOT / "tools/gen_openapi.py", api, "0", tmp_path / "out.h"], capture_output=True)
    assert done.returncode != 0 and b"more" in done.stderr


def test_the_front_page_says_where_things_are(shared):
    page = shared.get("/", key=None)
    assert page.headers["Content-Type"].startswith("text/html") and b"/openapi.json" in page.body


# --- devices, usage, metrics ---


def test_devices_show_capacity_price_and_level(server):
    with FakeAgent(server, devices=[device(level_why="no cgroup", share_level="cooperative")]) as agent:
        (one,) = server.get("/v1/devices").json["devices"]
        assert one["memory_free_bytes"] == one["memory_bytes"] == 4 << 30 and one["share_free_percent"] == 100
        assert one["price_usd_per_hour"] == "0.0500004" and one["price_usd_per_s"] == "0.000013889"
        assert one["enforcement"] == {"memory": "kernel", "share": "cooperative", "level": "cooperative", "why": "no cgroup"}
        server.submit(command("x", resources={"memory": "1GiB", "share": 25}))
        agent.start()
        (one,) = server.get("/v1/devices").json["devices"]
        assert one["memory_free_bytes"] == 3 << 30 and one["share_free_percent"] == 75


def test_usage_adds_up_what_was_charged(server):
    with FakeAgent(server) as agent:
        for _ in range(3):
            agent.run(server.submit(command("x", resources={"memory": "4GiB", "share": 100}))["id"])
    usage = server.get("/v1/usage").json
    assert usage["tasks"] == 3 and usage["cost"] == "0.000083334" and usage["usage"][0]["state"] == "succeeded"
    assert usage["run_s"] == 6.0 and usage["device_s"] == 3.0
    assert server.get("/v1/usage?from=2020-01-01&to=2020-01-02T00:00:00Z").json["tasks"] == 0
    assert server.get("/v1/usage?from=yesterday").status == 422


def test_metrics_count_tasks_answers_and_commits(server):
    with FakeAgent(server) as agent:
        agent.run(server.submit()["id"])
        agent.run(server.submit()["id"], state="failed", reason="user_error", exit_code=1)
        server.submit(command("x", hold=True))
        answer = server.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    text = answer.body.decode()
    values = dict(re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.M))
    assert values['fastgpu_tasks{state="queued"}'] == "1"
    assert values['fastgpu_tasks_total{result="succeeded",reason="none"}'] == "1"
    assert values['fastgpu_tasks_total{result="failed",reason="user_error"}'] == "1"
    assert values['fastgpu_http_requests_total{route="task_submit",code="202"}'] == "3"
    assert values["fastgpu_task_queue_seconds_count"] == "2" and values["fastgpu_task_run_seconds_count"] == "2"
    assert int(values["fastgpu_journal_commits_total"]) > 0 and int(values["fastgpu_journal_commit_seconds_count"]) > 0
    assert values['fastgpu_device_memory_bytes{device="cpu0",kind="cpu",node="fake",state="total"}'] == str(4 << 30)
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r'[a-zA-Z_]\w*(\{(\w+="([^"\\\n]|\\.)*",?)*\})? \S+', line), line
