"""The SDK and the worker are imported from the tree, and nothing of the caller's own settings reaches a test."""
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "python"), str(Path(__file__).resolve().parent)]

from fake_api import FakeServer  # noqa: E402


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in ("FGPU_URL", "FGPU_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def server():
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def client(server):
    import fgpu
    with fgpu.Client("k", server.url, timeout=60, patience=3) as made:
        yield made
