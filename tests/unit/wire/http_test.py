"""Tests of wire/http.h through http_echo: routes, connections, bodies."""
import contextlib
import json
import re
import resource
import select
import socket
import time

import pytest

from http_fix import ask, echo, is_closed, JSON, PATIENCE_S, problem, read_answer, request, run_tests  # noqa: F401

# ---- routes ----

def test_a_json_answer_has_its_headers(echo):
    a = ask(echo, "GET", "/hello")
    assert a.status == 200 and a.json() == {"hello": "world"}
    assert a.headers["content-type"] == "application/json"
    assert re.fullmatch("[0-9a-f]{16}", a.headers["x-request-id"])
    assert a.headers["x-content-type-options"] == "nosniff" and a.headers["cache-control"] == "no-store"


def test_the_root_is_a_route(echo):
    assert ask(echo, "GET", "/").status == 200
    assert ask(echo, "GET", "http://any/hello").status == 200


def test_parameters_and_query_are_decoded_and_extra_headers_win(echo):
    a = ask(echo, "GET", "/items/a%20b%2Bc?quiet=x%26y")
    assert a.json() == {"id": "a b+c", "q": "x&y", "peer": "127.0.0.1"}
    assert a.headers["cache-control"] == "max-age=1" and a.headers["x-extra"] == "yes"


def test_unknown_paths_are_404_and_unknown_methods_405_with_allow(echo):
    problem(ask(echo, "GET", "/nope"), 404, "not_found")
    problem(ask(echo, "GET", "/items/"), 404, "not_found")
    a = ask(echo, "POST", "/items/1")
    problem(a, 405, "method_not_allowed")
    assert a.headers["allow"] == "GET, HEAD, DELETE"
    problem(ask(echo, "BREW", "/hello"), 405, "method_not_allowed")


def test_unknown_query_names_are_422_and_name_the_nearest(echo):
    doc = problem(ask(echo, "GET", "/items/1?quite=1"), 422, "invalid")
    assert "'quiet'" in doc["hint"] and doc["errors"][0]["pointer"] == "?quite"


@pytest.mark.parametrize("path", ["/items/%00", "/items/a%2fb", "/items/%zz", "/items/%ff", "/items/%0a"])
def test_bytes_that_could_deceive_are_400(echo, path):
    problem(ask(echo, "GET", path), 400, "malformed")


def test_head_has_the_headers_of_get_and_no_body(echo):
    with echo.connect() as s:
        s.sendall(request("HEAD", "/hello") + request("HEAD", "/file?size=70000") + request("HEAD", "/nope") + request("GET", "/hello"))
        a = read_answer(s, head_only=True)
        assert a.status == 200 and a.headers["content-length"] == str(len('{"hello":"world"}\n'))
        assert read_answer(s, head_only=True).headers["content-length"] == "70000"
        assert read_answer(s, head_only=True).status == 404
        assert read_answer(s).json() == {"hello": "world"}


def test_errors_carry_pointer_hint_and_retry(echo):
    doc = problem(ask(echo, "GET", "/fail/invalid"), 422, "invalid")
    assert doc["errors"] == [{"pointer": "/a/b", "detail": 'it "failed"'}] and doc["hint"] == "do better"
    assert doc["retryable"] is False
    a = ask(echo, "GET", "/fail/storage_full")
    assert problem(a, 507, "storage_full")["retryable"] is True and a.headers["retry-after"] == "1"
    problem(ask(echo, "GET", "/fail/task_failed"), 500, "task_failed")     # its own status is 200, which no error may have


def test_a_second_answer_is_dropped(echo):
    with echo.connect() as s:
        s.sendall(request("GET", "/twice") + request("GET", "/hello"))
        assert read_answer(s).json() == {"first": 1}
        assert read_answer(s).json() == {"hello": "world"}


# ---- connections ----

def test_keep_alive_and_pipelining_answer_in_order(echo):
    with echo.connect() as s:
        s.sendall(b"".join(request("GET", f"/items/{i}") for i in range(50)))
        assert [read_answer(s).json()["id"] for _ in range(50)] == [str(i) for i in range(50)]
        s.sendall(request("GET", "/later?ms=30") + request("GET", "/items/x") + request("POST", "/echo", JSON, b"{}"))
        assert read_answer(s).json() == {"late": True}
        assert read_answer(s).json()["id"] == "x"
        assert read_answer(s).body == b"{}"


