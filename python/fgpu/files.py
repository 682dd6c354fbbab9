"""Local files become blobs: hashed, sent once, named blob:SHA256. The server never opens a path that a client names."""
from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Callable, Dict, List, Mapping, Tuple, Union

from .errors import FgpuError, InputMissing, InvalidInput, ServerUnavailable, from_problem
from .ignore import Ignore
from .transport import FAILURES, Transport, raise_for

PathLike = Union[str, "os.PathLike[str]"]
BLOB = re.compile(r"blob:[0-9a-f]{64}")
BLOCK = 1 << 20


def is_blob(value: object) -> bool:
    return isinstance(value, str) and BLOB.fullmatch(value) is not None


def must_exist(path: PathLike) -> str:
    """The path with ~ expanded; InputMissing when nothing is there."""
    full = os.path.expanduser(os.fspath(path))
    if not os.path.exists(full):
        raise InputMissing(f"there is no file '{full}'", hint=f"looked from {os.getcwd()}; nothing was sent", code="invalid")
    return full


def digest_of(file: BinaryIO) -> Tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for block in iter(lambda: file.read(BLOCK), b""):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


class Files:
    """client.files"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(self, source: Union[PathLike, bytes]) -> str:
        """Upload a file, a folder (as the manifest of a workdir) or bytes; the answer is its blob:SHA256."""
        if isinstance(source, bytes):
            data = source
            return self._put(lambda: io.BytesIO(data))
        path = must_exist(source)
        return self.upload_folder(path) if os.path.isdir(path) else self._put(lambda: _open(path))

    def _put(self, opened: Callable[[], BinaryIO]) -> str:
        for last in (False, True):
            with opened() as file:
                sha256, size = digest_of(file)
            path = f"/v1/blobs/{sha256}"
            head = self._transport.call("HEAD", path)
            if head.status == 404:
                answer = self._transport.call("PUT", path, body=(opened, size), headers={"Content-Type": "application/octet-stream"})
                if answer.status == 422 and not last:
                    continue    # it changed between hashing and sending: hash it again, once
                raise_for(answer)
            elif head.status >= 300:
                raise from_problem(head.status, None)
            return "blob:" + sha256
        raise AssertionError("unreachable")

    def upload_folder(self, folder: PathLike) -> str:
        """Upload a folder's files, less what .fgpuignore names, and the manifest that lists them."""
        root = must_exist(folder)
        found, empty = walk(root)
        with ThreadPoolExecutor(max_workers=4) as pool:
            blobs = list(pool.map(lambda name: self._put(lambda: _open(os.path.join(root, name))), found))
        rows = []
        for name, blob in zip(found, blobs):
            status = os.stat(os.path.join(root, name))
            rows.append({"path": name, "blob": blob, "mode": status.st_mode & 0o777, "size": status.st_size})
        manifest = json.dumps({"files": rows, "dirs": empty}, separators=(",", ":"), ensure_ascii=False).encode()
        return self._put(lambda: io.BytesIO(manifest))

    def download(self, blob: str, path: PathLike) -> str:
        """Write a blob to a local file, whole or not at all; returns the path. Its bytes are checked against its name."""
        if not is_blob(blob):
            raise InvalidInput(f"'{blob}' is not a blob", hint="blob: and 64 hexadecimal digits", code="invalid")
        full = os.path.expanduser(os.fspath(path))
        folder = os.path.dirname(full) or "."
        os.makedirs(folder, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=".fgpu-", dir=folder)
        try:
            with os.fdopen(handle, "w+b") as out:
                self._fetch(blob[5:], out)
            os.chmod(partial, 0o666 & ~_umask())
            os.replace(partial, full)
        except BaseException:
            os.unlink(partial)
            raise
        return full

    def read(self, blob: str) -> bytes:
        """A blob's bytes, in memory."""
        if not is_blob(blob):
            raise InvalidInput(f"'{blob}' is not a blob", hint="blob: and 64 hexadecimal digits", code="invalid")
        out = io.BytesIO()
        self._fetch(blob[5:], out)
        return out.getvalue()

    def _fetch(self, sha256: str, out: BinaryIO) -> None:
        """Copy a blob into out, going on where it broke off."""
        for tries in range(5):
            have = out.seek(0, os.SEEK_END)
            try:
                response = self._transport.open(f"/v1/blobs/{sha256}", headers={"Range": f"bytes={have}-"} if have else {})
                with response:
                    if have and response.status != 206:
                        out.seek(0)
                        out.truncate()
                    for block in iter(lambda: response.read(BLOCK), b""):
                        out.write(block)
                break
            except FAILURES as error:
                if tries == 4:
                    raise ServerUnavailable(f"the download of {sha256[:12]} broke: {error}", code="unreachable", retryable=True) from error
        verify(sha256, out)


