"""Bytes by their digest: up, down, in parts, and between server and agents."""
import os
import signal

import pytest

from fake_agent import sha256_of
from harness import command, eventually

BYTES = {"Content_Type": "application/octet-stream"}


def put(server, data, **kw):
    return server.request("PUT", f"/v1/blobs/{sha256_of(data)}", data, **BYTES, **kw)


def test_what_goes_up_comes_down(server):
    data = os.urandom(3 << 20)
    assert put(server, data).status == 201
    assert put(server, data).status == 200
    answer = server.get(f"/v1/blobs/{sha256_of(data)}")
    assert answer.status == 200 and answer.body == data
    part = server.get(f"/v1/blobs/{sha256_of(data)}", Range="bytes=100-199")
    assert part.status == 206 and part.body == data[100:200]
    head = server.request("HEAD", f"/v1/blobs/{sha256_of(data)}")
    assert head.status == 200 and int(head.headers["Content-Length"]) == len(data)


def test_an_upload_without_a_name_is_told_it(server):
    answer = server.post("/v1/blobs", b"hello", **BYTES)
    assert answer.status == 201 and answer.json == {"sha256": sha256_of(b"hello"), "size": 5}


def test_nothing_is_a_blob_too(server):
    assert put(server, b"").status == 201
    assert server.get(f"/v1/blobs/{sha256_of(b'')}").body == b""


def test_bytes_under_another_digest_are_refused(server):
    answer = server.request("PUT", f"/v1/blobs/{sha256_of(b'this')}", b"that", **BYTES)
    assert answer.status == 422 and answer.json["code"] == "invalid"
    assert server.get(f"/v1/blobs/{sha256_of(b'this')}").status == 404
    assert server.get(f"/v1/blobs/{sha256_of(b'that')}").status == 404


@pytest.mark.parametrize("name", ["x", "A" * 64, "0" * 63, "0" * 65, "..%2f..%2fetc%2fpasswd"])
def test_what_is_no_digest_is_refused(shared, name):
    assert shared.request("PUT", f"/v1/blobs/{name}", b"x", **BYTES).status in (400, 422)
    assert shared.get(f"/v1/blobs/{name}").status in (400, 404)


def test_bytes_that_another_tenant_has_must_be_uploaded_to_be_owned(server):
    other = server.post("/v1/keys", {"tenant": "other"}).json["key"]
    put(server, b"shared bytes")
    at = f"/v1/blobs/{sha256_of(b'shared bytes')}"
    assert server.get(at, key=other).status == 404
    assert put(server, b"shared bytes", key=other).status == 201
    assert server.get(at, key=other).body == b"shared bytes"


def test_an_upload_that_is_cut_leaves_nothing(server):
    connection = server.connect()
    connection.putrequest("PUT", f"/v1/blobs/{sha256_of(b'x' * 1000)}")
    for name, value in {"Authorization": f"Bearer {server.key}", "Content-Length": "1000", "Content-Type": "application/octet-stream"}.items():
        connection.putheader(name, value)
    connection.endheaders(b"x" * 500)
    connection.close()
    assert server.get(f"/v1/blobs/{sha256_of(b'x' * 1000)}").status == 404
    assert put(server, b"x" * 1000).status == 201


def test_an_agent_fetches_inputs_and_brings_outputs(server, agent):
    data = os.urandom(1500000)
    put(server, data)
    assert agent.get_blob(sha256_of(data)) == data
    with pytest.raises(FileNotFoundError):
        agent.get_blob("0" * 64)
    task = server.submit()
    start = agent.start()
    agent.started(start)
    output = os.urandom(700000)
    sha256 = agent.put_blob(output)
    assert server.get(f"/v1/blobs/{sha256}").status == 404       # not the tenant's before the task says so
    agent.finished(start, outputs='[{"path":"out/model.bin","size":700000,"blob":"%s"}]' % sha256)
    (told,) = server.get(f"/v1/tasks/{task['id']}/result").json["outputs"]
    assert told == {"path": "out/model.bin", "size": 700000, "blob": sha256}
    assert server.get(f"/v1/blobs/{sha256}").body == output