def test_connection_close_is_honoured(echo):
    with echo.connect() as s:
        s.sendall(request("GET", "/hello", ["Connection: close"]))
        assert read_answer(s).status == 200 and is_closed(s)


def test_http_1_0_gets_an_answer(echo):
    with echo.connect() as s:
        s.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
        assert read_answer(s).status == 200 and is_closed(s)


@pytest.mark.parametrize("raw", [
    b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET /hello HTTP/9.9\r\nHost: x\r\n\r\n", b"GET /hello HTTP/1.1\r\n\r\n",
    b"GET /hello HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 500, b"GET  /he llo HTTP/1.1\r\nHost: x\r\n\r\n",
])
def test_what_is_no_http_does_no_harm(echo, raw):
    with echo.connect(timeout=1) as s:
        s.sendall(raw)
        with contextlib.suppress(ConnectionResetError, socket.timeout):
            data = s.recv(65536)
            assert data == b"" or 400 <= int(data.split(b" ")[1]) < 600
    assert ask(echo, "GET", "/hello").status == 200


@pytest.mark.parametrize("headers", [
    ["Content-Length: 2", "Content-Length: 3"], ["Content-Length: 2", "Transfer-Encoding: chunked"], ["Transfer-Encoding: gzip, chunked"]])
def test_a_body_framed_in_two_ways_is_refused_and_the_connection_closed(echo, headers):
    with echo.connect() as s:
        s.sendall(request("POST", "/echo", JSON + headers, b"{}"))
        problem(read_answer(s), 400, "malformed")
        assert is_closed(s)


def test_a_large_head_is_refused(echo):
    a = ask(echo, "GET", "/hello", ["X-Big: " + "x" * 17000])
    problem(a, 431, "too_large")
    for size in (40000, 200000):
        with echo.connect() as s:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                s.sendall(request("GET", "/hello", ["X-Big: " + "x" * size]))
                a = read_answer(s)
                assert a is None or a.status == 431
    assert ask(echo, "GET", "/hello", ["X-Big: " + "x" * 15000]).status == 200
    many = [f"X-{i}: y" for i in range(3000)]
    with echo.connect() as s:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            s.sendall(request("GET", "/hello", many))
            a = read_answer(s)
            assert a is None or a.status == 431


def test_a_head_that_does_not_end_is_cut_after_ten_seconds(echo):
    with echo.connect() as s:
        start = time.monotonic()
        s.sendall(b"GET /hello HTTP/1.1\r\n")
        while not select.select([s], [], [], 1)[0]:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                s.sendall(b"X: y\r\n")         # a byte now and then keeps no connection
            assert time.monotonic() - start < PATIENCE_S
        assert time.monotonic() - start > 8 and is_closed(s)


