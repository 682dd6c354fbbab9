"""What must hold when things break: kill -9, a full disk, agents that talk nonsense, stop or are gone."""
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from fake_agent import STDOUT, FakeAgent, new_id, record, sha256_of
from harness import Server, command, eventually


def ids(server, state=None):
    seen, cursor = [], None
    while True:
        page = server.get("/v1/tasks?limit=1000" + (f"&state={state}" if state else "") + (f"&cursor={cursor}" if cursor else "")).json
        seen += [t["id"] for t in page["tasks"]]
        cursor = page["next_cursor"]
        if not cursor:
            return seen


# --- kill -9 ---


def test_no_acknowledged_task_is_lost_by_kill_9(server):
    """Clients submit without pause, the server is killed five times: what was answered 202 is there afterwards, once."""
    acknowledged, stop = [], threading.Event()

    def client(n):
        while not stop.is_set():
            try:
                connection = server.connect(timeout=5)
                while not stop.is_set():
                    connection.request("POST", "/v1/tasks", json.dumps(command("x", name=f"c{n}")), headers)
                    answer = connection.getresponse()
                    body = answer.read()
                    if answer.status == 202:
                        acknowledged.append(json.loads(body)["id"])
            except (OSError, ValueError, Exception):
                time.sleep(0.01)

    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    clients = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for c in clients:
        c.start()
    for _ in range(5):
        before = len(acknowledged)
        assert eventually(lambda: len(acknowledged) > before + 12)
        server.kill()
        server.start()
    stop.set()
    for c in clients:
        c.join()
    there = ids(server)
    assert len(acknowledged) > 50 and set(acknowledged) <= set(there) and len(there) == len(set(there))


def test_running_tasks_go_on_over_a_kill_9_of_the_server(server):
    agent = FakeAgent(server).connect()
    tasks = [server.submit(command("x", resources={"memory": "16MiB", "share": 10})) for _ in range(5)]
    starts = [agent.start(t["id"]) for t in tasks]
    for s in starts:
        agent.started(s)
    server.kill()
    assert agent.closed()
    server.start()
    assert {server.task(t["id"])["state"] for t in tasks} == {"running"}
    agent.attempts = [{"task": s["task"], "attempt": 1, "epoch": s["lease"]["epoch"], "finished": False} for s in starts]
    agent.connect()
    assert len(agent.welcome["keep"]) == 5
    agent.expect_none("start")
    for s in starts:
        agent.finished(s, exit_code=0)
    assert all(server.task(t["id"])["state"] == "succeeded" and server.task(t["id"])["attempt"] == 1 for t in tasks)
    agent.close()


def test_an_end_reported_while_the_server_was_down_counts_once(server):
    agent = FakeAgent(server).connect()
    task = server.submit()
    start = agent.start()
    agent.started(start)
    server.kill()
    server.start()
    agent.attempts = [{"task": task["id"], "attempt": 1, "epoch": start["lease"]["epoch"], "finished": True}]
    agent.connect()
    agent.finished(start, exit_code=0)
    events = [e["event"] for e in server.get(f"/v1/tasks/{task['id']}/events").json["events"]]
    assert events.count("task.finished") == 1 and events.count("task.settled") == 1
    agent.close()


def test_a_task_whose_machine_stays_away_is_lost_and_free_of_charge(tmp_path):
    server = Server(tmp_path, lease_s=5, heartbeat_s=1).start()
    agent = FakeAgent(server).connect()
    task = server.submit(command("x"))
    agent.started(agent.start())
    agent.close()
    assert eventually(lambda: server.task(task["id"])["state"] == "failed")
    result = server.get(f"/v1/tasks/{task['id']}/result").json
    assert result["error"]["reason"] == "node_lost" and result["cost"]["amount"] == "0.00"
    server.stop()


def test_an_agent_that_says_nothing_is_dropped(tmp_path):
    server = Server(tmp_path, lease_s=60, heartbeat_s=3).start()
    quiet, lively = FakeAgent(server).connect(), FakeAgent(server, name="lively").connect()

    def dropped():
        lively.send("alive")
        lively.expect("alive")
        return quiet.ended
    assert eventually(dropped, every=0.5) and not lively.ended
    assert {n["name"]: n["connected"] for n in server.get("/v1/nodes").json["nodes"]} == {"fake": False, "lively": True}
    lively.close()
    server.stop()


# --- clients that go away ---


