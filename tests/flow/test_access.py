"""Keys: who may do what, and that what one tenant has does not exist for another."""
import hashlib
import os
import stat
import subprocess
import time

import pytest

from fake_agent import FakeAgent
from harness import PATIENCE_S, Server, command, eventually, program


def make_key(server, **wish):
    answer = server.post("/v1/keys", wish)
    assert answer.status == 201, answer
    return answer.json


def test_the_first_start_makes_an_owner_key_that_only_the_owner_can_read(server):
    path = server.folder / "config/fastgpu/credentials"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server.credentials()["url"] == server.url
    assert server.get("/v1/tasks").status == 200


def test_the_secret_is_nowhere_on_disk_but_in_the_credentials(server):
    secret = server.key.rsplit("_", 1)[1].encode()
    server.get("/v1/tasks")
    server.get("/v1/tasks", key="fgpu_" + "0" * 26 + "_" + "a" * 64)
    server.stop()
    holders = [p for p in server.folder.rglob("*") if p.is_file() and secret in p.read_bytes()]
    assert holders == [server.folder / "config/fastgpu/credentials"]


def test_a_new_port_is_written_to_the_credentials(server):
    key = server.key
    server.restart()
    assert server.credentials() == {"url": server.url, "key": key}


def test_lost_credentials_are_made_anew_and_foreign_ones_kept(server):
    path = server.folder / "config/fastgpu/credentials"
    path.unlink()
    server.restart()
    assert server.get("/v1/keys").status == 200
    path.write_text("url: http://127.0.0.1:1\nkey: fgpu_" + "0" * 26 + "_" + "a" * 64 + "\n")
    server.restart()
    assert server.credentials()["url"] == "http://127.0.0.1:1"


@pytest.mark.parametrize("key", ["x", "fgpu_", "fgpu_" + "0" * 26 + "_" + "a" * 64, "fgpu_" + "0" * 26 + "_" + "A" * 64, "a" * 5000])
def test_a_wrong_key_is_told_so_with_a_hint(server, key):
    answer = server.get("/v1/tasks", key=key)
    assert answer.status == 401 and answer.json["code"] == "unauthenticated" and "Bearer" in answer.json["hint"]
    assert key not in answer.body.decode()


def test_the_right_id_with_another_secret_is_wrong(server):
    assert server.get("/v1/tasks", key=server.key[:-1] + ("0" if server.key[-1] != "0" else "1")).status == 401


def test_x_api_key_works_too(server):
    assert server.get("/v1/tasks", key=None, X_Api_Key=server.key).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/"])
def test_what_needs_no_key(shared, path):
    assert shared.get(path, key=None).status == 200


def test_after_20_failures_in_a_minute_wrong_keys_are_429_and_right_ones_pass(server):
    statuses = [server.get("/v1/tasks", key="wrong").status for _ in range(25)]
    assert statuses == [401] * 20 + [429] * 5
    assert server.get("/v1/tasks").status == 200


def test_a_key_without_the_scope_is_403(server):
    reader = make_key(server, name="reader", scopes=["tasks:read"])["key"]
    assert server.get("/v1/tasks", key=reader).status == 200
    answer = server.post("/v1/tasks", command("x"), key=reader)
    assert answer.status == 403 and "tasks:write" in answer.json["detail"]
    assert server.get("/v1/keys", key=reader).status == 403
    assert server.get("/metrics", key=reader).status == 403


def test_a_revoked_key_ends_at_once(server):
    made = make_key(server, name="short")
    assert server.get("/v1/tasks", key=made["key"]).status == 200
    assert server.request("DELETE", f"/v1/keys/{made['id']}").status == 204
    answer = server.get("/v1/tasks", key=made["key"])
    assert answer.status == 401 and "revoked" in answer.json["detail"]
    listed = {k["id"]: k for k in server.get("/v1/keys").json["keys"]}
    assert listed[made["id"]]["revoked"] and "key" not in listed[made["id"]]


def test_a_key_expires(server):
    made, began = make_key(server, expires_s=1), time.monotonic()
    first = server.get("/v1/tasks", key=made["key"]).status
    assert first == 200 or time.monotonic() - began >= 1
    time.sleep(1.1)
    answer = server.get("/v1/tasks", key=made["key"])
    assert answer.status == 401 and "expired" in answer.json["detail"]


@pytest.mark.parametrize("wish, where, word", [
    ({"scopes": ["task:read"]}, "/scopes", "tasks:read"), ({"scopes": []}, "/scopes", ""), ({"scope": ["*"]}, "/scope", "scopes"),
    ({"expires_s": 0}, "/expires_s", ""), ({"name": 7}, "/name", ""), ({"name": ""}, "/name", ""), ({"tenant": "a" * 200}, "/tenant", ""),
])
def test_a_bad_wish_for_a_key_is_refused(shared, wish, where, word):
    answer = shared.post("/v1/keys", wish)
    assert answer.status == 422 and answer.json["errors"][0]["pointer"] == where and word in answer.json.get("hint", "")


