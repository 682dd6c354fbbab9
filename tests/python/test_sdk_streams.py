"""Logs, events, map and the asyncio twin: things that go on while a task does."""
import asyncio
import base64
import threading
import time

import fgpu
import pytest


def log_stream(total, per_connection, cut_tail=b""):
    """SSE that is cut after some events, and goes on after Last-Event-ID."""
    def stream(last):
        start = int(last or 0)
        out = b": hello\n\n"
        for i in range(start + 1, min(start + per_connection, total) + 1):
            out += f'id: {i}\nevent: log\ndata: {{"src":"stdout","attempt":1,"t":"2026-11-22T10:00:00Z","line":"line {i}\\n"}}\n\n'.encode()
        if start + per_connection >= total:
            return out + b'event: done\ndata: {"state":"succeeded"}\n\n'
        return out + cut_tail
    return stream


def test_followed_logs_have_no_hole_and_no_double_over_cut_connections(client, server):
    task = client.submit(command=["true"])
    # Each connection is cut in the middle of an event: it must not be given out, and must come whole after the reconnect.
    server.streams["GET", f"/v1/tasks/{task.id}/logs"] = log_stream(7, 2, b'id: 99\nevent: log\ndata: {"line":"half')
    lines = list(task.logs(follow=True))
    assert lines == [f"line {i}" for i in range(1, 8)]
    assert server.served_streams == [None, "2", "4", "6"]
    assert (lines[0].source, lines[0].attempt) == ("stdout", 1)


def test_logs_of_the_past_come_without_following(client, server):
    task = client.submit(command=["true"])
    server.answers["GET", f"/v1/tasks/{task.id}/logs"] = 200, b'{"src":"stderr","line":"a"}\n{"src":"stdout","line":"b"}\n'
    assert list(task.logs(tail=2)) == ["a", "b"]
    assert server.requests[-1]["query"] == {"tail": "2"} and server.requests[-1]["headers"]["accept"] == "application/x-ndjson"


def test_a_refused_stream_is_an_error_not_a_retry(client, server):
    with pytest.raises(fgpu.NotFound):
        list(fgpu.Task(client, {"id": "tsk_none"}).logs(follow=True))
    assert len(server.requests) == 1


def test_a_stream_that_never_comes_back_ends_in_an_error(server):
    with fgpu.Client("k", server.url, patience=0.3) as client:
        task = client.submit(command=["true"])
        server.streams["GET", f"/v1/tasks/{task.id}/logs"] = lambda last: b": nothing\n\n"
        with pytest.raises(fgpu.ServerUnavailable):
            list(task.logs(follow=True))


def test_events_are_followed_to_the_end(client, server):
    task = client.submit(command=["true"])
    server.streams["GET", f"/v1/tasks/{task.id}/events"] = lambda last: (
        b'id: 1\nevent: task.submitted\ndata: {"seq":1}\n\nid: 2\nevent: task.settled\ndata: {"seq":2}\n\nevent: done\ndata: {}\n\n')
    assert list(task.events(follow=True)) == [{"seq": 1}, {"seq": 2}]


def test_events_of_the_past_come_page_by_page(client, server):
    task = client.submit(command=["true"])
    pages = {None: ([1, 2], True), "2": ([3], False)}

    def page(request):
        seqs, more = pages[request["query"].get("after")]
        return 200, {"events": [{"seq": n} for n in seqs], "next_after": seqs[-1], "more": more}
    server.answers["GET", f"/v1/tasks/{task.id}/events"] = page
    assert [e["seq"] for e in task.events()] == [1, 2, 3]


def test_pieces_of_output_become_lines():
    from fgpu.logs import assemble
    snowman = "\u2603".encode()
    pieces = [{"src": "stdout", "attempt": 1, "line": "a\nb"}, {"src": "stderr", "attempt": 1, "line": "warn\n"},
              {"src": "stdout", "attempt": 1, "line": "c\r\n"}, {"src": "stdout", "attempt": 1, "base64": base64.b64encode(snowman[:1]).decode()},
              {"src": "stdout", "attempt": 1, "base64": base64.b64encode(snowman[1:] + b"\n\xff\n").decode()},
              {"src": "stdout", "attempt": 1, "line": "no end"}, {"src": "stdout", "attempt": 2, "line": "again\nlast"}]
    assert [(x, x.source, x.attempt) for x in assemble(pieces)] == [
        ("a", "stdout", 1), ("warn", "stderr", 1), ("bc", "stdout", 1), ("\u2603", "stdout", 1), ("\ufffd", "stdout", 1),
        ("no end", "stdout", 1), ("again", "stdout", 2), ("last", "stdout", 2)]


class Slow:
    """Makes each result wait, and counts how many tasks are live at once."""

    def __init__(self, server, fail=()):
        self.server, self.fail, self.live, self.most, self.lock = server, fail, 0, 0, threading.Lock()
        self.submit = server.submit
        server.submit = self.on_submit
        self.task = server.task
        server.task = self.on_task

    def on_submit(self, request):
        with self.lock:
            self.live += 1
            self.most = max(self.most, self.live)
            status, task = self.submit(request)
            task["number"] = int(task["spec"]["name"]) if "name" in task["spec"] else len(self.server.tasks) - 1
        return status, task

    def on_task(self, method, task, rest):
        if rest == ["result"] and task["state"] == "succeeded":
            time.sleep(0.02 * (task["number"] % 3))
            with self.lock:
                self.live -= 1
            if task["number"] in self.fail:
                task.update(state="failed", error={"reason": "user_error"})
            else:
                task["result"] = task["spec"]["input_data"]
        return self.task(method, task, rest)


def test_map_keeps_the_order_and_its_bound(client, server):
    slow = Slow(server)
    inputs = [f"picture {i}".encode() for i in range(20)]
    blobs = [client.files.upload(data) for data in inputs]
    assert list(client.map("m", inputs, max_parallel=4)) == blobs
    assert slow.most <= 4 and len(server.tasks) == 20


def test_map_can_give_failures_among_the_results(client, server):
    Slow(server, fail=(1,))
    results = list(client.map("m", [b"a", b"b", b"c"], max_parallel=1, return_exceptions=True))
    assert [isinstance(r, fgpu.TaskFailed) for r in results] == [False, True, False]


def test_map_stops_at_the_first_failure(client, server):
    Slow(server, fail=(1,))
    with pytest.raises(fgpu.TaskFailed):
        list(client.map("m", [f"{i}".encode() for i in range(50)], max_parallel=1))
    assert len(server.tasks) < 10


def test_the_asyncio_twin_runs_waits_streams_and_maps(server):
    async def main():
        async with fgpu.AsyncClient("k", server.url, patience=1) as client:
            task = await client.run(command=["true"])
            assert task.state == "succeeded" and (await task.result())["labels"]
            server.streams["GET", f"/v1/tasks/{task.id}/logs"] = log_stream(3, 2)
            assert [line async for line in task.logs(follow=True)] == ["line 1", "line 2", "line 3"]
            several = await asyncio.gather(*(client.submit(command=["true"]) for _ in range(10)))
            assert len({t.id for t in several}) == 10
            blob = await client.files.upload(b"hello")
            assert await client.files.read(blob) == b"hello"
            assert len([r async for r in client.map("m", [b"a", b"b"])]) == 2
            with pytest.raises(fgpu.NotFound):
                await client.tasks.get("tsk_none")
    asyncio.run(main())