def test_clients_may_go_away_at_any_moment(server, agent):
    """300 requests of every kind are cut off after a random time; the server neither ends nor leaks connections."""
    import random
    dice = random.Random(7)
    task = server.submit(command("x", hold=True))["id"]
    body = json.dumps(command("x", resources={"memory": "16MiB", "share": 1})).encode()
    head = f"Host: x\r\nAuthorization: Bearer {server.key}\r\n"
    requests = [f"GET /v1/tasks/{task}?wait=60 HTTP/1.1\r\n{head}\r\n", f"GET /v1/tasks/{task}/result?wait=60 HTTP/1.1\r\n{head}\r\n",
                f"GET /v1/events HTTP/1.1\r\n{head}Accept: text/event-stream\r\n\r\n", f"GET /v1/tasks/{task}/logs?follow=true HTTP/1.1\r\n{head}\r\n",
                f"GET /v1/tasks/{task}/events HTTP/1.1\r\n{head}Accept: text/event-stream\r\n\r\n",
                f"HEAD /v1/events HTTP/1.1\r\n{head}Accept: text/event-stream\r\n\r\n", f"HEAD /v1/tasks/{task}/logs HTTP/1.1\r\n{head}\r\n",
                f"PUT /v1/blobs/{'0' * 64} HTTP/1.1\r\n{head}Content-Length: 100000\r\n\r\n" + "x" * 50000,
                f"POST /v1/blobs HTTP/1.1\r\n{head}Content-Length: 5\r\n\r\nhello",
                f"POST /v1/tasks HTTP/1.1\r\n{head}Content-Type: application/json\r\nPrefer: wait=60\r\nContent-Length: {len(body)}\r\n\r\n" + body.decode()]
    for _ in range(300):
        connection = socket.create_connection(server.url.split("//")[1].split(":"))
        text = dice.choice(requests).encode()
        connection.sendall(text[:dice.randrange(len(text))] if dice.random() < 0.2 else text)
        time.sleep(dice.random() * 0.01)
        if dice.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    server.post(f"/v1/tasks/{task}/cancel")
    assert server.get("/healthz").status == 200

    def sockets():
        names = [os.readlink(f"/proc/{server.process.pid}/fd/{n}") for n in os.listdir(f"/proc/{server.process.pid}/fd")]
        return sum(name.startswith("socket:") for name in names)
    assert eventually(lambda: sockets() < 12), sockets()
    assert eventually(lambda: "fastgpu_sse_clients 0\n" in server.get("/metrics").body.decode())


# --- agents that talk nonsense ---


def frame(header, payload=b""):
    return struct.pack("<II", len(header), len(payload)) + header + payload


@pytest.mark.parametrize("data", [
    b"\xff" * 64, frame(b"{"), frame(b"[]"), frame(b'{"m":"nonsense"}'), frame(b'{"m":"hello"}'), frame(b'{"m":"hello","proto":99}'),
    frame(b'{"m":"alive"}'), frame(b'{"m":"report"}'), struct.pack("<II", 2 << 20, 0), struct.pack("<II", 10, 2 << 20),
    frame(b'{"m":"welcome","lease_s":1,"heartbeat_s":1,"keep":[]}'), frame(b'{"m":"' + b"a" * 1000 + b'"}'),
])
def test_an_agent_that_breaks_the_protocol_is_cut_off_and_nobody_else(server, agent, data):
    rude = FakeAgent(server, name="rude").connect(hello=False)
    rude.raw(data)
    assert rude.closed()
    rude.close()
    agent.run(server.submit()["id"])


def test_reports_on_tasks_of_others_change_nothing(server, agent):
    task = server.submit()
    start = agent.start()
    agent.started(start)
    with FakeAgent(server, name="other") as other:
        other.finished(start, state="failed", reason="user_error", exit_code=1, ack=False)
        other.finished({**start, "task": new_id("tsk")}, ack=False)
        other.log({**start, "task": new_id("tsk")}, 0, record(STDOUT, b"x"))
        other.log({**start, "attempt": 7}, 0, record(STDOUT, b"x"))
        other.send("alive")
        other.expect("alive")
    assert server.task(task["id"])["state"] == "running"
    agent.finished(start)


def test_the_same_node_connecting_twice_keeps_the_newer_connection(server):
    first = FakeAgent(server).connect()
    second = FakeAgent(server, node=first.node).connect()
    assert first.closed()
    second.run(server.submit()["id"])
    assert [n["connected"] for n in server.get("/v1/nodes").json["nodes"]] == [True]
    second.close()


def test_a_second_hello_is_a_breach(agent):
    agent.hello()
    assert agent.closed()


# --- a full disk ---

needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small tmpfs")


