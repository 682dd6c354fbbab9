"""A FastGPU of its own for one measurement: folders, port, key; serve alone or serve and agent. Not a load generator."""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FGPU = os.environ.get("FGPU_BIN", str(ROOT / "build/src/cli/fgpu"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, folder, agent):
        self.data, self.config = folder / "data", folder / "config"
        self.port = free_port()
        self.env = dict(os.environ, XDG_CONFIG_HOME=str(self.config), FGPU_DATA_DIR=str(self.data),
                        FGPU_LISTEN=f"127.0.0.1:{self.port}", FGPU_URL=f"http://127.0.0.1:{self.port}")
        self.env.pop("FGPU_API_KEY", None)
        self.with_agent, self.procs = agent, {}
        self.start_serve()
        if agent:
            self.spawn("agent")
            self.wait(lambda: any(d.get("healthy", True) for d in self.call("GET", "/v1/devices")["devices"]), "a device")

    def spawn(self, verb):
        log = open(self.data.parent / f"{verb}.log", "ab")
        self.procs[verb] = subprocess.Popen([FGPU, verb], env=self.env, stdout=log, stderr=log)

    def start_serve(self):
        """Start serve and return the seconds until /readyz says yes."""
        begin = time.monotonic()
        self.spawn("serve")
        self.wait(self.ready, "readyz", step=0.002)
        took = time.monotonic() - begin
        text = (self.config / "fastgpu/credentials").read_text()
        self.key = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)["key"].strip()
        return took

    def ready(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            c.request("GET", "/readyz")
            return c.getresponse().status == 200
        except OSError:
            return False
        finally:
            c.close()

    def wait(self, test, what, limit=60, step=0.02):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if test():
                return
            dead = [v for v, p in self.procs.items() if p.poll() is not None]
            if dead:
                raise RuntimeError(f"{dead[0]} ended: " + (self.data.parent / f"{dead[0]}.log").read_text()[-2000:])
            time.sleep(step)
        raise RuntimeError(f"waited {limit} s for {what}")

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def call(self, method, path, body=None, conn=None):
        c = conn or self.connect()
        headers = {"Authorization": f"Bearer {self.key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        c.request(method, path, None if body is None else json.dumps(body), headers)
        r = c.getresponse()
        text = r.read()
        if r.status >= 300:
            raise RuntimeError(f"{method} {path}: {r.status} {text[:300]!r}")
        return json.loads(text) if text else None

    def rss_mb(self, verb="serve"):
        for line in open(f"/proc/{self.procs[verb].pid}/status", encoding="ascii"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0

    def stop(self, verb):
        p = self.procs.pop(verb, None)
        if p and p.poll() is None:
            p.send_signal(signal.SIGTERM)
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()


@contextlib.contextmanager
def server(agent=False):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fgpu-bench-"))
    (folder / "data").mkdir()
    s = None
    try:
        s = Server(folder, agent)
        yield s
    finally:
        for verb in list(s.procs) if s else []:
            s.stop(verb)
        shutil.rmtree(folder, ignore_errors=True)
