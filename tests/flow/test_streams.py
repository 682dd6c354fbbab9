"""Events and logs as they come: nothing missed, nothing twice, wherever the connection is cut."""
import base64
import contextlib
import json
import os
import sqlite3
import threading
import time

import pytest

from fake_agent import LETTERS, STDERR, STDOUT, SYSTEM, FakeAgent, record
from harness import PATIENCE_S, Server, command, eventually

LIFE = ["task.submitted", "task.queued", "task.classified", "task.placed", "lease.granted", "task.started", "task.finished", "lease.released",
        "task.settled"]


def names(events):
    return [e["event"] for e in events]


# --- events ---


def test_a_tasks_events_tell_its_life_in_order(server, agent):
    task = server.submit()
    agent.run(task["id"])
    page = server.get(f"/v1/tasks/{task['id']}/events").json
    assert names(page["events"]) == LIFE and not page["more"]
    assert [e["seq"] for e in page["events"]] == sorted({e["seq"] for e in page["events"]})
    assert page["next_after"] == page["events"][-1]["seq"]
    rest = server.get(f"/v1/tasks/{task['id']}/events?after={page['events'][5]['seq']}").json
    assert names(rest["events"]) == LIFE[6:]
    assert server.get(f"/v1/tasks/{task['id']}/events?after={page['next_after']}").json["events"] == []


def test_a_stream_of_an_ended_task_gives_all_and_ends(server, agent):
    task = server.submit()
    agent.run(task["id"])
    stream = server.stream(f"/v1/tasks/{task['id']}/events")
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert names(stream.until_done()) == LIFE


def test_a_stream_follows_to_the_end(server, agent):
    task = server.submit()
    stream = server.stream(f"/v1/tasks/{task['id']}/events")
    got = []
    reader = threading.Thread(target=lambda: got.extend(stream.until_done()))
    reader.start()
    agent.run(task["id"])
    reader.join(PATIENCE_S)
    assert names(got) == LIFE


@pytest.mark.parametrize("cut", range(1, len(LIFE) + 1))
def test_a_stream_goes_on_after_the_last_event_seen(server, agent, cut):
    task = server.submit()
    agent.run(task["id"])
    ids = [e["seq"] for e in server.get(f"/v1/tasks/{task['id']}/events").json["events"]]
    stream = server.stream(f"/v1/tasks/{task['id']}/events", Last_Event_ID=str(ids[cut - 1]))
    assert names(stream.until_done()) == LIFE[cut:]


