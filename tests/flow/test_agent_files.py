"""Files in, files out, and what it prints."""
import json
import os
import subprocess

from agent_world import ROOT_ONLY, World, make_world, world  # noqa: F401
from fake_server import log_records


def outputs(world, outcome):  # noqa: F811
    return {row["path"]: world.server.blobs[row["blob"]] for row in json.loads(outcome.get("outputs") or "[]")}


def test_a_task_starts_in_its_working_directory(world):  # noqa: F811
    workdir = world.server.workdir({"main.py": b"import sub.mod; print(sub.mod.x)", "sub/mod.py": b"x = 42", "data/empty": b""}, ["made"])
    outcome, text = world.sh("python3 main.py && pwd && ls -d made && echo w > made/x && echo w > sub/new && id -u | grep -c .",
                             workdir=workdir)
    assert outcome["state"] == "succeeded", outcome
    assert text.split() == ["42", "/work", "made", "1"]


def test_the_working_directory_is_a_copy_each_time(world):  # noqa: F811
    workdir = world.server.workdir({"file": b"original"})
    for _ in range(2):
        _, text = world.sh("cat file; echo changed > file", workdir=workdir)
        assert text == "original"


def test_paths_outside_the_working_directory_are_invalid(world):  # noqa: F811
    for path in ("../evil", "/tmp/evil", "a/../../evil"):
        outcome, _ = world.run("true", workdir=world.server.workdir({path: b"x"}))
        assert (outcome["state"], outcome["reason"]) == ("failed", "invalid"), path
        assert "does not stay in the working directory" in outcome["detail"]
    assert not os.path.exists("/tmp/evil")


def test_a_blob_that_is_not_there_is_a_missing_input(world):  # noqa: F811
    outcome, _ = world.run("true", workdir="blob:" + "ab" * 32)
    assert (outcome["state"], outcome["reason"]) == ("failed", "input_missing")
    workdir = world.server.workdir({"file": b"will go"})
    del world.server.blobs[next(d for d, data in world.server.blobs.items() if data == b"will go")]
    outcome, _ = world.run("true", workdir=workdir)
    assert outcome["reason"] == "input_missing"


def test_a_manifest_that_is_none_is_invalid(world):  # noqa: F811
    for text in (b"not json", b"{}", b"[]", b'{"files": [{"path": "x"}]}'):
        outcome, _ = world.run("true", workdir="blob:" + world.server.put(text))
        assert outcome["reason"] == "invalid", text


def test_large_files_travel_in_pieces_both_ways(world):  # noqa: F811
    data = os.urandom(5 << 20) + b"end"
    outcome, _ = world.sh("cp big /out/copy; cat big big > /out/double", workdir=world.server.workdir({"big": data}))
    assert outputs(world, outcome) == {"copy": data, "double": data * 2}


def test_outputs_are_all_of_out_and_what_the_patterns_name(world):  # noqa: F811
    outcome, _ = world.sh("mkdir -p d/e; echo 1 > a.txt; echo 2 > d/b.txt; echo 3 > d/e/c.txt; echo 4 > a.bin; echo 5 > /out/o;"
                          "mkdir /out/d; echo 6 > /out/d/p; : > /out/empty", outputs=["*.txt", "d/**.txt"])
    assert outputs(world, outcome) == {"o": b"5\n", "d/p": b"6\n", "empty": b"", "a.txt": b"1\n", "d/b.txt": b"2\n", "d/e/c.txt": b"3\n"}


def test_a_failed_task_gives_its_outputs_too(world):  # noqa: F811
    outcome, _ = world.sh("echo partial > /out/checkpoint; exit 1")
    assert outputs(world, outcome) == {"checkpoint": b"partial\n"}


