"""What the tests of wire/http.h share: http_echo, requests and answers over raw sockets, since a polite client library would hide what
matters. Run by meson with the path of http_echo in HTTP_ECHO; totals are printed as cmocka does, which tools/run_tests.py counts."""
import json
import os
import socket
import subprocess
import sys
import time

import pytest

PATIENCE_S = 60          # how long a test waits for what must come; only one that fails waits so long


class Echo:
    def __init__(self, *args):
        self.process = subprocess.Popen([os.environ["HTTP_ECHO"], *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("port "), self.process.stderr.read()
        self.port = int(line.split()[1])

    def stop(self):
        """End it; it must have closed every request that it opened."""
        out, err = self.process.communicate("\n", timeout=PATIENCE_S)
        assert self.process.returncode == 0, out + err
        return out, err

    def connect(self, timeout=PATIENCE_S):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        return s

    def stats(self):
        return ask(self, "GET", "/stats").json()


@pytest.fixture(scope="module")
def echo():
    server = Echo()
    yield server
    out, err = server.stop()
    assert "closed" in out
    assert "Sanitizer" not in err, err


class Answer:
    def __init__(self, raw_head, body):
        lines = raw_head.decode("latin-1").split("\r\n")
        self.version, self.status = lines[0].split(" ", 2)[0], int(lines[0].split(" ", 2)[1])
        self.headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            self.headers[name.lower()] = value.strip()
        self.body = body

    def json(self):
        return json.loads(self.body)


def read_answer(s, head_only=False):
    """One answer off the socket; None when the server closed without one."""
    data = b""
    while b"\r\n\r\n" not in data:
        got = s.recv(1)
        if not got:
            assert data == b"", data
            return None
        data += got
    answer = Answer(data[:-4], b"")
    if head_only or answer.status in (204, 304):
        return answer
    if answer.headers.get("transfer-encoding") == "chunked":
        while True:
            size = b""
            while not size.endswith(b"\r\n"):
                got = s.recv(1)
                assert got, "cut within a chunked body"
                size += got
            n = int(size, 16)
            chunk = read_exactly(s, n + 2)
            if n == 0:
                return answer
            answer.body += chunk[:-2]
    answer.body = read_exactly(s, int(answer.headers["content-length"]))
    return answer


def read_exactly(s, n):
    data = b""
    while len(data) < n:
        got = s.recv(n - len(data))
        assert got, f"closed after {len(data)} of {n} bytes"
        data += got
    return data


def request(method, path, headers=(), body=b""):
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if body and not any(h.lower().startswith(("content-length", "transfer-encoding")) for h in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


JSON = ["Content-Type: application/json"]


def ask(echo, method, path, headers=(), body=b""):
    with echo.connect() as s:
        s.sendall(request(method, path, headers, body))
        return read_answer(s, head_only=method == "HEAD")


def is_closed(s):
    """The server closes."""
    s.settimeout(PATIENCE_S)
    try:
        return s.recv(1) == b""
    except ConnectionResetError:
        return True
    except socket.timeout:
        return False


def problem(answer, status, code):
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    doc = answer.json()
    assert doc["status"] == status and doc["code"] == code and doc["title"] and doc["detail"]
    assert doc["type"] == "urn:fgpu:error:" + code
    assert doc["request_id"] == answer.headers["x-request-id"]
    return doc


def wait_for(what, seconds=PATIENCE_S):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def open_requests(echo):
    now = echo.stats()
    return now["opened"] - now["closed"] - 1      # but for the one that asks


class Totals:
    def pytest_terminal_summary(self, terminalreporter):
        stats = terminalreporter.stats
        failed = len(stats.get("failed", [])) + len(stats.get("error", []))
        print(f"\n[  PASSED  ] {len(stats.get('passed', []))} test(s).")
        for report in stats.get("skipped", []):
            print(f"[  SKIPPED ] {report.nodeid}\nskip: {report.longrepr[2]}")
        if failed:
            print(f"[  FAILED  ] {failed} test(s)")


def run_tests(file):
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", file, *sys.argv[1:]], plugins=[Totals()]))