def test_thousands_of_idle_connections_are_held(echo):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 5000:
        pytest.skip(f"only {hard} file descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    idle = []
    try:
        for _ in range(4000):
            idle.append(echo.connect())
        assert ask(echo, "GET", "/hello").status == 200
        for s in idle[::97]:
            s.sendall(request("GET", "/later?ms=200"))
        for s in idle[::97]:
            assert read_answer(s).json() == {"late": True}
    finally:
        for s in idle:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert ask(echo, "GET", "/hello").status == 200


# ---- bodies ----

def test_a_json_body_arrives_whole_however_slowly(echo):
    body = json.dumps({"a": ["x" * 1000] * 3}).encode()
    raw = request("POST", "/echo", JSON, body)
    with echo.connect() as s:
        for i in range(0, len(raw), 101):
            s.sendall(raw[i:i + 101])
            time.sleep(0.005)
        assert read_answer(s).body == body
        for i in range(0, 400):                  # byte by byte, in a chunked body this time
            if i == 0:
                s.sendall(request("POST", "/echo", JSON + ["Transfer-Encoding: chunked"]))
            s.sendall(b"1\r\nx\r\n")
        s.sendall(b"0\r\n\r\n")
        assert read_answer(s).body == b"x" * 400


def test_json_routes_want_the_content_type(echo):
    problem(ask(echo, "POST", "/echo", [], b"{}"), 415, "unsupported_media")
    problem(ask(echo, "POST", "/echo", ["Content-Type: text/plain"], b"{}"), 415, "unsupported_media")
    problem(ask(echo, "POST", "/echo", ["Content-Type: application/jsonx"], b"{}"), 415, "unsupported_media")
    problem(ask(echo, "POST", "/echo", JSON + ["Content-Encoding: gzip"], b"{}"), 415, "unsupported_media")
    assert ask(echo, "POST", "/echo", ["Content-Type: Application/JSON; charset=utf-8"], b"{}").body == b"{}"
    assert ask(echo, "POST", "/echo").status == 200           # no body, no type needed


def test_size_limits_hold_by_length_and_by_count_and_the_connection_lives(echo):
    mib = 1 << 20
    with echo.connect() as s:
        s.sendall(request("POST", "/echo", JSON, b"x" * mib))
        assert len(read_answer(s).body) == mib                # the limit itself is allowed
        s.sendall(request("POST", "/echo", JSON, b"x" * (mib + 1)))
        assert "blob" in problem(read_answer(s), 413, "too_large")["hint"]
        s.sendall(request("POST", "/echo", JSON + ["Transfer-Encoding: chunked"]))
        for _ in range(9):                                    # 9 * 2^17 > 2^20
            s.sendall(b"20000\r\n" + b"x" * (1 << 17) + b"\r\n")
        s.sendall(b"0\r\n\r\n")
        problem(read_answer(s), 413, "too_large")
        s.sendall(request("POST", "/echo:batch", JSON, b"x" * (mib + 1)))
        assert len(read_answer(s).body) == mib + 1            # batches may be larger
        s.sendall(request("POST", "/nothing", [], b"{}"))
        assert read_answer(s).status == 204                   # a small body where none is taken does no harm


def test_a_huge_body_is_refused_at_once_and_an_endless_one_cut(echo):
    with echo.connect() as s:
        s.sendall(request("POST", "/echo", JSON + ["Content-Length: 1000000000000"]))
        problem(read_answer(s), 413, "too_large")
        assert is_closed(s)
    with echo.connect() as s:
        s.sendall(request("POST", "/echo", JSON + ["Transfer-Encoding: chunked"]))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(200):
                s.sendall(b"20000\r\n" + b"x" * (1 << 17) + b"\r\n")


def test_who_asks_first_is_told_before_sending(echo):
    with echo.connect() as s:
        s.sendall(request("POST", "/echo", JSON + ["Expect: 100-continue", "Content-Length: 2"]))
        assert read_answer(s, head_only=True).status == 100
        s.sendall(b"{}")
        assert read_answer(s).body == b"{}"
        s.sendall(request("POST", "/secret", JSON + ["Expect: 100-continue", "Content-Length: 2"]))
        a = read_answer(s)
        problem(a, 401, "unauthenticated")
        assert a.headers["www-authenticate"].startswith("Bearer")


def test_permission_is_asked_before_the_body_is_judged(echo):
    problem(ask(echo, "POST", "/secret", [], b"not json"), 401, "unauthenticated")
    assert ask(echo, "POST", "/secret", JSON + ["Authorization: Bearer secret"], b"{}").body == b"{}"


def test_streams_reach_the_sink_and_may_be_refused_at_any_point(echo):
    with echo.connect() as s:
        s.sendall(request("PUT", "/upload/a", [], b"y" * 3_000_000))
        assert read_answer(s).json() == {"bytes": 3_000_000}
        s.sendall(request("PUT", "/upload/a"))
        assert read_answer(s).json() == {"bytes": 0}
        s.sendall(request("PUT", "/upload/refused", [], b"y" * 100_000))
        problem(read_answer(s), 507, "storage_full")
        s.sendall(request("PUT", "/upload/half", [], b"y" * 1_000_000))
        problem(read_answer(s), 507, "storage_full")
        s.sendall(request("GET", "/hello"))
        assert read_answer(s).status == 200


if __name__ == "__main__":
    run_tests(__file__)
