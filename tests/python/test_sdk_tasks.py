"""Submitting, waiting, ending: what fgpu.Client and lepton_ai_api promise about tasks."""
import hashlib
import json
import runpy
import time

import fgpu
import pytest


def spec_sent(server, n=-1):
    return json.loads(server.sent("POST", "/v1/tasks")[n]["body"])


def test_the_snippet_of_the_design_runs_unedited(server, tmp_path, monkeypatch, capsys):
    """Word for word; the address and the key come from the environment, the picture from the working directory."""
    (tmp_path / "path/to").mkdir(parents=True)
    (tmp_path / "path/to/image.jpg").write_bytes(b"jpeg")
    (tmp_path / "snippet.py").write_text('''\
import lepton_ai_api
client = lepton_ai_api.Client("your_api_key")
task_id = client.submit_task({"task_type": "image_classification", "model_name": "resnet50",
                              "input_data": "path/to/image.jpg"})
result = client.get_task_result(task_id)      # waits; a failed task raises with reason, hint and last log lines
print(result)
''')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FGPU_URL", server.url)
    monkeypatch.setenv("FGPU_API_KEY", "k")
    runpy.run_path(str(tmp_path / "snippet.py"))
    assert capsys.readouterr().out == "{'labels': [{'label': 'tabby', 'probability': 0.6}]}\n"
    assert spec_sent(server)["input_data"] == "blob:" + hashlib.sha256(b"jpeg").hexdigest()


@pytest.mark.parametrize("given", ["your_api_key", "", None])
def test_a_placeholder_or_no_key_takes_the_saved_one(given, server, tmp_path):
    folder = tmp_path / "config/fastgpu"
    folder.mkdir(parents=True)
    (folder / "credentials").write_text(f"# written by fgpu up\nurl: {server.url}\nkey: k\n")
    with fgpu.Client(given) as client:
        assert client.url == server.url
        client.submit_task({"task_type": "command", "command": ["true"]})


def test_an_argument_wins_over_the_environment_and_that_over_the_file(server, tmp_path, monkeypatch):
    folder = tmp_path / "config/fastgpu"
    folder.mkdir(parents=True)
    (folder / "credentials").write_text("url: http://127.0.0.1:1\nkey: from_file\n")
    monkeypatch.setenv("FGPU_API_KEY", "from_env")
    monkeypatch.setenv("FGPU_URL", "http://127.0.0.1:2")
    assert (fgpu.Client("mine", server.url).transport.key, fgpu.Client("mine", server.url).url) == ("mine", server.url)
    assert (fgpu.Client().transport.key, fgpu.Client().url) == ("from_env", "http://127.0.0.1:2")
    monkeypatch.delenv("FGPU_URL")
    assert fgpu.Client().url == "http://127.0.0.1:1"


def test_no_key_anywhere_says_where_it_looked(tmp_path):
    with pytest.raises(fgpu.AuthError, match="fgpu up.*FGPU_API_KEY.*credentials"):
        fgpu.Client()


def test_a_missing_file_raises_before_anything_is_sent(client, server):
    with pytest.raises(fgpu.InputMissing, match="no file 'nowhere.jpg'"):
        client.submit_task({"task_type": "image_classification", "model_name": "m", "input_data": "nowhere.jpg"})
    with pytest.raises(fgpu.InputMissing):
        client.submit_task({"task_type": "image_classification", "model_name": "m", "input_data": {"image": "nowhere.jpg"}})
    assert server.requests == []


def test_the_same_bytes_are_uploaded_once(client, server, tmp_path):
    (tmp_path / "a.png").write_bytes(b"same")
    (tmp_path / "b.png").write_bytes(b"same")
    for name in ("a.png", "b.png"):
        client.submit_task({"task_type": "image_classification", "model_name": "m", "input_data": {"image": str(tmp_path / name)}})
    assert len(server.sent("PUT")) == 1
    assert spec_sent(server)["input_data"] == {"image": "blob:" + hashlib.sha256(b"same").hexdigest()}


def test_a_blob_is_passed_on_and_the_callers_dict_is_left_alone(client, server):
    blob = "blob:" + "0" * 64
    spec = {"task_type": "image_classification", "model_name": "m", "input_data": {"image": blob}}
    client.submit_task(spec)
    assert spec["input_data"] == {"image": blob} and [r["method"] for r in server.requests] == ["POST"]


@pytest.mark.parametrize("fault", ["drop", "lose", (503, {"code": "unavailable", "detail": "starting"}), (429, {"code": "rate_limited"}),
                                   (502, b"<html>"), (504, b"")])