@pytest.fixture
def small_disk(tmp_path):
    """A data folder on a disk of 24 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk, leave=0):
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with open(disk / "filler", "ab") as f:
        try:
            while (free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize) > leave:
                f.write(b"\0" * max(min(65536, free - leave), 4096))
                f.flush()
        except OSError:
            pass


@needs_mount
def test_little_free_disk_refuses_submits_and_uploads_and_says_so(tmp_path, small_disk):
    server = Server(tmp_path, data_dir=small_disk / "data", min_free_bytes="8MiB").start()
    with FakeAgent(server) as agent:
        before = server.submit()
        fill(small_disk, 4 << 20)
        assert eventually(lambda: server.get("/readyz", key=None).status == 503)
        answer = server.post("/v1/tasks", command("x"))
        assert answer.status == 507 and answer.json["code"] == "storage_full" and answer.headers["Retry-After"] == "1"
        assert server.request("PUT", f"/v1/blobs/{sha256_of(b'x')}", b"x", Content_Type="application/octet-stream").status == 507
        assert server.get("/readyz", key=None).status == 503
        agent.run(before["id"], log=record(STDOUT, b"goes on\n"))        # what runs may end
        assert server.task(before["id"])["state"] == "succeeded"
        (small_disk / "filler").unlink()
        assert eventually(lambda: server.post("/v1/tasks", command("x")).status == 202)
        assert server.get("/readyz", key=None).status == 200
    server.stop()


@needs_mount
def test_a_commit_that_fails_loses_nothing_acknowledged_and_the_server_recovers(tmp_path, small_disk):
    server = Server(tmp_path, data_dir=small_disk / "data", min_free_bytes=0).start()
    agent = FakeAgent(server).connect()
    running = server.submit(command("x", resources={"memory": "16MiB", "share": 10}))
    start = agent.start(running["id"])
    agent.started(start)
    fill(small_disk)
    acknowledged, refused = [], 0
    big = command("x", env={"A": "b" * 20000}, resources={"memory": "4GiB"})
    for _ in range(1000):
        answer = server.post("/v1/tasks", big)
        if answer.status == 202:
            acknowledged.append(answer.json["id"])
        else:
            assert answer.status == 507 and answer.json["retryable"], answer
            refused += 1
            break
    assert refused, "the disk was never full"
    assert agent.closed()
    # Reads go on, from the disk; writes are refused; what is not known without the core is said.
    assert server.task(running["id"])["state"] == "running"
    assert set(acknowledged) <= set(ids(server))
    assert server.post("/v1/tasks", big).status == 507
    assert server.post(f"/v1/tasks/{running['id']}/cancel").status == 507
    assert server.get("/v1/devices").status == 503
    assert server.get("/metrics").status == 200
    (small_disk / "filler").unlink()
    assert eventually(lambda: server.get("/readyz", key=None).status == 200)
    assert set(acknowledged) <= set(ids(server))
    agent.attempts = [{"task": running["id"], "attempt": 1, "epoch": start["lease"]["epoch"], "finished": True}]
    agent.connect()
    agent.finished(start)
    assert server.task(running["id"])["state"] == "succeeded" and server.task(running["id"])["attempt"] == 1
    assert server.submit()["state"] == "queued"
    agent.close()
    server.restart()
    assert set(acknowledged) <= set(ids(server))
    server.stop()


@needs_mount
def test_a_log_that_the_disk_refused_is_asked_for_again(tmp_path, small_disk):
    server = Server(tmp_path, data_dir=small_disk / "data", min_free_bytes=0).start()
    agent = FakeAgent(server).connect()
    task = server.submit()
    start = agent.start()
    agent.started(start)
    first = record(STDOUT, b"a" * 30000 + b"\n")
    at = agent.log(start, 0, first)
    path = server.data / "logs" / f"{task['id']}.1.log"
    assert eventually(lambda: path.exists() and path.stat().st_size == at)
    fill(small_disk)
    second = record(STDOUT, b"b" * 60000 + b"\n")
    agent.log(start, at, second)
    agent.log(start, at + len(second), record(STDOUT, b"c\n"))
    time.sleep(0.2)
    assert path.stat().st_size == at
    (small_disk / "filler").unlink()
    assert agent.expect("log_at", task=task["id"])[0]["offset"] == at
    at = agent.log(start, at, second)
    agent.log(start, at, record(STDOUT, b"c\n"))
    agent.finished(start)
    assert server.get(f"/v1/tasks/{task['id']}/logs").body == b"a" * 30000 + b"\n" + b"b" * 60000 + b"\nc\n"
    agent.close()
    server.stop()


# --- the end ---


def test_sigterm_answers_what_waits_and_keeps_what_was_accepted(server):
    task = server.submit()
    waiting = server.connect()
    waiting.request("GET", f"/v1/tasks/{task['id']}?wait=60", headers={"Authorization": f"Bearer {server.key}"})
    for _ in range(5):                   # by then its loop has taken up what was sent before
        assert server.get("/healthz").status == 200
    began = time.monotonic()
    assert server.stop() == 0 and time.monotonic() - began < 30     # of the 60 that were asked for
    assert waiting.getresponse().status in (200, 503)
    waiting.close()
    assert not (server.data / "server.json").exists() and not (server.data / "agent.sock").exists()
    server.start()
    assert server.task(task["id"])["state"] == "queued"


def test_sigint_ends_it_as_well(server):
    assert server.stop(signal.SIGINT) == 0


def test_an_idle_server_uses_little(server):
    status = open(f"/proc/{server.process.pid}/status").read()
    resident_kib = int(status.split("VmRSS:")[1].split()[0])
    assert resident_kib < 50 * 1024 or "Sanitizer" in os.environ.get("FGPU_BUILD", "")

    def cpu_ticks():
        fields = open(f"/proc/{server.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def sleeps():
        before = cpu_ticks()
        time.sleep(2)
        return cpu_ticks() - before <= 4 # of 200
    assert eventually(sleeps, 20)