def test_an_agents_upload_that_is_not_what_it_says_is_refused(agent):
    agent.send("blob_put", b"that", sha256=sha256_of(b"this"), size=4, offset=0)
    assert agent.expect("blob_ok")[0]["error"]
    agent.send("blob_put", b"that", sha256=sha256_of(b"this"), size=9, offset=0)
    agent.send("blob_put", b"x", sha256=sha256_of(b"this"), size=9, offset=7)
    assert "piece" in agent.expect("blob_ok")[0]["error"]
    assert agent.put_blob(b"") == sha256_of(b"")


def test_a_working_directory_may_name_only_ones_own_files(server):
    import json
    other = server.post("/v1/keys", {"tenant": "other"}).json["key"]
    put(server, b"mine")
    manifest = json.dumps({"files": [{"path": "a", "blob": sha256_of(b"mine"), "mode": 420, "size": 4}]}).encode()
    put(server, manifest)
    put(server, manifest, key=other)
    spec = command("cat", "a", workdir="blob:" + sha256_of(manifest))
    assert server.post("/v1/tasks", spec).status == 202
    answer = server.post("/v1/tasks", spec, key=other)
    assert answer.status == 422 and answer.json["errors"][0]["pointer"] == "/workdir"


def test_imported_weights_go_with_the_tasks_of_their_model(server, agent):
    weights, image = os.urandom(1000), b"an image"
    answer = server.request("PUT", "/v1/models/resnet50/weights", {"blob": sha256_of(weights), "format": "torch"})
    assert answer.status == 422 and answer.json["errors"][0]["pointer"] == "/blob"
    put(server, weights), put(server, image)
    spec = {"task_type": "image_classification", "model_name": "resnet50", "input_data": "blob:" + sha256_of(image)}
    first = server.submit(spec)
    model = agent.start(first["id"])["spec"]["model"]
    assert model["architecture"] == "resnet50" and "weights_blob" not in model and model["source_url"].endswith(".pth")
    imported = server.request("PUT", "/v1/models/resnet50/weights", {"blob": sha256_of(weights), "format": "torch"})
    assert imported.status == 200 and imported.json["weights"] == "imported"
    server.post(f"/v1/tasks/{first['id']}/cancel")
    server.kill()
    server.start()
    agent.connect()
    second = server.submit(spec)
    model = agent.start(second["id"])["spec"]["model"]
    assert model["weights_blob"] == sha256_of(weights) and model["format"] == "torch" and "source_url" not in model
    assert {m["name"]: m["weights"] for m in server.get("/v1/models").json["models"]}["resnet50"] == "imported"


@pytest.mark.parametrize("body, where", [({"blob": "x", "format": "torch"}, "/blob"), ({"blob": "0" * 64, "format": "pickle"}, "/format"), ({"blb": 1}, "/blb")])
def test_a_bad_import_is_refused(shared, body, where):
    answer = shared.request("PUT", "/v1/models/resnet50/weights", body)
    assert answer.status == 422 and answer.json["errors"][0]["pointer"] == where


def test_weights_for_a_model_that_is_not_there_are_404(shared):
    answer = shared.request("PUT", "/v1/models/resnet51/weights", {"blob": "0" * 64, "format": "torch"})
    assert answer.status == 404 and "resnet50" in answer.json["hint"]


def test_an_upload_cut_short_by_a_crash_leaves_nothing(server):
    """The server is killed in the middle of an upload; its next start removes the part file and keeps what was whole."""
    whole = b"whole"
    put(server, whole)
    conn = server.connect()
    conn.putrequest("PUT", f"/v1/blobs/{sha256_of(b'never sent whole')}")
    conn.putheader("Authorization", f"Bearer {server.key}")
    conn.putheader("Content-Type", "application/octet-stream")
    conn.putheader("Content-Length", str(4 << 20))
    conn.endheaders()
    conn.send(bytes(2 << 20))
    parts = server.data / "blobs" / "tmp"
    assert eventually(lambda: any(parts.iterdir())), "no part file came"
    server.restart(signal.SIGKILL)
    assert list(parts.iterdir()) == []
    assert server.get(f"/v1/blobs/{sha256_of(whole)}").body == whole
