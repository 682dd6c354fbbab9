"""HTTP to one server: kept connections, retries that cannot do a thing twice, JSON in and out.

A call is sent again after a connection error or an answer 429, 502, 503 or 504, with growing pauses, when sending
it twice does no harm: every GET, HEAD, PUT and DELETE, and a POST that carries an Idempotency-Key or says so.
507 (the disk is full) is told at once: it lasts.
"""
from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import threading
import time
import urllib.parse
from typing import Any, BinaryIO, Callable, Dict, List, Mapping, Optional, Tuple

from .errors import FgpuError, InvalidInput, ServerUnavailable, from_problem

RETRY_STATUS = (429, 502, 503, 504)
FAILURES = (OSError, http.client.HTTPException)
Body = Tuple[Callable[[], BinaryIO], int]    # opens the bytes anew for each try; their length


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        try:
            return json.loads(self.body) if self.body else None
        except ValueError:
            raise ServerUnavailable("the answer is not JSON: is this a FastGPU server?", status=self.status) from None


class Backoff:
    """Growing pauses with jitter, until patience runs out."""

    def __init__(self, patience: float) -> None:
        self.until, self.pause = time.monotonic() + patience, 0.1

    def sleep(self, at_least: float = 0.0) -> bool:
        """Wait before the next try; False when there is no time left for one."""
        pause = max(self.pause * random.uniform(0.5, 1.0), at_least)
        self.pause = min(self.pause * 2, 5.0)
        if time.monotonic() + pause > self.until:
            return False
        time.sleep(pause)
        return True


class Transport:
    """Any thread may call; each call has a connection of its own while it lasts."""

    def __init__(self, url: str, key: str, timeout: float = 30.0, patience: float = 30.0) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(f"'{url}' is not the address of a server", hint="like http://127.0.0.1:8470")
        self.url, self.key, self.timeout, self.patience = url.rstrip("/"), key, timeout, patience
        self._https, self._host = parts.scheme == "https", parts.hostname
        self._port, self._prefix = parts.port or (443 if self._https else 80), parts.path.rstrip("/")
        self._idle: List[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._closed = False

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self._https:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=ssl.create_default_context())
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def _take(self, timeout: float, fresh: bool) -> Tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            connection = self._idle.pop() if self._idle and not fresh else None
        if connection is None:
            return self._connect(timeout), False
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection, True

    def _give(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < 16:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()

    def _target(self, path: str, query: Optional[Mapping[str, Any]]) -> str:
        known = {k: v for k, v in (query or {}).items() if v is not None}
        return self._prefix + path + ("?" + urllib.parse.urlencode(known, doseq=True) if known else "")

    def _headers(self, headers: Optional[Mapping[str, str]]) -> Dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", "Accept": "application/json, application/problem+json",
                "User-Agent": "fgpu-python/0.1.0", **(headers or {})}

    def _send(self, method: str, target: str, headers: Mapping[str, str], body: Optional[Body], timeout: float,
              fresh: bool) -> Answer:
        """One try. A kept connection that the server closed meanwhile is replaced at once; since nobody can tell whether
        it took the request before it closed, a call that must not be sent twice wants a fresh one."""
        while True:
            connection, kept = self._take(timeout, fresh)
            try:
                answer = self._exchange(connection, method, target, headers, body)
            except (ConnectionError, http.client.BadStatusLine):
                connection.close()
                if not kept:
                    raise
                continue
            except BaseException:
                connection.close()
                raise
            return answer

    def _exchange(self, connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str],
                  body: Optional[Body]) -> Answer:
        if body is None:
            connection.request(method, target, headers=dict(headers))
        else:
            opened, length = body
            with opened() as file:
                self._send_body(connection, method, target, dict(headers, **{"Content-Length": str(length)}), file)
        response = connection.getresponse()
        data = response.read()
        if response.will_close:
            connection.close()
        else:
            self._give(connection)
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, data)

    @staticmethod
    def _send_body(connection: http.client.HTTPConnection, method: str, target: str, headers: Dict[str, str], file: BinaryIO) -> None:
        try:
            connection.request(method, target, body=file, headers=headers)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses a body answers before it has read it; the answer says more than the broken pipe.
            if connection.sock is None:
                raise

    def call(self, method: str, path: str, *, query: Optional[Mapping[str, Any]] = None, data: Any = None,
             body: Optional[Body] = None, headers: Optional[Mapping[str, str]] = None, wait: float = 0.0,
             safe: Optional[bool] = None) -> Answer:
        """The answer, also when it is an error of the server. Raises only when there is none."""
        all_headers = self._headers(headers)
        if data is not None:
            text = json.dumps(data, allow_nan=False).encode()
            body = (lambda: _bytes_file(text)), len(text)
            all_headers["Content-Type"] = "application/json"
        again = safe if safe is not None else method != "POST" or "Idempotency-Key" in all_headers
        backoff, target = Backoff(self.patience), self._target(path, query)
        while True:
            try:
                answer = self._send(method, target, all_headers, body, self.timeout + wait, not again)
                if answer.status not in RETRY_STATUS or not again or not backoff.sleep(_retry_after(answer)):
                    return answer
            except FAILURES as error:
                never_sent = isinstance(error, (ConnectionRefusedError, socket.gaierror))
                if not (again or never_sent) or not backoff.sleep():
                    raise ServerUnavailable(f"cannot reach {self.url}: {error or type(error).__name__}",
                                            hint="start it with `fgpu up`, or set FGPU_URL", code="unreachable", retryable=True) from error

    def json(self, method: str, path: str, **options: Any) -> Any:
        """The body of a good answer; a bad one is raised as the error it stands for."""
        answer = self.call(method, path, **options)
        raise_for(answer, (options.get("headers") or {}).get("Idempotency-Key", ""))
        return answer.json()

    def open(self, path: str, *, query: Optional[Mapping[str, Any]] = None, headers: Optional[Mapping[str, str]] = None,
             timeout: Optional[float] = None) -> http.client.HTTPResponse:
        """A GET whose body the caller reads as it comes, over a connection of its own; close() ends it. One try."""
        connection = self._connect(timeout or self.timeout)
        try:
            connection.request("GET", self._target(path, query), headers=self._headers({"Connection": "close", **(headers or {})}))
            response = connection.getresponse()
            if response.status >= 300:
                answer = Answer(response.status, {}, response.read())
                raise_for(answer)
            return response    # holds the socket; its close() ends the connection too
        except BaseException:
            connection.close()
            raise


def raise_for(answer: Answer, idempotency_key: str = "") -> None:
    if answer.status < 300 or answer.status == 304:
        return
    try:
        problem = answer.json()
    except FgpuError:
        problem = None
    error = from_problem(answer.status, problem)
    error.idempotency_key = idempotency_key
    raise error


def _bytes_file(text: bytes) -> BinaryIO:
    import io
    return io.BytesIO(text)


def _retry_after(answer: Answer) -> float:
    try:
        return min(float(answer.headers.get("retry-after", "0")), 30.0)
    except ValueError:
        return 0.0