def test_a_submit_that_is_tried_again_makes_one_task(fault, client, server):
    server.then("POST", "/v1/tasks", fault)
    task = client.submit(command=["true"])
    keys = [r["headers"]["idempotency-key"] for r in server.sent("POST")]
    assert len(keys) == 2 and len(set(keys)) == 1 and list(server.tasks) == [task.id]


def test_507_is_not_tried_again(client, server):
    server.then("POST", "/v1/tasks", (507, {"code": "storage_full", "detail": "12 MiB free", "retryable": True}))
    with pytest.raises(fgpu.StorageFull, match="12 MiB free") as caught:
        client.submit(command=["true"])
    assert len(server.requests) == 1 and caught.value.idempotency_key == server.requests[0]["headers"]["idempotency-key"]


def test_retry_after_is_honoured(client, server):
    server.then("GET", "/v1/devices", (503, {"code": "unavailable"}, {"Retry-After": "1"}))
    server.answers["GET", "/v1/devices"] = 200, {"devices": [{"name": "cpu0"}]}
    start = time.monotonic()
    assert client.devices() == [{"name": "cpu0"}]
    assert time.monotonic() - start >= 1.0


def test_get_task_result_waits_for_the_end_by_long_poll(client, server):
    task = client.submit(command=["true"])
    server.tasks[task.id]["state"] = "running"
    polls = []

    def result(request):
        polls.append(int(request["query"]["wait"]))
        if len(polls) == 2:
            server.tasks[task.id]["state"] = "succeeded"
        return server.task("GET", server.tasks[task.id], ["result"])
    server.answers["GET", f"/v1/tasks/{task.id}/result"] = result
    assert client.get_task_result(task.id)["labels"][0]["label"] == "tabby"
    assert polls == [60, 60]


def test_a_timeout_of_waiting_leaves_the_task_alone(client, server):
    task = client.submit(command=["true"])
    server.tasks[task.id]["state"] = "running"
    start = time.monotonic()
    with pytest.raises(fgpu.TaskTimeout, match=f"{task.id} is running after 0.3 s.*\n.*fgpu why") as caught:
        task.result(timeout=0.3)
    assert time.monotonic() - start >= 0.3 and caught.value.task_id == task.id
    assert server.tasks[task.id]["state"] == "running"


def test_a_failed_task_raises_with_reason_hint_and_last_output(client, server):
    task = client.submit(command=["false"])
    server.tasks[task.id].update(state="failed", error={
        "reason": "oom_host", "message": "used 1.1 GB of 1 GB", "hint": "a larger --mem", "log_tail": "epoch 1\nepoch 2\n"})
    with pytest.raises(fgpu.TaskFailed) as caught:
        client.get_task_result(task.id)
    error = caught.value
    assert (error.reason, error.hint, error.log_tail, error.detail) == ("oom_host", "a larger --mem", "epoch 1\nepoch 2\n", "used 1.1 GB of 1 GB")
    assert str(error) == f"task {task.id} failed: oom_host: used 1.1 GB of 1 GB\nhint: a larger --mem\nlast output:\nepoch 1\nepoch 2"


@pytest.mark.parametrize("state, kind", [("canceled", fgpu.TaskCanceled), ("expired", fgpu.TaskExpired)])
def test_a_canceled_or_expired_task_raises_its_own_error(state, kind, client, server):
    task = client.submit(command=["true"])
    server.tasks[task.id]["state"] = state
    with pytest.raises(kind):
        task.result()
    server.tasks[task.id]["error"] = {"reason": "none", "message": "canceled while it waited"}
    with pytest.raises(kind, match=f"{task.id} (was canceled|expired): canceled while it waited$"):
        task.result()


@pytest.mark.parametrize("status, code, kind", [
    (401, "unauthenticated", fgpu.AuthError), (403, "forbidden", fgpu.Forbidden), (404, "not_found", fgpu.NotFound),
    (422, "invalid", fgpu.InvalidInput), (409, "conflict", fgpu.Conflict), (402, "budget_exceeded", fgpu.BudgetExceeded),
    (507, "storage_full", fgpu.StorageFull), (500, "internal", fgpu.ServerUnavailable), (404, "", fgpu.NotFound)])
def test_each_error_of_the_server_has_its_class(status, code, kind, client, server):
    server.then("GET", "/v1/devices", (status, {"code": code, "detail": "because", "hint": "do this", "request_id": "r1"}))
    with pytest.raises(kind, match="because\nhint: do this") as caught:
        client.devices()
    assert (caught.value.status, caught.value.request_id) == (status, "r1")


def test_429_that_lasts_is_told_as_quota(server):
    server.answers["GET", "/v1/devices"] = 429, {"code": "rate_limited", "detail": "slow down"}
    with fgpu.Client("k", server.url, patience=0.3) as client, pytest.raises(fgpu.QuotaExceeded):
        client.devices()


