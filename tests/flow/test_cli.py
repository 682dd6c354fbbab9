"""The fgpu command, driven as a user drives it: against the real server and agent, in folders of its own."""
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from cli_world import FGPU, Fgpu, NEEDS_FGPU, alone, running  # noqa: F401
from harness import PATIENCE_S, ROOT, eventually

pytestmark = NEEDS_FGPU


@pytest.fixture(scope="module")
def fgpu(tmp_path_factory):
    """One system for the tests that only use it."""
    made = Fgpu(tmp_path_factory.mktemp("cli"))
    made("up", "--detach", "--listen", "127.0.0.1:0")
    yield made
    made("down", "--kill")


@pytest.fixture
def folder(fgpu, tmp_path):
    """An empty working folder."""
    made = tmp_path / "w"
    made.mkdir()
    return made


# --- without a server ---

@pytest.fixture
def bare(tmp_path):
    return Fgpu(tmp_path)


def test_the_manual_is_what_the_tables_say(bare):
    assert bare("help", "--man") == (ROOT / "docs" / "man" / "fgpu.1").read_text(), \
        "build/src/cli/fgpu help --man > docs/man/fgpu.1"


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
def test_the_manual_has_no_lint():
    lint = subprocess.run(["mandoc", "-Tlint", str(ROOT / "docs" / "man" / "fgpu.1")], capture_output=True, text=True)
    assert lint.stdout == ""


def complete(bare, *words):
    script = bare("completion", "bash") + f"""
PATH={FGPU.parent}:$PATH
COMP_WORDS=({' '.join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}
_fgpu; printf '%s\\n' "${{COMPREPLY[@]}}" """
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=bare.env, cwd=bare.work)
    assert ran.stderr == ""
    return ran.stdout.split()


def test_bash_completes_verbs_options_choices_and_files(bare):
    (bare.work / "spec.json").touch()
    assert complete(bare, "fgpu", "su") == ["submit"]
    assert complete(bare, "fgpu", "mod") == ["models"]
    assert complete(bare, "fgpu", "models", "") == ["list", "import"]
    assert complete(bare, "fgpu", "run", "--time") == ["--time-limit"]
    assert complete(bare, "fgpu", "run", "--priority", "h") == ["high"]
    assert complete(bare, "fgpu", "submit", "--file", "sp") == ["spec.json"]
    assert "--json" in complete(bare, "fgpu", "ps", "--")
    assert complete(bare, "fgpu", "models", "import", "--fo") == ["--format"]


def test_every_verb_explains_itself(bare):
    verbs = re.findall(r"^  ((?:keys |models )?[a-z]+) {2,}", bare("--help"), re.M)
    assert len(verbs) > 25
    for verb in verbs:
        text = bare(*verb.split(), "--help")
        assert text.startswith(f"fgpu {verb} - ") and f"usage: fgpu {verb}" in text
        assert bare("help", *verb.split()) == text


def test_usage_errors_end_with_2_and_name_what_was_meant(bare):
    assert "Did you mean 'fgpu submit'?" in bare.fails(2, "sumbit")
    assert "Did you mean --json?" in bare.fails(2, "ps", "--jsn")
    assert "--mem" in bare.fails(2, "run", "--mem", "lots", "--", "true")
    assert "needs more" in bare.fails(2, "get")
    assert "not both" in bare.fails(2, "run", "model", "file", "--", "true")
    assert "nothing to run" in bare.fails(2, "run")
    assert "takes no '--'" in bare.fails(2, "ps", "--", "x")
    assert bare.raw().returncode == 2


def test_no_server_is_7_and_says_how_to_start_one(bare):
    error = bare.fails(7, "ps", "--url", "http://127.0.0.1:9")
    assert error.startswith("fgpu: ") and "hint: " in error and "fgpu up" in error


