"""An HTTP server in this process that plays FastGPU's part of the protocol, and misbehaves on demand.

It keeps what it was sent, so that a test can say what must not be sent. Faults are queued with `then`: each is used
up by the next request whose method and path begin so.
"""
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def problem(status, code, detail, **more):
    return status, {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail, **more}


class FakeServer:
    def __init__(self):
        self.requests, self.blobs, self.tasks, self.keys = [], {}, {}, {}
        self.faults, self.answers, self.streams, self.served_streams = [], {}, {}, []
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def handle_any(self):
                outer.handle(self)
            do_GET = do_PUT = do_POST = do_HEAD = handle_any

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def then(self, method, path, fault):
        """fault: "drop" (close unanswered), "lose" (do it, then close), or (status, body, headers)."""
        self.faults.append((method, path, fault))

    def sent(self, method, path=""):
        return [r for r in self.requests if r["method"] == method and r["path"].startswith(path)]

    def take_fault(self, method, path):
        with self.lock:
            for i, (m, p, fault) in enumerate(self.faults):
                if m == method and path.startswith(p):
                    return self.faults.pop(i)[2]
        return None

    def handle(self, h):
        parts = urlsplit(h.path)
        body = h.rfile.read(int(h.headers.get("Content-Length") or 0))
        request = {"method": h.command, "path": parts.path, "query": {k: v[0] for k, v in parse_qs(parts.query).items()},
                   "headers": {k.lower(): v for k, v in h.headers.items()}, "body": body, "port": h.client_address[1]}
        self.requests.append(request)
        fault = self.take_fault(h.command, parts.path)
        if fault == "drop":
            h.close_connection = True
            return
        if isinstance(fault, tuple):
            self.reply(h, *fault)
            return
        stream = self.streams.get((h.command, parts.path))
        if stream and fault != "lose":
            self.reply_stream(h, request, stream)
            return
        answer = self.route(request)
        if fault == "lose":
            h.close_connection = True
            return
        self.reply(h, *answer)

    def reply(self, h, status, body=None, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        h.send_response(status)
        for name, value in (headers or {}).items():
            h.send_header(name, value)
        h.send_header("Content-Length", str(len(data)))
        h.end_headers()
        if h.command != "HEAD":
            h.wfile.write(data)

    def reply_stream(self, h, request, stream):
        """stream(last_event_id) gives bytes to write; then the connection is cut."""
        h.send_response(200)
        h.send_header("Content-Type", "text/event-stream")
        h.end_headers()
        self.served_streams.append(request["headers"].get("last-event-id"))
        h.wfile.write(stream(request["headers"].get("last-event-id")))
        h.close_connection = True

    def route(self, r):
        method, path = r["method"], r["path"]
        if (method, path) in self.answers:
            answer = self.answers[method, path]
            return answer(r) if callable(answer) else answer
        if r["headers"].get("authorization") != "Bearer k":
            return problem(401, "unauthenticated", "no valid key", hint="use a key")
        if path.startswith("/v1/blobs/"):
            return self.blob(method, path.rsplit("/", 1)[1], r["body"])
        if method == "POST" and path == "/v1/tasks":
            return self.submit(r)
        parts = path.split("/")
        if path.startswith("/v1/tasks/") and parts[3] in self.tasks:
            return self.task(method, self.tasks[parts[3]], parts[4:])
        return problem(404, "not_found", f"nothing at {path}")

    def blob(self, method, sha, body):
        if method == "PUT":
            if hashlib.sha256(body).hexdigest() != sha:
                return problem(422, "invalid", "the bytes have another SHA-256")
            self.blobs[sha] = body
            return 201, {"sha256": sha, "size": len(body)}
        return (200, self.blobs[sha]) if sha in self.blobs else problem(404, "not_found", "no such blob")

    def submit(self, r):
        if r["query"].get("dry_run"):
            return 200, {"cost": {"p50": "0.1"}, "spec": json.loads(r["body"])}
        key = r["headers"].get("idempotency-key")
        if key in self.keys:
            return 202, self.tasks[self.keys[key]]
        task_id = f"tsk_{len(self.tasks) + 1:026d}"
        self.tasks[task_id] = {"id": task_id, "state": "succeeded", "reason": None, "spec": json.loads(r["body"]),
                               "cost": {"amount": "0.000012", "currency": "USD", "lines": []}}
        self.keys[key] = task_id
        return 202, self.tasks[task_id]

    def task(self, method, task, rest):
        if rest == ["result"]:
            if task["state"] not in ("succeeded", "failed", "canceled", "expired"):
                return 202, {"id": task["id"], "state": task["state"]}
            done = {"id": task["id"], "state": task["state"], "outputs": []}
            if task["state"] == "succeeded":
                return 200, {**done, "result": task.get("result", {"labels": [{"label": "tabby", "probability": 0.6}]})}
            return 200, {**done, "error": task.get("error", {"reason": task["state"]})}
        if rest == ["cancel"]:
            if task["state"] in ("queued", "starting", "running"):
                task["state"] = "canceled"
            return 200, task
        if rest == ["retry"]:
            return 201, dict(task, id="tsk_retried", state="queued")
        return 200, task
