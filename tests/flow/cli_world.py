"""The fgpu command with an environment of its own, for the tests that drive it as a user does."""
import json
import os
import pathlib
import subprocess

import pytest

from harness import PATIENCE_S, ROOT, eventually

BUILD = pathlib.Path(os.environ.get("FGPU_BUILD", ROOT / "build"))
FGPU = pathlib.Path(os.environ.get("FGPU_BIN", BUILD / "src" / "cli" / "fgpu"))
NEEDS_FGPU = pytest.mark.skipif(not FGPU.exists(), reason=f"{FGPU} is not built")


class Fgpu:
    """fgpu with an environment of its own."""

    def __init__(self, folder):
        self.data, self.home, self.work = folder / "data", folder / "home", folder / "work"
        for made in (self.home, self.work):
            made.mkdir()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("FGPU_", "XDG_"))}
        self.env.update(HOME=str(self.home), XDG_CONFIG_HOME=str(self.home / "config"), FGPU_DATA_DIR=str(self.data))

    def start(self, *args, cwd=None, **more):
        return subprocess.Popen([str(FGPU), *map(str, args)], env=self.env, cwd=cwd or self.work, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **more)

    def raw(self, *args, cwd=None, stdin=None, timeout=PATIENCE_S, env=None):
        return subprocess.run([str(FGPU), *map(str, args)], env={**self.env, **(env or {})}, cwd=cwd or self.work,
                              capture_output=True, input=stdin, timeout=timeout)

    def __call__(self, *args, code=0, **more):
        """stdout of a call that must end with this exit status."""
        ran = self.raw(*args, **more)
        assert ran.returncode == code, f"fgpu {args}: {ran.returncode}\n{ran.stdout.decode()}\n{ran.stderr.decode()}"
        self.err = ran.stderr.decode()
        return ran.stdout.decode()

    def fails(self, code, *args, **more):
        """stderr of a call that must fail with this exit status."""
        self(*args, code=code, **more)
        return self.err

    def one(self, *args, **more):
        at = args.index("--") if "--" in args else len(args)
        return json.loads(self(*args[:at], "--json", *args[at:], **more))


def running(fgpu, task):
    return eventually(lambda: fgpu.one("get", task)["state"] == "running")


@pytest.fixture
def alone(tmp_path):
    """Folders for tests that start and stop a system of their own."""
    made = Fgpu(tmp_path)
    yield made
    made("down", "--kill")