def test_version_starts_at_once_without_libcurl(bare):
    assert re.fullmatch(r"fgpu \d+\.\d+\.\d+\n", bare("version"))
    linked = subprocess.run(["ldd", str(FGPU)], capture_output=True, text=True).stdout
    assert "libcurl" not in linked  # opened at the first request: linking it costs 7 ms of every start


def test_down_where_nothing_runs_is_no_error(bare):
    bare("down")
    assert "nothing runs" in bare.err


def test_settings_tell_where_they_come_from(bare):
    config = bare.home / "config" / "fastgpu"
    config.mkdir(parents=True)
    (config / "config.yaml").write_text("lease_s: 77\n")
    found = json.loads(bare.raw("doctor", "--settings", "--json", "--set", "heartbeat_s=9", env={"FGPU_LOG_LEVEL": "debug"}).stdout)
    origin = {s["key"]: (s["value"], s["from"]) for s in found["settings"]}
    assert origin["lease_s"] == ("77", f"{config}/config.yaml:1")
    assert origin["heartbeat_s"] == ("9", "flag")
    assert origin["log_level"] == ("debug", "FGPU_LOG_LEVEL")
    assert origin["offline"] == ("0", "default")
    assert "Did you mean 'listen'" in bare.fails(2, "up", "--set", "lisen=x")


# --- running ---

def test_run_passes_output_and_exit_state(fgpu, folder):
    ran = fgpu.raw("run", "--", "sh", "-c", "echo out; echo err >&2", cwd=folder)
    assert (ran.returncode, ran.stdout) == (0, b"out\n")
    text = ran.stderr.decode()
    assert text.startswith("err\n")
    for word in ("succeeded", "queue", "run", "slice", "limits", "cost", "USD"):
        assert word in text
    ran = fgpu.raw("run", "--", "sh", "-c", "exit 3", cwd=folder)
    assert ran.returncode == 1 and b"user_error (exit code 3)" in ran.stderr and b"hint" in ran.stderr


def test_run_prints_the_tasks_bytes_exactly(fgpu, folder):
    data = bytes(range(256)) * 1000 + "Zürich 漢字\n".encode() * 3000
    (folder / "data").write_bytes(data)
    assert fgpu.raw("run", "-q", "--", "cat", "data", cwd=folder).stdout == data
    assert fgpu.raw("logs", "last").stdout == data


def test_quiet_run_prints_only_what_the_task_printed(fgpu, folder):
    ran = fgpu.raw("run", "-q", "--", "echo", "hi", cwd=folder)
    assert (ran.stdout, ran.stderr) == (b"hi\n", b"")


def test_the_folder_is_there_as_it_was_at_submit(fgpu, folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "prog.sh").write_text("#!/bin/sh\ncat data.txt\n")
    (folder / "sub" / "prog.sh").chmod(0o755)
    (folder / "data.txt").write_text("first\n")
    (folder / "junk.bin").write_text("x")
    (folder / "empty").mkdir()
    (folder / ".fgpuignore").write_text("*.bin\n")
    task = fgpu("submit", "--hold", "--", "sh", "-c", "sub/prog.sh; ls", cwd=folder).strip()
    (folder / "data.txt").write_text("second\n")
    fgpu("release", task)
    fgpu("wait", task)
    assert fgpu("logs", task) == "first\ndata.txt\nempty\nsub\n"


def test_a_second_submit_of_the_same_folder_sends_nothing(fgpu, folder):
    (folder / "data").write_bytes(os.urandom(100000))
    fgpu("run", "--", "true", cwd=folder)
    blobs = lambda: sorted(p.name for p in (fgpu.data / "blobs").rglob("*") if p.is_file())  # noqa: E731
    before = blobs()
    fgpu("run", "--", "true", cwd=folder)
    assert blobs() == before


