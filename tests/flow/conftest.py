"""A server for each test, or one for a file of tests that do not disturb each other."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from fake_agent import FakeAgent  # noqa: E402
from harness import Server  # noqa: E402


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path).start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("server")).start()
    yield made
    made.stop()


@pytest.fixture
def agent(server):
    with FakeAgent(server) as made:
        yield made
