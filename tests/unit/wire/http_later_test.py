"""Tests of wire/http.h through http_echo: files and their ranges, answers that come later, streams."""
import contextlib
import os
import select
import socket
import subprocess
import time

import pytest

from http_fix import Answer, ask, echo, Echo, is_closed, JSON, open_requests, PATIENCE_S, problem, read_answer, request, run_tests, wait_for  # noqa: F401

# ---- files ----

ALPHABET = bytes(ord("a") + i % 26 for i in range(100000))


@pytest.mark.parametrize("spec,first,last", [
    ("bytes=0-0", 0, 0), ("bytes=10-19", 10, 19), ("bytes=990-", 990, 999), ("bytes=-5", 995, 999),
    ("bytes=-5000", 0, 999), ("bytes=990-99999999999999999999999", 990, 999), ("Bytes=1-2", 1, 2)])
def test_a_range_gives_206_and_its_bytes(echo, spec, first, last):
    a = ask(echo, "GET", "/file", [f"Range: {spec}"])
    assert a.status == 206 and a.body == ALPHABET[first:last + 1]
    assert a.headers["content-range"] == f"bytes {first}-{last}/1000" and a.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("spec", ["bytes=5-3", "bytes=a-b", "bytes=", "bytes=-", "lines=1-2", "bytes=1-2,4-5", "bytes=1"])
def test_a_range_that_is_not_understood_gives_the_whole(echo, spec):
    a = ask(echo, "GET", "/file", [f"Range: {spec}"])
    assert a.status == 200 and a.body == ALPHABET[:1000]


@pytest.mark.parametrize("path,spec", [("/file", "bytes=1000-"), ("/file", "bytes=-0"), ("/file?size=0", "bytes=0-"), ("/file?size=0", "bytes=-1")])
def test_a_range_beyond_the_end_is_416(echo, path, spec):
    a = ask(echo, "GET", path, [f"Range: {spec}"])
    assert a.status == 416 and a.headers["content-range"] == ("bytes */0" if "size=0" in path else "bytes */1000")


def test_whole_files_of_any_size_and_conditional_ranges(echo):
    with echo.connect() as s:
        for size in (0, 1, 100000):
            s.sendall(request("GET", f"/file?size={size}"))
            assert read_answer(s).body == ALPHABET[:size]
        s.sendall(request("GET", "/file", ["Range: bytes=0-1", 'If-Range: "x"']))
        assert read_answer(s).status == 200
        s.sendall(request("HEAD", "/file", ["Range: bytes=0-1"]))
        assert read_answer(s, head_only=True).status == 200


# ---- answers that come later ----

def test_a_late_answer_comes_and_others_do_not_wait_for_it(echo):
    for ms in (400, 3000, 20000):                 # a busy machine may need more than the first for its twenty answers
        with echo.connect() as slow, echo.connect() as fast:
            start = time.monotonic()
            slow.sendall(request("GET", f"/later?ms={ms}"))
            for _ in range(20):
                fast.sendall(request("GET", "/hello"))
                assert read_answer(fast).status == 200
            before = not select.select([slow], [], [], 0)[0]
            assert read_answer(slow).json() == {"late": True}
            assert time.monotonic() - start >= ms / 1000 - 0.01
        if before:
            return
    raise AssertionError("the twenty waited for the late one")


@pytest.mark.parametrize("path", ["/later?ms=60000", "/ticks?n=9&ms=60000"])
@pytest.mark.parametrize("abrupt", [False, True])
def test_a_client_that_leaves_while_it_waits_is_noticed_at_once(echo, path, abrupt):
    wait_for(lambda: open_requests(echo) == 0)
    before = echo.stats()["gone_later"]
    s = echo.connect()
    s.sendall(request("GET", path))
    wait_for(lambda: open_requests(echo) == 1)    # it is there, and waits
    if abrupt:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    s.close()
    wait_for(lambda: echo.stats()["gone_later"] == before + 1)


def test_a_client_that_leaves_within_its_body_is_closed_once(echo):
    wait_for(lambda: open_requests(echo) == 0)
    s = echo.connect()
    s.sendall(request("PUT", "/upload/a", ["Content-Length: 1000"]) + b"part")
    wait_for(lambda: open_requests(echo) == 1)
    s.close()
    wait_for(lambda: open_requests(echo) == 0)


def test_a_stream_sends_its_head_at_once_and_ends_cleanly(echo):
    for ms in (150, 3000, 20000, None):           # a busy machine may look so late that the first tick is there
        assert ms, "the head came with the first tick"
        s = echo.connect()
        s.sendall(request("GET", f"/ticks?n=3&ms={ms}"))
        data = b""
        while b"\r\n\r\n" not in data:
            data += s.recv(1)
        if not select.select([s], [], [], 0)[0]:
            break
        s.close()
    with s:
        a = Answer(data[:-4], b"")
        assert a.headers["content-type"] == "text/event-stream" and "x-request-id" not in a.headers
        rest = b""
        while not rest.endswith(b"0\r\n\r\n"):
            rest += s.recv(100)
        assert rest.count(b"data: tick") == 3
        s.sendall(request("GET", "/hello"))
        assert read_answer(s).status == 200


def test_a_stream_is_produced_no_faster_than_it_is_read(echo):
    before = echo.stats()["stream_bytes"]
    total = 300_000_000
    with echo.connect() as s:
        s.sendall(request("GET", f"/flood?bytes={total}"))
        wait_for(lambda: echo.stats()["stream_bytes"] > before)
        time.sleep(0.5)
        produced = echo.stats()["stream_bytes"] - before
        assert produced < 50_000_000              # what fits into socket buffers and one block
    with echo.connect() as s:
        s.sendall(request("GET", "/flood?bytes=5000000"))
        assert len(read_answer(s).body) == 5_000_000


def test_stop_answers_what_waits_and_cuts_streams():
    server = Echo()
    later, ticks, idle, half = (server.connect() for _ in range(4))
    later.sendall(request("GET", "/later?ms=60000"))
    ticks.sendall(request("GET", "/ticks?n=9&ms=60000"))
    half.sendall(request("POST", "/echo", JSON + ["Content-Length: 10"]) + b"{")
    wait_for(lambda: open_requests(server) >= 2)
    time.sleep(0.2)
    server.stop()
    a = read_answer(later)
    problem(a, 503, "unavailable")
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while got := ticks.recv(1000):
            data += got
    assert data.endswith(b"\r\n\r\n") and b"\r\n0\r\n" not in data    # the head came, the end of the body did not
    assert is_closed(idle) and is_closed(half)


def test_only_loopback_may_listen_and_a_taken_port_is_said(echo):
    def fail(*args):
        p = subprocess.run([os.environ["HTTP_ECHO"], *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)
        assert p.returncode == 1
        return p.stderr
    assert "needs TLS, which is not there yet" in fail("0.0.0.0")
    assert "unsupported" in fail("::")
    assert "not numeric" in fail("localhost")
    assert "conflict" in fail("127.0.0.1", str(echo.port))


if __name__ == "__main__":
    run_tests(__file__)