def test_invalid_input_names_the_pointer(client, server):
    server.then("POST", "/v1/tasks", (422, {"code": "invalid", "detail": "unknown field", "hint": "did you mean 'command'?",
                                            "errors": [{"pointer": "/comand", "detail": "unknown"}]}))
    with pytest.raises(fgpu.InvalidInput, match="/comand: unknown field\nhint: did you mean") as caught:
        client.submit_task({"task_type": "command", "comand": ["true"]})
    assert caught.value.pointer == "/comand"


def test_an_unreachable_server_is_said_with_its_address():
    with fgpu.Client("k", "http://127.0.0.1:1", patience=0.2) as client:
        with pytest.raises(fgpu.ServerUnavailable, match="http://127.0.0.1:1.*\n.*fgpu up"):
            client.devices()


def test_something_else_on_the_port_is_said(client, server):
    server.answers["GET", "/v1/devices"] = 200, b"<html>hello</html>"
    with pytest.raises(fgpu.ServerUnavailable, match="not JSON"):
        client.devices()


def test_retrying_a_task_is_never_sent_twice(client, server):
    """POST /retry makes a new task and carries no idempotency key, so a lost answer is an error, not a second task."""
    task = client.submit(command=["true"])
    server.then("POST", f"/v1/tasks/{task.id}/retry", "lose")
    with pytest.raises(fgpu.ServerUnavailable):
        task.retry()
    assert len(server.sent("POST", f"/v1/tasks/{task.id}/retry")) == 1
    assert task.retry().id == "tsk_retried"


def test_keyword_arguments_become_the_spec_of_the_api(client, server, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"x")
    client.submit("resnet50", {"image": str(tmp_path / "cat.jpg")}, gpu="H200:8GB", share=25, max_cost=0.05, time_limit="5m",
                  labels={"team": "vision"}, task_class="batch", retries=2, retry_on=["oom"])
    sent = spec_sent(server)
    assert sent == {"task_type": "image_classification", "model_name": "resnet50", "input_data": sent["input_data"],
                    "resources": {"device_kind": "H200", "memory": "8GB", "share": 25}, "limits": {"run": "5m", "max_cost": "0.05"},
                    "labels": {"team": "vision"}, "class": "batch", "retries": 2, "retry_on": ["oom"]}
    client.submit(command=["true"], share=25, share_max=80)
    assert spec_sent(server)["resources"] == {"share": 25, "share_max": 80}
    client.submit(command="echo $HOME", gpu="0.25", env={"A": "b"})
    assert spec_sent(server) == {"task_type": "command", "command": ["/bin/sh", "-c", "echo $HOME"], "env": {"A": "b"}, "resources": {"share": 25.0}}


@pytest.mark.parametrize("gpu", ["8", "", ":", "8GB:9GB", "200%x"])
def test_a_gpu_that_cannot_be_read_is_refused_here(gpu, client, server):
    if gpu == "":
        client.submit(command=["true"], gpu=gpu)    # none asked for
        return
    with pytest.raises(fgpu.InvalidInput):
        client.submit(command=["true"], gpu=gpu)
    assert server.requests == []


def test_run_waits_and_raises_unless_told_not_to(client, server):
    task = client.run(command=["true"])
    assert (task.state, task.reason, str(task.cost)) == ("succeeded", None, "0.000012 USD")

    original = server.submit
    server.submit = lambda r: (lambda a: (a[0], a[1].update(state="failed", error={"reason": "user_error"}) or a[1]))(original(r))
    with pytest.raises(fgpu.TaskFailed):
        client.run(command=["false"])
    assert client.run(command=["false"], check=False).state == "failed"


def test_quote_submits_nothing(client, server):
    assert client.quote(command=["true"], gpu="8GB")["cost"] == {"p50": "0.1"}
    assert server.tasks == {} and server.requests[0]["query"] == {"dry_run": "true"}


def test_lists_follow_the_cursor_until_the_limit(client, server):
    def page(request):
        start = int(request["query"].get("cursor", 0))
        n = int(request["query"].get("limit", 100))
        items = [{"id": f"tsk_{i}", "state": "queued"} for i in range(start, min(start + n, 250))]
        return 200, {"tasks": items, "next_cursor": str(start + n) if start + n < 250 else None}
    server.answers["GET", "/v1/tasks"] = page
    assert [t.id for t in client.tasks.list(state="queued")] == [f"tsk_{i}" for i in range(250)]
    server.requests.clear()
    assert len(client.list_tasks(limit=120)) == 120
    assert [r["query"]["limit"] for r in server.requests] == ["100", "20"]


def test_connections_are_kept(client, server):
    for _ in range(5):
        client.submit(command=["true"])
    assert len({r["port"] for r in server.requests}) == 1
