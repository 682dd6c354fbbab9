"""An agent that only talks: the frames of src/wire/frame.h and the messages of src/wire/agent_proto.h, and no process is
ever run. What happens to a task is what the test says happens."""
import hashlib
import json
import os
import secrets
import socket
import struct
import threading
import time

from harness import PATIENCE_S

LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
GIB = 1 << 30
STDOUT, STDERR, SYSTEM = 1, 2, 3


def new_id(prefix):
    value = int(time.time() * 1000) << 80 | secrets.randbits(80)
    return prefix + "_" + "".join(LETTERS[value >> 5 * i & 31] for i in reversed(range(26)))


def device(name="cpu0", memory=4 * GIB, **more):
    return {"name": name, "kind": "cpu", "backend": "cpu", "memory_bytes": memory, "units": 2, "gflops": 10.0,
            "memory_level": "kernel", "share_level": "kernel", "level_why": "", "healthy": True, **more}


def record(source, data, time_ns=None):
    """One record of a log file (src/wire/logfile.h)."""
    time_ns = time.time_ns() if time_ns is None else time_ns
    return struct.pack("<IB3xq", len(data), source, time_ns) + data


class FakeAgent:
    def __init__(self, server, node=None, devices=None, attempts=(), name="fake"):
        self.server, self.node, self.name = server, node or new_id("nod"), name
        self.devices = [device()] if devices is None else devices
        self.attempts = list(attempts)
        self.inbox, self.arrived, self.socket = [], threading.Condition(), None
        self.ended = False

    # --- the connection ---

    def connect(self, hello=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(self.server.socket)
        self.ended = False
        self.inbox.clear()
        threading.Thread(target=self._read, args=(self.socket,), daemon=True).start()
        if hello:
            self.hello()
            self.welcome = self.expect("welcome")[0]
        return self

    def hello(self):
        self.send("hello", proto=1, node=self.node, name=self.name, boot_id="boot", devices=self.devices, attempts=self.attempts)

    def close(self):
        if self.socket:
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.socket.close()

    def __enter__(self):
        return self.connect()

    def __exit__(self, *_):
        self.close()

    def _exactly(self, sock, n):
        data = b""
        while len(data) < n:
            piece = sock.recv(n - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data

    def _read(self, sock):
        try:
            while True:
                header_len, payload_len = struct.unpack("<II", self._exactly(sock, 8))
                header = json.loads(self._exactly(sock, header_len))
                payload = self._exactly(sock, payload_len)
                with self.arrived:
                    self.inbox.append((header, payload))
                    self.arrived.notify_all()
        except (OSError, ConnectionError):
            with self.arrived:
                if sock is self.socket:
                    self.ended = True
                self.arrived.notify_all()

    def send(self, message, payload=b"", **members):
        header = json.dumps({"m": message, **members}).encode()
        self.socket.sendall(struct.pack("<II", len(header), len(payload)) + header + payload)

    def raw(self, data):
        self.socket.sendall(data)

    def expect(self, message, timeout=PATIENCE_S, **members):
        """Take the first message of that name with those members out of what came: (header, payload)."""
        end = time.monotonic() + timeout
        with self.arrived:
            while True:
                for i, (header, payload) in enumerate(self.inbox):
                    if header["m"] == message and all(header.get(k) == v for k, v in members.items()):
                        del self.inbox[i]
                        return header, payload
                left = end - time.monotonic()
                if left <= 0 or (self.ended and not self.inbox):
                    raise AssertionError(f"no {message} {members}; came: {[h for h, _ in self.inbox]}")
                self.arrived.wait(min(left, 0.5))

    def expect_none(self, message, during=0.3, **members):
        try:
            got = self.expect(message, during, **members)
        except AssertionError:
            return
        raise AssertionError(f"an unexpected {got}")

    def closed(self, timeout=PATIENCE_S):
        end = time.monotonic() + timeout
        with self.arrived:
            while not self.ended and time.monotonic() < end:
                self.arrived.wait(0.1)
            return self.ended

    # --- what an agent does ---

    def start(self, task=None):
        """The next start, or that of a task."""
        return self.expect("start", **({"task": task} if task else {}))[0]

    def report(self, start, kind, seq, **members):
        self.send("report", task=start["task"], attempt=start["attempt"], epoch=start["lease"]["epoch"], kind=kind, seq=seq, **members)

    def started(self, start, pull_ns=1000000, ack=True):
        self.report(start, 0, 1, pull_ns=pull_ns)
        if ack:
            self.expect("ack", task=start["task"], kind=0)

    @staticmethod
    def usage(seq, **more):
        return {"seq": seq, "device_ns": 1000000000, "wall_ns": 2000000000, "memory_peak_bytes": 5 << 20, "throttled_ns": 0,
                "denied": 0, **more}

    def used(self, start, seq, **more):
        self.report(start, 1, seq, usage=self.usage(seq, **more))

    def finished(self, start, state="succeeded", reason="none", exit_code=0, seq=9, ack=True, **more):
        outcome = {"state": state, "reason": reason, "exit_code": exit_code, "signal": 0, "pull_ns": 1000000, "load_ns": 0,
                   "run_ns": 2000000000, "usage": self.usage(seq), **more}
        self.report(start, 2, seq, outcome=outcome)
        if ack:
            self.expect("ack", task=start["task"], kind=2)
            self.expect("forget", task=start["task"])

    def log(self, start, offset, data):
        self.send("log", data, task=start["task"], attempt=start["attempt"], offset=offset)
        return offset + len(data)

    def run(self, task=None, log=b"", **end):
        """A whole attempt: start, log, end."""
        start = self.start(task)
        self.started(start)
        if log:
            self.log(start, 0, log)
        self.finished(start, **end)
        return start

    def put_blob(self, data, piece=100000):
        sha256 = hashlib.sha256(data).hexdigest()
        for at in range(0, max(len(data), 1), piece):
            self.send("blob_put", data[at:at + piece], sha256=sha256, size=len(data), offset=at)
        answer = self.expect("blob_ok", sha256=sha256)[0]
        assert not answer.get("error"), answer
        return sha256

    def get_blob(self, sha256):
        data = b""
        while True:
            self.send("blob_get", sha256=sha256, offset=len(data))
            header, piece = self.expect("blob", sha256=sha256)
            if header.get("error"):
                raise FileNotFoundError(header["error"])
            data += piece
            if len(data) >= header["size"]:
                return data


def sha256_of(data):
    return hashlib.sha256(data).hexdigest()


def can_mount():
    return os.geteuid() == 0
