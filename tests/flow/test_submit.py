"""What a submit takes, what it refuses and how, batches, and idempotency keys."""
import concurrent.futures
import json

import pytest

from fake_agent import FakeAgent, device, sha256_of
from harness import command


def problem(answer, status, code):
    assert answer.status == status, answer
    body = answer.json
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert body["status"] == status and body["code"] == code and body["title"] and body["detail"]
    return body


def pointer(body):
    return body["errors"][0]["pointer"]


def count(server):
    return len(server.get("/v1/tasks?limit=1000").json["tasks"])


@pytest.mark.parametrize("spec, where, word", [
    ({}, "/task_type", ""),
    ({"task_type": "command"}, "/command", ""),
    ({"task_type": "comand", "command": ["x"]}, "/task_type", "command"),
    (command("x", prioritty="low"), "/prioritty", "priority"),
    (command("x", resources={"memory": "lots"}), "/resources/memory", ""),
    (command("x", resources={"share": 0}), "/resources/share", ""),
    (command("x", resources={"share": 101}), "/resources/share", ""),
    (command("x", limits={"run": -1}), "/limits/run", ""),
    (command("x", retries=101), "/retries", ""),
    (command("x", workdir="/etc/passwd"), "/workdir", "blob"),
    (command("x", workdir="blob:" + "0" * 64), "/workdir", "upload"),
    ({"task_type": "image_classification", "model_name": "resnet5O", "input_data": "blob:" + "0" * 64}, "/input_data", "upload"),
])
def test_a_bad_spec_is_refused_at_the_place(shared, spec, where, word):
    before = count(shared)
    body = problem(shared.post("/v1/tasks", spec), 422, "invalid")
    assert pointer(body) == where
    assert word in body.get("hint", "")
    assert count(shared) == before


def test_an_unknown_model_names_the_nearest(shared):
    data = b"not an image"
    shared.request("PUT", f"/v1/blobs/{sha256_of(data)}", data, Content_Type="application/octet-stream")
    spec = {"task_type": "image_classification", "model_name": "resnet5O", "input_data": "blob:" + sha256_of(data)}
    body = problem(shared.post("/v1/tasks", spec), 422, "invalid")
    assert pointer(body) == "/model_name" and "resnet50" in body["hint"]


@pytest.mark.parametrize("text", [
    b"", b"{", b"[" * 100 + b"]" * 100, b'{"a":1,"a":2}', b'{"task_type":"\xff"}', b'{"x":1e999}', b'{"x":99999999999999999999}', b"nul", b"{} x",
])
def test_what_is_not_json_is_malformed(shared, text):
    problem(shared.post("/v1/tasks", text), 400, "malformed")


@pytest.mark.parametrize("text", [b"[]", b'"x"', b"null", b"7"])
def test_what_is_no_object_is_invalid(shared, text):
    assert shared.post("/v1/tasks", text).status in (400, 422)


def test_a_body_over_the_limit_is_too_large(shared):
    problem(shared.post("/v1/tasks", command("x", env={"A": "b" * (1 << 20)})), 413, "too_large")


def test_more_memory_than_any_device_has_names_the_largest(server):
    with FakeAgent(server, devices=[device(memory=4 << 30)]):
        body = problem(server.post("/v1/tasks", command("x", resources={"memory": "5GiB"})), 422, "invalid")
        assert pointer(body) == "/resources/memory" and "4" in body["detail"]
        problem(server.post("/v1/tasks", command("x", resources={"device_kind": "NVIDIA H200"})), 422, "invalid")
        assert count(server) == 0
        server.submit(command("x", resources={"memory": "4GiB"}))


def test_a_dry_run_quotes_and_submits_nothing(server):
    with FakeAgent(server):
        answer = server.post("/v1/tasks?dry_run=true", command("x", resources={"memory": "1GiB", "share": 50}))
        assert answer.status == 200 and count(server) == 0
        quote = answer.json
        assert quote["dry_run"] is True and quote["need"]["memory_bytes"] == 1 << 30 and quote["device_kind"] == "cpu"
        assert quote["class"] in ("interactive", "batch", "training", "large") and quote["class_rule"]
        assert quote["cost"]["currency"] == "USD" and quote["expected"]["p95_s"] >= quote["expected"]["p50_s"] > 0
        problem(server.post("/v1/tasks?dry_run=true", command("x", resources={"memory": "9GiB"})), 422, "invalid")


def test_an_unknown_query_parameter_is_refused(shared):
    assert shared.post("/v1/tasks?dryrun=true", command("x")).status == 422
    assert shared.get("/v1/tasks?stat=queued").status == 422


