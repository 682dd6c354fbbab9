"""What models/setup and models/photo share: pip kept inside the data folder, exact versions by hash, one at a time."""
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, NoReturn

HERE = Path(__file__).resolve().parent


def die(message: str, hint: str = "") -> NoReturn:
    name = Path(sys.argv[0]).name
    print(f"{name}: {message}", file=sys.stderr)
    if hint:
        print(f"{name}: {hint}", file=sys.stderr)
    sys.exit(1)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(data: Path) -> Iterator[Path]:
    """Only one run at a time in this data folder; yields a scratch folder below it, removed at the end."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = open(data / "setup.lock", "w")
    except OSError as error:
        die(f"cannot write to '{data}': {error.strerror}")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        scratch = data / "setup.tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def pip(python: Path, scratch: Path, arguments: List[str]) -> None:
    """pip that leaves nothing outside the data folder. Says what to do when it cannot download."""
    environ = dict(os.environ, PIP_NO_CACHE_DIR="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1",
                   PIP_ROOT_USER_ACTION="ignore", TMPDIR=str(scratch), PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run([str(python), "-m", "pip", *arguments, "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:"],
                          env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        say(done.stdout.rstrip()[-2000:])
        die("pip could not fetch a package; its last words are above",
            "it needs the Python package index, directly or through a mirror named in pip's own settings")