def test_folders_that_should_not_be_copied_are_not(fgpu):
    out = fgpu("run", "--", "sh", "-c", "ls | wc -l", cwd=fgpu.home)
    assert out.strip() == "0" and "empty folder" in fgpu.err
    (fgpu.home / "prog.py").touch()
    assert "your home" in fgpu.fails(2, "run", "--", "python3", "prog.py", cwd=fgpu.home)
    assert "--workdir" in fgpu.err
    fgpu("run", "--workdir", ".", "--", "python3", "prog.py", cwd=fgpu.home)


def test_too_many_files_are_named_not_sent(fgpu, folder):
    for i in range(1001):
        (folder / f"{i}").touch()
    assert "more than 1000 files" in fgpu.fails(2, "run", "--", "cat", "1", cwd=folder)
    fgpu("run", "--no-workdir", "--", "true", cwd=folder)


def test_a_link_that_leads_out_is_refused(fgpu, folder):
    (folder / "passwd").symlink_to("/etc/passwd")
    assert "'passwd' is a link that leads out" in fgpu.fails(2, "run", "--", "true", cwd=folder)


def test_outputs_come_back(fgpu, folder):
    fgpu("run", "--output", "model/*.pt", "-o", folder / "got", "--", "sh", "-c",
         "mkdir model; echo a > model/a.pt; echo b > model/b.txt; echo c > $FGPU_OUTPUT_DIR/c", cwd=folder)
    found = {p.relative_to(folder / "got").as_posix(): p.read_text() for p in (folder / "got").rglob("*") if p.is_file()}
    assert found == {"model/a.pt": "a\n", "c": "c\n"}
    shutil.rmtree(folder / "got")
    fgpu("result", "last", "-o", folder / "got")
    assert (folder / "got" / "model" / "a.pt").read_text() == "a\n"


def test_an_output_cannot_be_written_through_a_link(fgpu, folder):
    (folder / "got").mkdir()
    (folder / "got" / "d").symlink_to(folder)
    fgpu.fails(7, "run", "--no-workdir", "-o", folder / "got", "--", "sh", "-c", "mkdir $FGPU_OUTPUT_DIR/d; echo x > $FGPU_OUTPUT_DIR/d/evil")
    assert not (folder / "evil").exists()


def test_environment_comes_from_options_files_and_here(fgpu, folder):
    (folder / "env").write_text("# comment\nA=1\nB=from file\n")
    out = fgpu("run", "--env-file", "env", "-e", "B=2", "-e", "HERE", "--", "sh", "-c", "echo $A $B $HERE", cwd=folder, env={"HERE": "3"})
    assert out == "1 2 3\n"
    assert "not set here" in fgpu.fails(2, "run", "-e", "NOWHERE", "--", "true")


def test_a_spec_can_come_from_a_file_or_stdin(fgpu, folder):
    spec = {"task_type": "command", "command": ["sh", "-c", "echo $X"], "env": {"X": "spec"}, "name": "one"}
    (folder / "spec.json").write_text(json.dumps(spec))
    assert fgpu("run", "-q", "-f", "spec.json", cwd=folder) == "spec\n"
    task = fgpu("submit", "-f", "-", "--name", "two", "--label", "k=v", stdin=json.dumps(spec).encode()).strip()
    assert fgpu.one("get", task)["name"] == "two"
    assert fgpu.one("get", task)["labels"] == {"k": "v"}
    (folder / "bad.json").write_text('{"task_type": "command", "comand": ["x"]}')
    error = fgpu.fails(2, "submit", "-f", "bad.json", cwd=folder)
    assert "/comand" in error and "command" in error
    assert "duplicate" in fgpu.fails(2, "submit", "-f", "-", stdin=b'{"name": "a", "name": "b"}')