def test_a_tenants_stream_misses_and_repeats_nothing_while_tasks_pour_in(server):
    """Streams open, are cut and go on from their last id while 600 tasks are submitted: each sees every event once."""
    total, seen, problems = 600, [[] for _ in range(3)], []

    def follow(mine):
        last = None
        while sum(e["event"] == "task.classified" for e in mine) < total:
            stream = server.stream("/v1/events", **({"Last_Event_ID": last} if last else {}))
            for n, event in enumerate(stream):
                mine.append(event)
                last = event["id"]
                if n == 150 or sum(e["event"] == "task.classified" for e in mine) == total:
                    break
            stream.close()

    readers = [threading.Thread(target=follow, args=(mine,)) for mine in seen]
    for r in readers:
        r.start()
    for _ in range(total // 20):
        server.post("/v1/tasks:batch", {"tasks": [command("x")] * 20})
    for r in readers:
        r.join(PATIENCE_S)
    page, expected = {"more": True, "next_after": 0}, []
    while page["more"]:
        page = server.get(f"/v1/events?after={page['next_after']}").json
        expected += [str(e["seq"]) for e in page["events"]]
    for mine in seen:
        assert [e["id"] for e in mine] == expected[:len(mine)] and len(mine) == len(expected)
    assert not problems


def test_a_slow_reader_gets_everything_in_the_end(server):
    stream = server.stream("/v1/events")
    for _ in range(6):
        server.post("/v1/tasks:batch", {"tasks": [command("x", env={"A": "b" * 400})] * 1000})
    last = server.get("/v1/tasks?limit=1").json["tasks"][0]["id"]
    count = 0
    for event in stream:
        count += 1
        if event["event"] == "task.classified" and json.loads(event["data"])["task"] == last:
            break
    assert count == 18000
    stream.close()


def test_events_of_before_a_restart_are_still_there(server, agent):
    task = server.submit()
    agent.run(task["id"])
    before = server.get("/v1/events").json
    server.kill()
    server.start()
    assert server.get("/v1/events").json == before


@pytest.mark.parametrize("after", ["-1", "x", "9" * 30])
def test_a_place_that_is_none_is_refused(shared, after):
    assert shared.get(f"/v1/events?after={after}").status == 422
    assert shared.get("/v1/events", Last_Event_ID=after).status == 422


# --- logs ---

THREE = record(STDOUT, b"one\n", 10**18) + record(STDERR, b"two\n", 10**18 + 1) + record(STDOUT, b"three\n", 10**18 + 2)
ENDS = [20, 40, 62]                      # 16 bytes of head, then the data


def logs(server, task, **headers):
    return server.get(f"/v1/tasks/{task['id']}/logs", **headers)


def test_text_is_the_bytes_that_were_printed(server, agent):
    task = server.submit()
    raw = bytes(range(256)) + b"\n"
    agent.run(task["id"], log=record(STDOUT, raw) + record(SYSTEM, b"a note\n") + record(STDERR, b"err"))
    answer = logs(server, task)
    assert answer.headers["Content-Type"].startswith("text/plain") and answer.body == raw + b"err"
    at = f"/v1/tasks/{task['id']}/logs?source="
    assert server.get(at + "stdout").body == raw and server.get(at + "stderr").body == b"err"
    assert server.get(at + "system").body == b"a note\n" and server.get(at + "all").body == raw + b"a note\nerr"
    assert server.get(at + "stdin").status == 422


@pytest.mark.parametrize("n, text", [(0, b""), (1, b"three\n"), (2, b"two\nthree\n"), (3, b"one\ntwo\nthree\n"), (99, b"one\ntwo\nthree\n")])
def test_tail_gives_the_last_lines(server, agent, n, text):
    task = server.submit()
    agent.run(task["id"], log=THREE)
    assert server.get(f"/v1/tasks/{task['id']}/logs?tail={n}").body == text


def test_tail_counts_lines_not_records(server, agent):
    task = server.submit()
    agent.run(task["id"], log=record(STDOUT, b"a\nb\nc") + record(STDOUT, b"d\n") + record(STDOUT, b"e\nlast"))
    for n, text in [(1, b"last"), (2, b"e\nlast"), (3, b"cd\ne\nlast"), (4, b"b\ncd\ne\nlast"), (5, b"a\nb\ncd\ne\nlast")]:
        assert server.get(f"/v1/tasks/{task['id']}/logs?tail={n}").body == text


def test_json_lines_have_source_time_and_place(server, agent):
    task = server.submit()
    agent.run(task["id"], log=THREE)
    lines = [json.loads(x) for x in logs(server, task, Accept="application/x-ndjson").body.splitlines()]
    assert [(x["src"], x["line"], x["id"]) for x in lines] == list(zip(["stdout", "stderr", "stdout"], ["one\n", "two\n", "three\n"], ENDS))
    assert lines[0]["t"] == "2001-09-09T01:46:40.000Z" and lines[0]["attempt"] == 1


def test_bytes_that_are_no_utf8_come_as_base64(server, agent):
    task = server.submit()
    agent.run(task["id"], log=record(STDOUT, b"caf\xe9\n") + record(STDOUT, "café\n".encode()))
    first, second = [json.loads(x) for x in logs(server, task, Accept="application/x-ndjson").body.splitlines()]
    assert base64.b64decode(first["base64"]) == b"caf\xe9\n" and "line" not in first
    assert second["line"] == "café\n" and "base64" not in second


def test_a_stream_follows_the_log_and_says_when_it_is_done(server, agent):
    task = server.submit()
    start = agent.start()
    agent.started(start)
    stream = server.stream(f"/v1/tasks/{task['id']}/logs")
    got = []
    reader = threading.Thread(target=lambda: got.extend(stream.until_done()))
    reader.start()
    at = 0
    for i in range(len(THREE)):          # byte by byte: records come whole all the same
        at = agent.log(start, at, THREE[i:i + 1])
    agent.finished(start)
    reader.join(PATIENCE_S)
    assert [json.loads(e["data"])["line"] for e in got] == ["one\n", "two\n", "three\n"]
    assert [int(e["id"]) for e in got] == ENDS


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_log_stream_goes_on_where_it_was_cut(server, agent, cut):
    task = server.submit()
    agent.run(task["id"], log=THREE)
    stream = server.stream(f"/v1/tasks/{task['id']}/logs", Last_Event_ID=str(ENDS[cut - 1]))
    assert [int(e["id"]) for e in stream.until_done()] == ENDS[cut:]
    assert len(logs(server, task).body) == len(server.get(f"/v1/tasks/{task['id']}/logs?after=0").body)


def test_text_can_be_followed_too(server, agent):
    task = server.submit()
    start = agent.start()
    agent.started(start)
    connection = server.connect()
    connection.request("GET", f"/v1/tasks/{task['id']}/logs?follow=true", headers={"Authorization": f"Bearer {server.key}"})
    response = connection.getresponse()
    at = agent.log(start, 0, record(STDOUT, b"first\n"))
    assert response.read1(6) == b"first\n"
    agent.log(start, at, record(STDOUT, b"second\n"))
    agent.finished(start)
    assert response.read() == b"second\n"
    connection.close()


def test_a_stream_goes_over_to_the_next_attempt(server):
    agent = FakeAgent(server).connect()
    task = server.submit(command("x", retries=1, retry_on=["error"]))
    stream = server.stream(f"/v1/tasks/{task['id']}/logs")
    got = []
    reader = threading.Thread(target=lambda: got.extend(stream.until_done()))
    reader.start()
    agent.run(task["id"], log=THREE, state="failed", reason="user_error", exit_code=1)
    agent.run(task["id"], log=record(STDOUT, b"again\n"))
    reader.join(PATIENCE_S)
    lines = [(json.loads(e["data"])["attempt"], json.loads(e["data"])["line"]) for e in got]
    assert lines == [(1, "one\n"), (1, "two\n"), (1, "three\n"), (2, "again\n")]
    rest = server.stream(f"/v1/tasks/{task['id']}/logs", Last_Event_ID=got[1]["id"]).until_done()
    assert [json.loads(e["data"])["line"] for e in rest] == ["three\n", "again\n"]
    at = f"/v1/tasks/{task['id']}/logs"
    assert server.get(at).body == b"again\n" and server.get(at + "?attempt=1").body == b"one\ntwo\nthree\n"
    assert server.get(at + "?attempt=3").status == 404
    agent.close()


def test_output_is_deleted_so_many_days_after_the_end_and_that_is_said(tmp_path):
    """Three have printed two days ago: one ended then, one an hour ago, one runs. Only the first one's output goes; no file that is not ours."""
    server = Server(tmp_path, keep_logs_days=1).start()
    with FakeAgent(server) as agent:
        old, young, live = (server.submit(command("x", resources={"memory": "16MiB", "share": 10})) for _ in range(3))
        for task in (old, young):
            agent.run(task["id"], log=THREE)
        start = agent.start(live["id"])
        agent.started(start)
        agent.log(start, 0, THREE)
        paths = [server.data / "logs" / f"{t['id']}.1.log" for t in (old, young, live)] + [server.data / "logs" / "notes.log"]
        paths[-1].write_text("mine")
        assert eventually(lambda: paths[2].exists() and paths[2].stat().st_size == len(THREE))
        server.stop()
        two_days_ago = time.time() - 2 * 86400
        for path in paths:
            os.utime(path, (two_days_ago, two_days_ago))
        age(server.data / "fgpu.db", old["id"], 2 * 86400)
        server.start()
        assert eventually(lambda: not paths[0].exists())
        assert eventually(lambda: "deleted 1 log(s)" in server.log_text()) and all(p.exists() for p in paths[1:])
        assert logs(server, young).body == b"one\ntwo\nthree\n"
        answer = logs(server, old)
        assert answer.status == 404 and "keep_logs_days" in answer.json["hint"]
        assert server.get(f"/v1/tasks/{old['id']}/result").json["state"] == "succeeded"
    server.stop()


def age(database, task, seconds):
    """Make a stopped server's task end earlier, in its row and its document."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        number = int("".join(f"{LETTERS.index(c):05b}" for c in task[4:]), 2)
        (doc, finished), = db.execute("SELECT doc, finished_ns FROM task WHERE id = ?", [number.to_bytes(16, "big")])
        earlier = finished - seconds * 10**9
        assert str(finished) in doc
        db.execute("UPDATE task SET doc = ?, finished_ns = ? WHERE id = ?", [doc.replace(str(finished), str(earlier)), earlier, number.to_bytes(16, "big")])
        db.commit()


def test_a_task_without_output_has_an_empty_log(server):
    task = server.submit()
    answer = logs(server, task)
    assert answer.status == 200 and answer.body == b""


def test_a_large_log_comes_whole(server, agent):
    task = server.submit()
    start = agent.start()
    agent.started(start)
    at, text = 0, b""
    for i in range(100):
        line = (b"%06d " % i) * 9000 + b"\n"
        text += line
        at = agent.log(start, at, record(STDOUT, line))
    agent.finished(start)
    assert logs(server, task).body == text
    lines = logs(server, task, Accept="application/x-ndjson").body.splitlines()
    assert "".join(json.loads(x)["line"] for x in lines).encode() == text


def test_a_gap_is_asked_for_and_a_repeat_is_ignored(server, agent):
    task = server.submit()
    start = agent.start()
    agent.started(start)
    agent.log(start, 0, THREE[:20])
    agent.log(start, 40, THREE[40:])     # 20..40 is missing
    assert agent.expect("log_at", task=task["id"])[0]["offset"] == 20
    agent.log(start, 0, THREE[:20])      # a repeat
    agent.log(start, 10, THREE[10:40])   # overlaps what is there
    agent.log(start, 40, THREE[40:])
    agent.expect_none("log_at", 0.2)
    agent.finished(start)
    assert logs(server, task).body == b"one\ntwo\nthree\n"


def test_after_a_reconnect_the_agent_is_told_where_the_log_ends(server):
    agent = FakeAgent(server).connect()
    task = server.submit()
    start = agent.start()
    agent.started(start)
    agent.log(start, 0, THREE[:30])
    path = server.data / "logs" / f"{task['id']}.1.log"
    assert eventually(lambda: path.exists() and path.stat().st_size == 30)
    agent.close()
    server.kill()
    server.start()
    agent.attempts = [{"task": task["id"], "attempt": 1, "epoch": start["lease"]["epoch"], "finished": False}]
    agent.connect()
    assert agent.welcome["keep"][0]["log_offset"] == 30
    agent.log(start, 30, THREE[30:])
    agent.finished(start)
    assert logs(server, task).body == b"one\ntwo\nthree\n"
    agent.close()


def test_a_quiet_stream_hears_a_heartbeat(server):
    task = server.submit()
    stream = server.stream(f"/v1/tasks/{task['id']}/logs")
    lines = []
    for raw in stream.response:
        lines.append(raw)
        if raw.startswith(b":"):
            break
    assert lines[0] == b"retry: 1000\n" and lines[-1] == b": heartbeat\n"
    stream.close()


def test_streams_are_cut_and_the_server_ends_when_told_to(server):
    task = server.submit()
    streams = [server.stream(f"/v1/tasks/{task['id']}/logs") for _ in range(5)] + [server.stream("/v1/events")]
    assert server.stop() == 0
    for s in streams:
        s.close()
