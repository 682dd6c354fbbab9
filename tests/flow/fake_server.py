"""A server of the agent protocol for tests: one Unix socket, one thread, everything it heard kept in lists.

Frames: u32 LE header length, u32 LE payload length, JSON header with member "m", payload (src/wire/frame.h).
"""
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from harness import PATIENCE_S, ROOT

BUILD = Path(os.environ.get("FGPU_BUILD", ROOT / "build"))
AGENT = BUILD / "tests" / "flow" / "fg-agent"
STARTED, USAGE, FINISHED = 0, 1, 2
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id(prefix):
    number = int.from_bytes(os.urandom(16), "big") >> 1
    return prefix + "_" + "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def log_records(data):
    """(source, bytes) of every record; the last one must be whole."""
    at, out = 0, []
    while at < len(data):
        length, source, _, stamp = struct.unpack_from("<IB3sq", data, at)
        assert at + 16 + length <= len(data), "a record is cut"
        out.append((source, data[at + 16:at + 16 + length]))
        at += 16 + length
    return out


class FakeServer:
    def __init__(self, path, lease_s=60, heartbeat_s=1, auto_ack=True, auto_forget=True):
        self.path, self.lease_s, self.heartbeat_s = str(path), lease_s, heartbeat_s
        self.auto_ack, self.auto_forget = auto_ack, auto_forget
        self.answer_alive = True
        self.storeless = False
        self.changed = threading.Condition()
        self.hellos, self.reports, self.blobs, self.logs = [], [], {}, {}
        self.uploads, self.known, self.conn = {}, {}, None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.stop = False
        threading.Thread(target=self._accept, daemon=True).start()

    # --- wire ---
    def _accept(self):
        while not self.stop:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            try:
                self._serve(conn)
            except (OSError, EOFError):
                pass
            with self.changed:
                if self.conn is conn:
                    self.conn = None
                self.changed.notify_all()
            conn.close()

    def _read(self, conn, n):
        data = bytearray()
        while len(data) < n:
            piece = conn.recv(n - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def _serve(self, conn):
        while True:
            head, tail = struct.unpack("<II", self._read(conn, 8))
            header = json.loads(self._read(conn, head))
            payload = self._read(conn, tail)
            with self.changed:
                getattr(self, "_on_" + header["m"])(conn, header, payload)
                self.changed.notify_all()

    @staticmethod
    def _send(conn, header, payload=b""):
        text = json.dumps(header).encode()
        conn.sendall(struct.pack("<II", len(text), len(payload)) + text + payload)

    def send(self, header, payload=b""):
        with self.changed:
            self._wait(lambda: self.conn, "an agent")
            self._send(self.conn, header, payload)

    # --- what agents say ---
    def _on_hello(self, conn, header, _):
        if self.storeless:
            self._send(conn, {"m": "alive"})
            raise EOFError
        self.conn = conn
        self.hellos.append(header)
        keep = [{**a, "log_offset": len(self.logs.get((a["task"], a["attempt"]), b""))} for a in header["attempts"]
                if (a["task"], a["attempt"]) in self.known]
        self._send(conn, {"m": "welcome", "lease_s": self.lease_s, "heartbeat_s": self.heartbeat_s, "keep": keep})

    def _on_report(self, conn, header, _):
        self.reports.append(header)
        if not self.auto_ack:
            return
        ref = {"task": header["task"], "attempt": header["attempt"]}
        self._send(conn, {"m": "ack", "kind": header["kind"], "seq": header["seq"], **ref})
        if header["kind"] == FINISHED and self.auto_forget:
            self._send(conn, {"m": "forget", **ref})

    def _on_log(self, conn, header, payload):
        key = (header["task"], header["attempt"])
        log = self.logs.setdefault(key, bytearray())
        if header["offset"] != len(log):
            self._send(conn, {"m": "log_at", "task": key[0], "attempt": key[1], "offset": len(log)})
        else:
            log += payload

    def _on_blob_get(self, conn, header, _):
        data = self.blobs.get(header["sha256"])
        answer = {"m": "blob", "sha256": header["sha256"], "offset": header["offset"], "size": len(data or b"")}
        if data is None:
            answer["error"] = "no such blob"
        self._send(conn, answer, (data or b"")[header["offset"]:header["offset"] + (1 << 20)])

    def _on_blob_put(self, conn, header, payload):
        got = self.uploads.setdefault(header["sha256"], bytearray())
        if header["offset"] == 0:
            got.clear()
        assert header["offset"] == len(got)
        got += payload
        if len(got) == header["size"]:
            ok = hashlib.sha256(got).hexdigest() == header["sha256"]
            self.blobs[header["sha256"]] = bytes(self.uploads.pop(header["sha256"]))
            self._send(conn, {"m": "blob_ok", "sha256": header["sha256"], **({} if ok else {"error": "wrong digest"})})

    def _on_alive(self, conn, header, _):
        if self.answer_alive:
            self._send(conn, {"m": "alive"})

    # --- for tests ---
    def _wait(self, condition, what, timeout=PATIENCE_S):
        end = time.monotonic() + timeout
        while not condition():
            left = end - time.monotonic()
            assert left > 0, f"no {what} within {timeout} s; reports: {[(r['kind'], r.get('outcome')) for r in self.reports[-5:]]}"
            self.changed.wait(left)
        return condition()

    def put(self, data):
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def workdir(self, files, dirs=()):
        rows = [{"path": path, "blob": self.put(data), "mode": 0o644, "size": len(data)} for path, data in files.items()]
        return "blob:" + self.put(json.dumps({"files": rows, "dirs": list(dirs)}).encode())

    def start(self, command=None, memory=256 << 20, share=500, epoch=1, attempt=1, task=None, device="cpu0", beside=None, **spec):
        task = task or new_id("tsk")
        self.known[task, attempt] = True
        if command is not None:
            spec = {"task_type": "command", "command": command, **spec}
        lease = {"device": 1, "node": self.hellos[-1]["node"] if self.hellos else new_id("nod"), "epoch": epoch, "memory_bytes": memory,
                 "share_permille": share, "granted_ns": 0, "deadline_ns": 0, "price_nanousd_per_s": 0, "memory_level": "kernel",
                 "share_level": "kernel", **(beside or {})}
        self.send({"m": "start", "task": task, "tenant": new_id("ten"), "attempt": attempt, "lease": lease, "device_name": device,
                   "spec": spec})
        return task

    def kill(self, task, reason="none", attempt=1):
        self.send({"m": "kill", "task": task, "attempt": attempt, "reason": reason})

    def report(self, task, kind):
        def found():
            return next((r for r in self.reports if r["task"] == task and r["kind"] == kind), None)
        with self.changed:
            return self._wait(found, f"report {kind} of {task}")

    def finished(self, task):
        return self.report(task, FINISHED)["outcome"]

    def text(self, task, attempt=1, sources=(1, 2)):
        with self.changed:
            return b"".join(d for s, d in log_records(bytes(self.logs.get((task, attempt), b""))) if s in sources).decode(errors="replace")

    def wait_text(self, task, part):
        with self.changed:
            self._wait(lambda: part in b"".join(d for _, d in log_records(bytes(self.logs.get((task, 1), b"")))).decode(errors="replace"),
                       f"'{part}' in the log")

    def wait_hello(self, count):
        with self.changed:
            self._wait(lambda: len(self.hellos) >= count, f"hello {count}")

    def drop(self):
        with self.changed:
            if self.conn:
                self.conn.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.stop = True
        self.listener.close()
        self.drop()


def public_copy(program, folder):
    """program where other users may run it: the checkout may be closed to them, below /root for instance."""
    copy = Path(folder) / program.name
    if not copy.exists():
        shutil.copy(program, copy)
        copy.chmod(0o755)
    return copy


class Agent:
    """The real agent on a folder of its own; stopped, and its tasks with it, at the end."""

    def __init__(self, data, *settings, user=None):
        self.data, self.settings, self.user = Path(data), list(settings), user
        self.process = None
        self.run()

    def run(self):
        command = [str(public_copy(AGENT, self.data) if self.user else AGENT), f"data_dir={self.data}", *self.settings]
        extra = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        self.log = open(self.data / "agent.log", "ab")
        claims = self.data / "claims"    # what this agent leases is nobody else's matter
        if not claims.exists():
            claims.mkdir()
            claims.chmod(0o1777)
        env = dict(os.environ, HOME=str(self.data), FGPU_CONFIG="", FGPU_CLAIMS_DIR=str(claims))
        self.process = subprocess.Popen(command, stderr=self.log, env=env, cwd="/", **extra)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0

    def folders(self):
        return sorted(p.name for p in (self.data / "agent" / "attempts").iterdir())

    def supervisors(self):
        """pid by attempt of those that live, by their run.json."""
        out = {}
        for run in (self.data / "agent" / "attempts").glob("tsk_*/run.json"):
            pid = json.loads(run.read_text())["pid"]
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z":             # a zombie has ended; who adopted it may take its time
                out[run.parent.name] = pid
        return out

    def stderr(self):
        return (self.data / "agent.log").read_text()