def test_nobody_makes_a_key_that_may_do_more_than_his_own(server):
    manager = make_key(server, scopes=["keys:admin", "tasks:read"])["key"]
    assert server.post("/v1/keys", {"scopes": ["tasks:read"]}, key=manager).status == 201
    assert server.post("/v1/keys", {"scopes": ["tasks:write"]}, key=manager).status == 403
    assert server.post("/v1/keys", {"scopes": ["*"]}, key=manager).status == 403
    assert server.post("/v1/keys", {"tenant": "other"}, key=manager).status == 403


def test_an_unrestricted_key_of_another_tenant_rules_only_there(server):
    chief = make_key(server, tenant="other", scopes=["*"])
    assert server.post("/v1/keys", {"tenant": "default"}, key=chief["key"]).status == 403
    owner = next(k for k in server.get("/v1/keys").json["keys"] if k["name"] == "owner")
    assert {k["tenant"] for k in server.get("/v1/keys", key=chief["key"]).json["keys"]} == {chief["tenant"]}
    assert server.request("DELETE", f"/v1/keys/{owner['id']}", key=chief["key"]).status == 404


def test_what_is_anothers_does_not_exist(server):
    other = make_key(server, tenant="other")["key"]
    data = b"mine"
    sha256 = hashlib.sha256(data).hexdigest()
    server.request("PUT", f"/v1/blobs/{sha256}", data, Content_Type="application/octet-stream")
    with FakeAgent(server) as agent:
        task = server.submit()
        agent.run(task["id"])
    path = f"/v1/tasks/{task['id']}"
    for method, place in [("GET", path), ("GET", path + "/result"), ("GET", path + "/logs"), ("GET", path + "/events"), ("GET", path + "/why"),
                          ("POST", path + "/cancel"), ("POST", path + "/hold"), ("POST", path + "/retry"), ("GET", f"/v1/blobs/{sha256}")]:
        mine, unknown = server.request(method, place, key=other), server.request(method, place.replace(task["id"], "tsk_" + "0" * 26), key=other)
        assert mine.status == 404, (method, place, mine)
        assert {k: v for k, v in mine.json.items() if k != "request_id"} == {k: v for k, v in unknown.json.items() if k != "request_id"}
    assert server.get("/v1/tasks", key=other).json["tasks"] == []
    assert server.get("/v1/events", key=other).json["events"] == []
    assert server.get("/v1/usage", key=other).json["tasks"] == 0
    spec = command("x", workdir="blob:" + sha256)
    assert server.post("/v1/tasks", spec, key=other).status == 422


def test_anothers_slice_shows_its_size_only(server):
    other = make_key(server, tenant="other")["key"]
    with FakeAgent(server) as agent:
        task = server.submit(command("x", name="secret"))
        agent.start()
        (mine,) = server.get("/v1/devices").json["devices"][0]["vgpus"]
        (theirs,) = server.get("/v1/devices", key=other).json["devices"][0]["vgpus"]
    assert mine["task"] == task["id"] and mine["name"] == "secret"
    assert theirs["task"] is None and theirs["name"] is None and theirs["memory_bytes"] == mine["memory_bytes"]


def test_a_second_server_on_the_same_data_is_refused(server):
    other = Server(server.folder, data_dir=server.data)
    done = subprocess.run(program(), env=other.environment(), capture_output=True, timeout=PATIENCE_S)
    assert done.returncode != 0 and b"another" in done.stderr
    assert server.get("/readyz").status == 200


def test_an_address_that_is_not_loopback_is_refused(tmp_path):
    one = Server(tmp_path, listen="0.0.0.0:0")
    done = subprocess.run(program(), env=one.environment(), capture_output=True, timeout=PATIENCE_S)
    assert done.returncode != 0 and b"TLS" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_may_not_be_an_agent(server, tmp_path):
    agent = FakeAgent(server)
    os.chmod(server.socket, 0o777)       # the mode alone would keep it out
    for folder in (server.data, *server.data.parents):
        if str(folder) != "/tmp" and folder != folder.parent:
            os.chmod(folder, 0o755)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(65534), os.setuid(65534)
            agent.connect(hello=False)
            agent.hello()
            os._exit(0 if agent.closed() and not agent.inbox else 1)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)
        except BaseException:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert eventually(lambda: "may not be an agent" in server.log_text())