# --- batches ---


def test_a_batch_answers_item_by_item(server):
    tasks = [command("a"), {"task_type": "command"}, command("b", name="second")]
    answer = server.post("/v1/tasks:batch", {"tasks": tasks})
    assert answer.status == 200
    items = answer.json["tasks"]
    assert "id" in items[0] and "id" in items[2]
    assert items[1]["error"]["code"] == "invalid" and items[1]["error"]["pointer"] == "/command"
    assert server.task(items[2]["id"])["name"] == "second"
    assert count(server) == 2


def test_a_batch_of_a_thousand_is_one_turn(server):
    answer = server.post("/v1/tasks:batch", {"tasks": [command("x")] * 1000})
    assert len({item["id"] for item in answer.json["tasks"]}) == 1000
    assert count(server) == 1000


@pytest.mark.parametrize("body", [{}, {"tasks": []}, {"tasks": {}}, {"tasks": [command("x")] * 1001}, {"tasks": [command("x")], "more": 1}])
def test_a_bad_batch_is_refused_whole(shared, body):
    before = count(shared)
    problem(shared.post("/v1/tasks:batch", body), 422, "invalid")
    assert count(shared) == before


def test_a_batch_that_is_sent_again_gives_the_same_tasks(server):
    body = {"tasks": [command("a"), command("b"), {"task_type": "x"}]}
    first = server.post("/v1/tasks:batch", body, Idempotency_Key="batch").json
    again = server.post("/v1/tasks:batch", body, Idempotency_Key="batch").json
    assert [i.get("id") for i in first["tasks"]] == [i.get("id") for i in again["tasks"]]
    assert count(server) == 2
    other = server.post("/v1/tasks:batch", {"tasks": [command("c")]}, Idempotency_Key="batch").json
    assert other["tasks"][0]["error"]["code"] == "idempotency_mismatch"


# --- idempotency ---


def test_a_repeat_gives_the_first_task(server):
    first = server.submit(command("x"), Idempotency_Key="k")
    again = server.post("/v1/tasks", command("x"), Idempotency_Key="k")
    assert again.status == 202 and again.json["id"] == first["id"]
    assert count(server) == 1


def test_another_body_under_the_same_key_is_refused(server):
    server.submit(command("x"), Idempotency_Key="k")
    problem(server.post("/v1/tasks", command("y"), Idempotency_Key="k"), 422, "idempotency_mismatch")
    assert count(server) == 1


def test_a_key_outlives_the_task_and_a_restart(server):
    with FakeAgent(server) as agent:
        first = server.submit(command("x"), Idempotency_Key="k")
        agent.run(first["id"])
    again = server.post("/v1/tasks", command("x"), Idempotency_Key="k")
    assert again.status == 200 and again.json["id"] == first["id"] and again.json["state"] == "succeeded"
    server.restart()
    assert server.post("/v1/tasks", command("x"), Idempotency_Key="k").json["id"] == first["id"]
    problem(server.post("/v1/tasks", command("y"), Idempotency_Key="k"), 422, "idempotency_mismatch")
    assert count(server) == 1


def test_a_key_of_a_queued_task_outlives_kill_9(server):
    first = server.submit(command("x"), Idempotency_Key="k")
    server.kill()
    server.start()
    assert server.post("/v1/tasks", command("x"), Idempotency_Key="k").json["id"] == first["id"]
    problem(server.post("/v1/tasks", command("y"), Idempotency_Key="k"), 422, "idempotency_mismatch")


def test_the_same_submit_from_many_clients_at_once_is_one_task(server):
    body = json.dumps(command("x")).encode()

    def submit(_):
        connection = server.connect()
        connection.request("POST", "/v1/tasks", body, {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json",
                                                       "Idempotency-Key": "many"})
        return json.loads(connection.getresponse().read())["id"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(submit, range(64)))) == 1
    assert count(server) == 1


def test_another_tenant_may_use_the_same_key(server):
    other = server.post("/v1/keys", {"tenant": "other", "scopes": ["tasks:read", "tasks:write"]}).json["key"]
    first = server.submit(command("x"), Idempotency_Key="k")
    assert server.submit(command("y"), Idempotency_Key="k", key=other)["id"] != first["id"]


@pytest.mark.parametrize("key", ["x" * 256, "a\tb", "caf\xe9"])
def test_a_key_that_is_no_key_is_refused(shared, key):
    assert shared.post("/v1/tasks", command("x"), Idempotency_Key=key).status in (400, 422)


def test_255_characters_are_a_key(shared):
    assert shared.submit(command("x"), Idempotency_Key="k" * 255)["id"]