def test_limits_and_bad_asks_have_their_exit_states(fgpu):
    error = fgpu.fails(2, "run", "--mem", "100TB", "--", "true")
    assert "/resources/memory" in error and "largest device" in error and "hint: " in error
    assert "no model 'nomodel'" in fgpu.fails(2, "run", "nomodel", FGPU)
    assert "No such file" in fgpu.fails(2, "run", "efficientnet_lite0", "nofile.jpg")
    assert "time_limit" in fgpu.fails(1, "run", "--no-workdir", "--time-limit", "1s", "--", "sleep", "60")
    assert "not found" in fgpu.fails(1, "run", "--no-workdir", "--", "no-such-program")


def test_a_task_over_its_memory_is_told_so(fgpu):
    if fgpu.one("devices")["enforcement"]["memory"] == "none":
        pytest.skip("nobody limits memory here")
    error = fgpu.fails(1, "run", "--no-workdir", "--mem", "64MB", "--", "python3", "-c", "x = bytearray(300 << 20)")
    assert "oom_host" in error and "--mem" in error


def test_the_same_idempotency_key_is_the_same_task(fgpu):
    ids = {fgpu("submit", "--no-workdir", "--idempotency-key", "once", "--", "true").strip() for _ in range(3)}
    assert len(ids) == 1


def test_a_dry_run_and_a_quote_run_nothing(fgpu):
    before = len(fgpu("ps", "-aq", "-n", "1000").split())
    quote = fgpu.one("quote", "--no-workdir", "--", "true")
    assert quote["dry_run"] is True and float(quote["cost"]["p95"]) >= float(quote["cost"]["p50"])
    assert "USD" in fgpu("run", "--dry-run", "--no-workdir", "--", "true")
    assert len(fgpu("ps", "-aq", "-n", "1000").split()) == before


# --- following ---