def verify(sha256: str, out: BinaryIO) -> None:
    out.seek(0)
    found = digest_of(out)[0]
    if found != sha256:
        raise FgpuError(f"the download of blob {sha256[:12]} is damaged: its bytes hash to {found[:12]}", code="io", retryable=True)


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputMissing(f"cannot read '{path}': {error.strerror}", code="invalid") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def walk(root: str) -> Tuple[List[str], List[str]]:
    """(files, empty folders) below root that .fgpuignore leaves, as sorted relative paths with /."""
    lines: List[str] = []
    ignore_path = os.path.join(root, ".fgpuignore")
    if os.path.isfile(ignore_path):
        with open(ignore_path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    ignore, files, empty = Ignore(lines), [], []
    for folder, below, names in os.walk(root):
        at = os.path.relpath(folder, root)
        prefix = "" if at == "." else at.replace(os.sep, "/") + "/"
        below[:] = sorted(d for d in below if not ignore.drops(prefix + d, True) and _is_real_folder(root, prefix + d))
        kept = [prefix + n for n in names if not ignore.drops(prefix + n, False)]
        files += [name for name in kept if _is_file(root, name)]
        if prefix and not below and not kept:
            empty.append(prefix[:-1])
    return sorted(files), sorted(empty)


def _is_real_folder(root: str, name: str) -> bool:
    path = os.path.join(root, name)
    if os.path.islink(path):
        raise InvalidInput(f"'{name}' is a link to a folder; a workdir holds plain files and folders",
                           hint=f"name it in {os.path.join(root, '.fgpuignore')} or copy what it points to", code="invalid")
    return True


def _is_file(root: str, name: str) -> bool:
    """Plain files, and links to files inside the folder; a link that leads out of it is an error, never followed."""
    path = os.path.join(root, name)
    if os.path.islink(path):
        target = os.path.realpath(path)
        if not target.startswith(os.path.realpath(root) + os.sep):
            raise InvalidInput(f"'{name}' is a link that leads out of the folder",
                               hint=f"name it in {os.path.join(root, '.fgpuignore')} or copy what it points to", code="invalid")
    return os.path.isfile(path)


def prepare_spec(spec: Mapping[str, Any], files: Files) -> Dict[str, Any]:
    """A copy of a task spec with every local path uploaded and named by its blob. All paths are checked first."""
    ready = dict(spec)
    uploads: List[Tuple[Callable[[str], None], Union[str, bytes]]] = []
    inputs = ready.get("input_data")
    if isinstance(inputs, Mapping):
        ready["input_data"] = inner = dict(inputs)
        for name, value in inner.items():
            _plan(uploads, inner, name, value, f"/input_data/{name}")
    elif inputs is not None:
        _plan(uploads, ready, "input_data", inputs, "/input_data")
    if ready.get("workdir") is not None:
        _plan(uploads, ready, "workdir", ready["workdir"], "/workdir", folder=True)
    for store, source in uploads:
        store(files.upload(source))
    return ready


def _plan(uploads: List[Tuple[Callable[[str], None], Union[str, bytes]]], place: Dict[str, Any], name: str, value: Any,
          pointer: str, folder: bool = False) -> None:
    if is_blob(value):
        return
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise InvalidInput(f"{pointer} must be a local path or a blob, not {type(value).__name__}", pointer=pointer, code="invalid")
    source: Union[str, bytes] = value if isinstance(value, bytes) else must_exist(value)
    if not isinstance(source, bytes) and os.path.isdir(source) != folder:
        raise InvalidInput(f"{pointer}: '{source}' is {'not ' if folder else ''}a folder", pointer=pointer, code="invalid")
    uploads.append((lambda blob: place.__setitem__(name, blob), source))