def test_stdout_and_stderr_are_told_apart_and_binary_is_kept(world):  # noqa: F811
    task = world.server.start(["python3", "-c", "import sys; sys.stdout.buffer.write(bytes(range(256))); sys.stderr.write('err')"])
    world.server.finished(task)
    records = log_records(bytes(world.server.logs[task, 1]))
    assert b"".join(d for s, d in records if s == 1) == bytes(range(256))
    assert b"".join(d for s, d in records if s == 2) == b"err"


def test_a_task_may_open_its_own_output_again(world):  # noqa: F811
    _, text = world.sh("echo one > /dev/stdout; echo two > /proc/self/fd/2; echo three >> /dev/stderr")
    assert sorted(text.split()) == ["one", "three", "two"]


def test_a_flood_of_output_is_cut_and_counted(make_world):  # noqa: F811
    world = make_world(settings=["log_limit_bytes=262144"])  # noqa: F811
    task = world.server.start(["sh", "-c", "yes 0123456789 | head -c 5000000; echo last words >&2; exit 3"])
    outcome = world.server.finished(task)
    log = bytes(world.server.logs[task, 1])
    assert outcome["exit_code"] == 3
    assert 262144 - 65536 - 100 < len(log) < 262144 + 1000           # whole records, of up to 64 KiB
    notes = [d for s, d in log_records(log) if s == 3]
    assert len(notes) == 1 and b"bytes of output were dropped" in notes[0]
    kept = sum(len(d) for s, d in log_records(log) if s != 3)
    assert kept + int(notes[0].split()[0]) == 5_000_000 + len("last words\n")
    assert outcome["log_tail"].endswith("last words")      # the end is known though it was not kept


def test_output_without_line_ends_arrives_while_it_runs(world):  # noqa: F811
    task = world.server.start(["sh", "-c", "printf 'no newline'; sleep 600"])
    world.server.wait_text(task, "no newline")
    world.server.kill(task)


@ROOT_ONLY
def test_a_task_that_fills_the_disk_still_ends_and_its_end_is_told(tmp_path):
    (tmp_path / "agent").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", tmp_path / "agent"], check=True)
    try:
        world = World(tmp_path)
        task = world.server.start(["sh", "-c", "dd if=/dev/zero of=x bs=64k 2>/dev/null; echo full; exit 3"])
        assert world.server.finished(task)["exit_code"] == 3
        world.gone()
        assert world.sh("echo works again > /out/x")[0]["state"] == "succeeded"
        world.close()
    finally:
        subprocess.run(["umount", "-l", tmp_path / "agent"], check=True)


def test_a_command_line_that_is_too_long_is_the_users_error(world):  # noqa: F811
    outcome, _ = world.run("echo", "x" * 200_000)        # one argument may have 128 KiB
    assert (outcome["state"], outcome["reason"]) == ("failed", "user_error")
    assert "too long" in outcome["detail"]


def test_the_environment_is_the_tasks_alone(world):  # noqa: F811
    os.environ["LEAK"] = "1"
    task = world.server.start(["env"], env={"MINE": "yes", "PATH": "/usr/bin:/bin"})
    outcome = world.server.finished(task)
    assert outcome["state"] == "succeeded"
    env = dict(line.split("=", 1) for line in world.server.text(task).splitlines())
    assert (env["MINE"], env["HOME"], env["FGPU_OUTPUT_DIR"], env["FGPU_TASK_ID"], env["FGPU_ATTEMPT"]) == ("yes", "/work", "/out", task, "1")
    assert env["PATH"] == "/usr/bin:/bin" and "LEAK" not in env and "XDG_RUNTIME_DIR" not in env


def test_a_command_that_is_not_there_is_the_users_error(world):  # noqa: F811
    outcome, _ = world.run("no-such-program")
    assert (outcome["reason"], outcome["exit_code"], outcome["detail"]) == ("user_error", 127, "command not found: no-such-program")
    outcome, _ = world.run("/etc/passwd")
    assert (outcome["reason"], outcome["exit_code"]) == ("user_error", 126)