def test_tasks_are_named_by_id_beginning_or_last(fgpu):
    task = fgpu("submit", "--no-workdir", "--name", "named", "--", "true").strip()
    assert fgpu.one("get", task)["id"] == task
    assert fgpu.one("get", "last")["id"] == task
    assert fgpu.one("get", task[:-2])["id"] == task
    assert fgpu.one("get", task[4:].lower())["id"] == task
    assert "more than one" in fgpu.fails(2, "get", "tsk_0")
    assert fgpu.fails(4, "get", "tsk_ZZZ")
    assert fgpu.fails(4, "get", "tsk_7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
    assert fgpu.fails(2, "get", "../keys")
    assert fgpu("ps", "-aq", "--name", "named").split() == [task]


def test_ps_shows_what_is_live_and_all_on_request(fgpu):
    done = fgpu("submit", "--no-workdir", "--", "true").strip()
    fgpu("wait", done)
    held = fgpu("submit", "--no-workdir", "--hold", "--name", "mine", "--", "true").strip()
    shown = fgpu("ps")
    assert shown.split("\n")[0].split() == "ID NAME TYPE STATE REASON SLICE WAIT RUN COST".split()
    assert held in shown and "mine" in shown and done not in shown
    every = fgpu("ps", "-a", "--json").splitlines()
    assert {json.loads(line)["id"] for line in every} >= {held, done}
    assert len(fgpu("ps", "-aq", "-n", "1").split()) == 1
    assert held in fgpu("ps", "--state", "queued") and held not in fgpu("ps", "--state", "running")
    fgpu("cancel", held)


def test_hold_release_cancel_retry(fgpu):
    held = fgpu("submit", "--no-workdir", "--hold", "--", "echo", "ran").strip()
    assert "held" in fgpu("why", held)
    assert "release" in fgpu("why", held)
    fgpu("release", held)
    assert "succeeded" in fgpu("wait", held)
    assert fgpu.fails(5, "hold", held)
    first = fgpu("submit", "--no-workdir", "--", "echo", "ran").strip()
    fgpu("wait", first)
    again = fgpu("retry", first, "-q").strip()
    assert again != first and "succeeded" in fgpu("wait", again) and fgpu("logs", again) == "ran\n"
    long = fgpu("submit", "--no-workdir", "--", "sleep", "100").strip()
    fgpu("cancel", long)
    assert fgpu.fails(1, "wait", long) == ""
    assert fgpu.one("get", long)["state"] == "canceled"
    assert fgpu.fails(4, "cancel", "tsk_7ZZZZZZZZZZZZZZZZZZZZZZZZZ")


def test_wait_gives_up_in_time(fgpu):
    task = fgpu("submit", "--no-workdir", "--", "sleep", "100").strip()
    assert "has not ended" in fgpu.fails(6, "wait", "--timeout", "1s", task)
    fgpu("cancel", task)


def test_why_tells_what_waits_for_what(fgpu):
    big = fgpu("submit", "--no-workdir", "--share", "100", "--", "sleep", "100").strip()
    next_one = fgpu("submit", "--no-workdir", "--share", "100", "--", "true").strip()
    assert running(fgpu, big)
    text = fgpu("why", next_one)
    assert "waiting_capacity" in text and "cpu0" in text and "1 in the queue" in text
    assert "rule" in fgpu("why", big)
    fgpu("cancel", big, next_one)


def test_logs_choose_source_and_tail_and_follow(fgpu):
    fgpu("run", "-q", "--no-workdir", "--", "sh", "-c", "echo 1; echo e >&2; echo 2; echo 3")
    ran = fgpu.raw("logs", "last")
    assert (ran.stdout, ran.stderr) == (b"1\n2\n3\n", b"e\n")
    ran = fgpu.raw("logs", "last", "--source", "stdout", "--tail", "2")
    assert (ran.stdout, ran.stderr) == (b"2\n3\n", b"")
    assert fgpu("logs", "-f", "last") == "1\n2\n3\n"
    assert [json.loads(line)["src"] for line in fgpu("logs", "--json", "last").splitlines()].count("stderr") == 1


def test_logs_to_a_terminal_keep_colours_and_nothing_else(fgpu):
    fgpu("run", "-q", "--no-workdir", "--", "printf", "\\033[31mred\\033[0m\\033]0;title\\007 \\033[2Jend\\n")

    def on_terminal(*more):
        ran = subprocess.run(["script", "-qec", f"{FGPU} logs last {' '.join(more)}", "/dev/null"], env={**fgpu.env, "TERM": "xterm"},
                             capture_output=True, cwd=fgpu.work)
        return ran.stdout.replace(b"\r\n", b"\n")
    if not shutil.which("script"):
        pytest.skip("script is not installed")
    assert on_terminal() == b"\x1b[31mred\x1b[0m end\n\x1b[0m"
    assert on_terminal("--no-color") == b"red end\n"


def test_events_tell_a_tasks_life(fgpu):
    fgpu("run", "-q", "--no-workdir", "--", "true")
    kinds = [json.loads(line)["event"] for line in fgpu("events", "last", "--follow", "--json").splitlines()]
    assert kinds[0] == "task.submitted" and kinds[-1] == "task.settled" and "task.started" in kinds
    assert "task.settled" in fgpu("events", "last")


def test_a_machine_is_drained_and_waited_for(alone):  # noqa: F811
    alone("up", "--detach", "--listen", "127.0.0.1:0")
    eventually(lambda: alone("devices", "--json"))
    node = alone.one("nodes")["name"]
    there = alone("submit", "-q", "--no-workdir", "--", "sh", "-c", "while [ ! -e go ]; do sleep 0.05; done").strip()
    eventually(lambda: alone.one("get", there)["state"] == "running")
    told = alone("nodes", "drain", node, "--reason", "new fans")
    assert told.splitlines()[0] == f"{node} is draining; still there:" and there in told
    assert "draining (1 task)" in alone("nodes") and "new fans" in alone("nodes") and "draining" in alone("devices")
    waits = alone("submit", "-q", "--no-workdir", "--", "true").strip()
    assert f"for new fans: fgpu nodes resume {node}" in alone("why", waits)
    waiting = alone.start("nodes", "drain", node, "--wait")
    alone("cancel", there)
    out, err = (text.decode() for text in waiting.communicate(timeout=PATIENCE_S))
    # the task may be gone before the wait begins
    assert waiting.returncode == 0 and (err == f"{node} is empty\n" or (err, out) == ("", f"{node} is drained and empty\n"))
    assert "drained" in alone("nodes") and alone.one("get", waits)["state"] == "queued"
    assert alone("devices", "drain", f"{node}/cpu0") == f"{node}/cpu0 is drained and empty\n"
    alone("devices", "resume", "cpu0")
    assert alone.err == f"its machine is drained still: fgpu nodes resume {node}\n"
    assert alone("nodes", "resume", node) == f"{node} takes tasks\n"
    alone("wait", waits)
    assert "no machine is called 'nobody'" in alone.fails(4, "nodes", "drain", "nobody")
    assert "no device is called 'nobody/cpu0'" in alone.fails(4, "devices", "drain", "nobody/cpu0")


def test_the_system_can_be_looked_at(fgpu):
    device = fgpu.one("devices")
    assert device["name"] == "cpu0" and device["name"] in fgpu("devices")
    assert fgpu.one("nodes")["connected"] is True and "connected" in fgpu("nodes")
    assert "efficientnet_lite0" in fgpu("models")
    assert "fastgpu_tasks" in fgpu("metrics")
    fgpu("run", "-q", "--no-workdir", "--", "true")
    assert fgpu.one("usage")["tasks"] > 0 and "succeeded" in fgpu("usage")


def test_keys_are_made_used_and_revoked(fgpu, folder):
    key = fgpu.one("keys", "create", "reader", "--scope", "tasks:read", "--expires", "1h")
    (folder / "key").write_text(key["key"] + "\n")
    fgpu("ps", "--key-file", folder / "key")
    assert "hint" in fgpu.fails(3, "submit", "--no-workdir", "--key-file", folder / "key", "--", "true")
    assert "reader" in fgpu("keys") and key["key"] not in fgpu("keys")
    fgpu("keys", "revoke", key["id"])
    fgpu.fails(3, "ps", "--key-file", folder / "key")
    assert "no key" in fgpu.fails(2, "ps", "--key-file", os.devnull)
    fgpu.fails(3, "ps", env={"FGPU_API_KEY": "fgpu_wrong"})


def test_doctor_finds_this_machine_fit(fgpu):
    report = json.loads(fgpu.raw("doctor", "--json").stdout)
    checks = {f["check"]: f for f in report["findings"]}
    assert checks["store"]["ok"] and checks["server"]["ok"] and checks["data"]["ok"] and "device" in checks
    assert fgpu.raw("doctor").returncode == (0 if report["fit"] else 5)


# --- Ctrl-C ---

def interrupted(fgpu, times):
    run = fgpu.start("run", "--no-workdir", "--", "sh", "-c", "echo here; sleep 100", text=True)
    assert run.stdout.readline() == "here\n"
    said = ""
    for _ in range(times):
        run.send_signal(signal.SIGINT)
        while "Ctrl-C again" not in said and (line := run.stderr.readline()):
            said += line
    _, err = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 130
    return said + err


def test_interrupted_once_a_run_leaves_the_task_running(fgpu):
    err = interrupted(fgpu, 1)
    task = re.search(r"fgpu cancel (\S+)", err)[1]
    assert fgpu.one("get", task)["state"] == "running"
    fgpu("cancel", task)


def test_interrupted_twice_it_cancels_it(fgpu):
    for _ in range(5):                   # the second must come within two seconds of the first: a test may be late, not always
        err = interrupted(fgpu, 2)
        if "being canceled" in err:
            break
        fgpu("cancel", "last")
    assert "being canceled" in err
    fgpu.fails(1, "wait", "last")
    assert fgpu.one("get", "last")["state"] == "canceled"
