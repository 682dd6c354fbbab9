"""A real server on a free port with its own data folder, and a small HTTP client for it. Standard library only."""
import http.client
import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
# How long a test waits for what must come, at the least. A wait ends when it has come, so this costs only a test that fails; a
# machine under load takes its time.
PATIENCE_S = 120


def program():
    """$FGPU_BIN, the built fgpu, or the server alone; as the start of a command line."""
    chosen = os.environ.get("FGPU_BIN")
    if chosen:
        return [chosen, "serve"]
    build = pathlib.Path(os.environ.get("FGPU_BUILD", ROOT / "build"))
    fgpu = build / "src/cli/fgpu"
    return [str(fgpu), "serve"] if fgpu.exists() else [str(build / "tests/flow/fg-serve")]


def eventually(check, timeout=PATIENCE_S, every=0.02):
    """The first true value of check(), which is asked again until the time is up; then its last value."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value or time.monotonic() > end:
            return value
        time.sleep(every)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:600]!r}>"


class Server:
    def __init__(self, folder, **settings):
        self.folder = pathlib.Path(folder)
        self.data = pathlib.Path(settings.pop("data_dir", self.folder / "data"))
        self.settings = {"listen": "127.0.0.1:0", **settings}
        self.process = self.url = None
        self.connection = None

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("FGPU_") and not k.startswith("XDG_")}
        env |= {"XDG_CONFIG_HOME": str(self.folder / "config"), "FGPU_DATA_DIR": str(self.data)}
        return env | {"FGPU_" + k.upper().replace(".", "_"): str(v) for k, v in self.settings.items()}

    def start(self, wait=PATIENCE_S):
        ready = self.data / "server.json"
        ready.unlink(missing_ok=True)
        self.log = open(self.folder / "server.log", "ab")
        self.process = subprocess.Popen(program(), env=self.environment(), stdout=self.log, stderr=self.log)
        eventually(lambda: ready.exists() or self.process.poll() is not None, wait)
        assert ready.exists(), f"the server did not start:\n{self.log_text()}"
        self.url = json.loads(ready.read_text())["url"]
        return self

    def log_text(self):
        return (self.folder / "server.log").read_text(errors="replace")

    def stop(self, how=signal.SIGTERM):
        """Ends it, and returns how it ended. What it printed must hold no sanitizer's report."""
        if self.connection:
            self.connection.close()
            self.connection = None
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(PATIENCE_S)
        self.process = None
        self.log.close()
        assert "Sanitizer" not in self.log_text() and "runtime error" not in self.log_text(), self.log_text()
        return code

    def kill(self):
        return self.stop(signal.SIGKILL)

    def restart(self, how=signal.SIGTERM):
        self.stop(how)
        return self.start()

    @property
    def socket(self):
        return str(self.data / "agent.sock")

    def credentials(self):
        text = (self.folder / "config/fastgpu/credentials").read_text()
        return dict(line.split(": ", 1) for line in text.splitlines())

    @property
    def key(self):
        return self.credentials()["key"]

    # --- requests ---

    def connect(self, timeout=PATIENCE_S):
        address = urllib.parse.urlsplit(self.url)
        return http.client.HTTPConnection(address.hostname, address.port, timeout=timeout)

    def request(self, method, path, body=None, key=..., headers=None, **more):
        """One request on a kept connection. body: bytes, or what becomes JSON. key: the owner's unless given; None: none."""
        headers = {**(headers or {}), **{k.replace("_", "-"): v for k, v in more.items()}}
        if key is ...:
            key = self.key
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        for again in (False, True):
            if self.connection is None:
                self.connection = self.connect()
            try:
                self.connection.request(method, path, body, headers)
                got = self.connection.getresponse()
                return Answer(got.status, got.headers, got.read())
            except (ConnectionError, http.client.BadStatusLine):
                self.connection.close()
                self.connection = None
                if again:
                    raise

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.request("POST", path, body, **kw)

    def submit(self, spec=None, **kw):
        """A task, accepted: its JSON."""
        answer = self.post("/v1/tasks", spec or command("true"), **kw)
        assert answer.status in (200, 201, 202), answer
        return answer.json

    def task(self, task_id):
        return self.get(f"/v1/tasks/{task_id}").json

    def stream(self, path, key=..., **headers):
        return Stream(self, path, self.key if key is ... else key, {k.replace("_", "-"): v for k, v in headers.items()})


class Stream:
    """text/event-stream, event by event."""

    def __init__(self, server, path, key, headers):
        self.connection = server.connect()
        self.connection.request("GET", path, headers={"Accept": "text/event-stream", "Authorization": f"Bearer {key}", **headers})
        self.response = self.connection.getresponse()
        self.status = self.response.status
        self.headers = self.response.headers

    def __iter__(self):
        event = {}
        for raw in self.response:
            line = raw.decode().rstrip("\n")
            if not line:
                if "data" in event:
                    yield event
                event = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                event[name] = value

    def until_done(self):
        """Every event up to `done`, which is the last."""
        events = list(self)
        assert events and events[-1]["event"] == "done", events[-3:]
        return events[:-1]

    def close(self):
        self.response.close()
        self.connection.close()


def command(*argv, **more):
    return {"task_type": "command", "command": list(argv), **more}
