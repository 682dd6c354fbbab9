"""The SDK against a real server and agent: `fgpu up` on a port and folders of its own.

FGPU_BIN names the program (default: build/src/cli/fgpu).
"""
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import PATIENCE_S, eventually

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(os.environ.get("FGPU_BIN", ROOT / "build/src/cli/fgpu"))
DATA = Path(os.environ.get("FGPU_BUILD", ROOT / "build")) / "test-data"
VENV_PYTHON = DATA / "venv/bin/python3"
START_S = PATIENCE_S

if not BIN.exists():
    pytest.skip(f"no {BIN}: build first, or set FGPU_BIN", allow_module_level=True)
sys.path.insert(0, str(ROOT / "python"))

import fgpu  # noqa: E402


class Up:
    """`fgpu up` with its own data, configuration and port."""

    def __init__(self, folder):
        self.config = folder / "config"
        self.credentials = self.config / "fastgpu/credentials"
        self.log = open(folder / "up.log", "wb")
        self.env = {**{k: v for k, v in os.environ.items() if not k.startswith("FGPU_")}, "XDG_CONFIG_HOME": str(self.config)}
        self.process = subprocess.Popen(
            [str(BIN), "up", "--listen", "127.0.0.1:0", "--data-dir", str(folder / "data"), "--set", f"models_dir={ROOT / 'models'}",
             "--set", f"worker_python={VENV_PYTHON}"],
            env=self.env, stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.wait_until_it_has_a_device(Path(self.log.name))

    def wait_until_it_has_a_device(self, log):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            assert self.process.poll() is None, f"fgpu up ended: {log.read_text()[-2000:]}"
            if self.credentials.exists():
                lines = dict(line.split(": ", 1) for line in self.credentials.read_text().splitlines())
                with fgpu.Client(lines["key"], lines["url"], patience=START_S) as client:
                    if client.devices():
                        return
            time.sleep(0.05)
        raise AssertionError(f"no device after {START_S} s: {log.read_text()[-2000:]}")

    def command(self, *words):
        return subprocess.run([str(BIN), *map(str, words)], env=self.env, capture_output=True, text=True, timeout=PATIENCE_S)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.log.close()


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    running = Up(tmp_path_factory.mktemp("up"))
    yield running
    running.stop()


@pytest.fixture
def client(up, monkeypatch):
    monkeypatch.delenv("FGPU_URL", raising=False)
    monkeypatch.delenv("FGPU_API_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(up.config))
    with fgpu.Client("your_api_key") as made:
        yield made


@pytest.fixture(scope="module")
def photo(up):
    """A photograph, once the starter model can run on it."""
    if not VENV_PYTHON.exists():
        pytest.skip(f"no worker environment in {DATA}: run models/setup {DATA}")
    weights = subprocess.run([str(ROOT / "models/setup"), str(DATA)], capture_output=True, text=True, check=True).stdout.strip()
    found = subprocess.run([str(ROOT / "models/photo"), str(DATA)], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"no photograph: {found.stderr.strip()[-300:]}")
    imported = up.command("models", "import", "efficientnet_lite0", weights)
    assert imported.returncode == 0, imported.stderr
    return found.stdout.strip()


def test_a_command_runs_and_its_output_cost_and_exit_code_come_back(client):
    task = client.run(command="echo out; echo err >&2; echo $NAME", env={"NAME": "fast gpu"}, memory="64MB")
    assert task.state == "succeeded" and task.result()["exit_code"] == 0 and float(task.cost.amount) >= 0
    lines = list(task.logs())
    assert sorted((line, line.source) for line in lines) == [("err", "stderr"), ("fast gpu", "stdout"), ("out", "stdout")]
    assert list(task.logs(source="stderr")) == ["err"]


def test_a_failed_command_raises_with_its_reason_and_last_output(client):
    with pytest.raises(fgpu.TaskFailed) as caught:
        client.run(command="echo going; echo broken >&2; exit 7", memory="64MB")
    error = caught.value
    assert (error.reason, error.exit_code) == ("user_error", 7) and "broken" in error.log_tail and error.hint
    assert "broken" in str(error) and "user_error" in str(error)


def test_logs_are_followed_while_the_task_runs(client):
    task = client.submit(command="for i in 1 2 3 4 5; do echo $i; sleep 0.2; done", memory="64MB")
    assert list(task.logs(follow=True)) == ["1", "2", "3", "4", "5"]
    assert task.wait(PATIENCE_S).state == "succeeded"


def test_events_tell_the_whole_route(client):
    task = client.run(command=["true"], memory="64MB")
    names = [event["event"] for event in task.events(follow=True)]
    route = ["task.submitted", "task.classified", "task.placed", "lease.granted", "task.started", "task.finished", "task.settled"]
    assert [name for name in names if name in route] == route


def test_a_folder_goes_in_and_files_come_out(client, tmp_path):
    work = tmp_path / "work"
    (work / "data").mkdir(parents=True)
    (work / "data/numbers.txt").write_text("1\n2\n3\n")
    (work / "sum.sh").write_text("#!/bin/sh\nawk '{s += $1} END {print s}' data/numbers.txt > total.txt\ncp total.txt $FGPU_OUTPUT_DIR/copy.txt\n")
    os.chmod(work / "sum.sh", 0o755)
    task = client.run(command=["./sum.sh"], workdir=work, outputs=["total.txt"], memory="64MB")
    assert {Path(p).name: Path(p).read_text() for p in task.download(tmp_path / "out")} == {"total.txt": "6\n", "copy.txt": "6\n"}


def test_a_running_task_is_canceled(client):
    task = client.submit(command=["sleep", "600"], memory="64MB")
    assert eventually(lambda: task.refresh().state == "running")
    task.cancel()
    with pytest.raises(fgpu.TaskCanceled):
        task.result(timeout=PATIENCE_S)


def test_waiting_gives_up_and_the_task_goes_on(client):
    task = client.submit(command=["true"], memory="64MB", hold=True)
    with pytest.raises(fgpu.TaskTimeout):
        task.result(timeout=0.5)
    assert task.release().result(timeout=PATIENCE_S)["exit_code"] == 0


def test_bad_specs_are_refused_with_their_place(client):
    with pytest.raises(fgpu.InvalidInput) as caught:
        client.submit_task({"task_type": "command", "comand": ["true"]})
    assert caught.value.pointer == "/comand" and "command" in caught.value.hint
    for bad in ({"share": 0}, {"share": 101}, {"memory": "900TB"}):
        with pytest.raises(fgpu.InvalidInput):
            client.submit(command=["true"], **bad)
    with pytest.raises(fgpu.InvalidInput, match="efficientnet_lite0"):
        client.submit("efficientnet_lite", b"x")
    with pytest.raises(fgpu.NotFound):
        client.tasks.get("tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    with fgpu.Client("fgpu_wrong", client.url) as stranger, pytest.raises(fgpu.AuthError):
        stranger.devices()


def test_lists_filters_quotes_and_why(client):
    tasks = [client.submit(command=["true"], memory="64MB", name=f"n{i}", labels={"set": "list"}) for i in range(3)]
    for task in tasks:
        task.wait(PATIENCE_S)
    assert [t.name for t in client.tasks.list(label="set=list")] == ["n2", "n1", "n0"]
    assert [t.id for t in client.tasks.list(label="set=list", limit=2)] == [tasks[2].id, tasks[1].id]
    assert tasks[0].why() and client.quote(command=["true"]) and client.nodes() and client.usage()
    assert {m["name"] for m in client.models()} >= {"efficientnet_lite0", "resnet50"}


def test_held_tasks_wait_until_they_are_released_and_ended_ones_run_again(client):
    task = client.submit(command=["true"], memory="64MB", hold=True)
    assert task.refresh().reason == "held"
    assert task.release().wait(PATIENCE_S).state == "succeeded"
    again = task.retry()
    assert again.id != task.id and again.wait(PATIENCE_S).state == "succeeded"


def test_the_same_submit_sent_twice_is_one_task(client):
    first = client.submit_spec({"task_type": "command", "command": ["true"]}, idempotency_key="once")
    assert client.submit_spec({"task_type": "command", "command": ["true"]}, idempotency_key="once").id == first.id
    with pytest.raises(fgpu.InvalidInput):
        client.submit_spec({"task_type": "command", "command": ["false"]}, idempotency_key="once")


def test_a_photograph_is_classified_with_real_weights(client, photo):
    result = client.run("efficientnet_lite0", {"image": photo}).result()
    assert result["labels"][0]["label"] == "espresso" and result["labels"][0]["probability"] > 0.9


def test_the_snippet_of_the_design_runs_with_the_starter_model(client, photo, tmp_path, monkeypatch, capsys):
    """The design's four lines, the model's name and the picture's path filled in."""
    (tmp_path / "snippet.py").write_text(f'''\
import lepton_ai_api
client = lepton_ai_api.Client("your_api_key")
task_id = client.submit_task({{"task_type": "image_classification", "model_name": "efficientnet_lite0",
                              "input_data": "{photo}"}})
result = client.get_task_result(task_id)
print(result)
''')
    runpy.run_path(str(tmp_path / "snippet.py"))
    assert "espresso" in capsys.readouterr().out


def test_what_is_no_picture_is_the_users_error(client, photo):
    with pytest.raises(fgpu.TaskFailed) as caught:
        client.run("efficientnet_lite0", b"no picture")
    assert caught.value.reason == "user_error" and "not an image" in str(caught.value)


def test_a_model_without_its_weights_says_how_to_bring_them(client, photo):
    """resnet50's public source is not reached from a test machine without a way out; where it is, the task succeeds."""
    task = client.run("resnet50", {"image": photo}, check=False)
    if task.state == "failed":
        assert task.reason == "pulling"
        with pytest.raises(fgpu.TaskFailed, match="fgpu models import resnet50 FILE"):
            task.result()


def test_map_classifies_in_order(client, photo):
    chelsea = str(Path(photo).with_name("chelsea.png"))
    tops = [r["labels"][0]["label"] for r in client.map("efficientnet_lite0", [photo, chelsea, photo], max_parallel=2)]
    assert tops[0] == tops[2] == "espresso" and tops[1] in ("tabby", "tiger cat", "Egyptian cat")
