"""What a task can see, touch and leave behind."""
import os
import subprocess
import time

import pytest

from agent_world import ROOT_ONLY, marked, until, world  # noqa: F401


def test_there_is_no_network_but_its_own_loopback(world):  # noqa: F811
    outcome, text = world.run("python3", "-c", """
import socket
print([n for _, n in socket.if_nameindex()])
for where in (("192.0.2.1", 80), ("8.8.8.8", 53)):
    s = socket.socket(); s.settimeout(1)
    try: s.connect(where); print("connected")
    except OSError as e: print("refused", e.errno)
""")
    assert outcome["state"] == "succeeded"
    assert "connected" not in text and text.count("refused") == 2
    assert text.splitlines()[0] == "['lo']"


def test_the_system_is_read_only_and_the_hosts_folders_are_not_there(world):  # noqa: F811
    _, text = world.sh(f"""
for f in /usr/x /etc/x /bin/x /lib/x /x; do (echo a > $f) 2>/dev/null && echo wrote $f; done
for d in /root /home /var/lib /boot /sys/fs {world.folder}; do ls $d 2>/dev/null | grep -q . && echo saw $d; done
cat /etc/shadow 2>/dev/null && echo read shadow
echo ok > /work/a; echo ok > /out/b; echo ok > /tmp/c; echo ok > /run/d; cat /work/a /out/b /tmp/c /run/d""")
    assert text.split() == ["ok"] * 4


@ROOT_ONLY
def test_each_task_has_a_user_of_its_own_without_rights(world):  # noqa: F811
    script = "id -u; grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; echo up; until [ -e go ]; do sleep 0.05; done"
    tasks = [world.server.start(["sh", "-c", script]) for _ in range(2)]
    for task in tasks:                   # both at once: a user is given again when its task has ended
        world.server.wait_text(task, "up")
    for task in tasks:
        (world.attempt_dir(task) / "work" / "go").touch()
        world.server.finished(task)
    texts = [world.server.text(task) for task in tasks]
    users = {text.split()[0] for text in texts}
    assert len(users) == 2 and "0" not in users and all(int(u) > 65535 for u in users)
    for text in texts:
        rows = dict(line.split(":\t") for line in text.splitlines()[1:-1])
        assert rows["CapEff"] == rows["CapPrm"] == "0" * 16
        assert (rows["NoNewPrivs"], rows["Seccomp"]) == ("1", "2")


def test_only_its_own_processes_are_there(world):  # noqa: F811
    _, text = world.sh("ls -d /proc/[0-9]* | wc -l; hostname; kill -9 1; echo alive")
    assert int(text.split()[0]) <= 6
    assert text.split()[1:] == ["fgpu", "alive"]


CALLS = """
import ctypes, ctypes.util, errno, os, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
numbers = {"ptrace": 101, "mount": 165, "umount2": 166, "pivot_root": 155, "unshare": 272, "setns": 308, "bpf": 321, "perf_event_open": 298,
           "userfaultfd": 323, "kexec_load": 246, "keyctl": 250, "add_key": 248, "request_key": 249, "io_uring_setup": 425, "clone3": 435,
           "process_vm_readv": 310, "process_vm_writev": 311, "init_module": 175, "finit_module": 313, "open_by_handle_at": 304,
           "reboot": 169, "swapon": 167, "settimeofday": 164, "sethostname": 170, "syslog": 103, "open_tree": 428, "move_mount": 429,
           "fsopen": 430, "mount_setattr": 442, "pidfd_getfd": 438, "chroot": 161, "acct": 163}
for name, number in numbers.items():
    libc.syscall(number, 0, 0, 0, 0, 0)
    print(name, errno.errorcode.get(ctypes.get_errno()))
print("clone_newuser", libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0), errno.errorcode.get(ctypes.get_errno()))
for family in (40, 16, 38, 17):      # vsock, netlink, alg, packet
    fd = libc.socket(family, 3 if family == 16 else 1, 0)
    print("family", family, fd >= 0 or errno.errorcode.get(ctypes.get_errno()))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of the calls are those of x86_64")
def test_dangerous_system_calls_are_refused(world):  # noqa: F811
    outcome, text = world.run("python3", "-c", CALLS)
    assert outcome["state"] == "succeeded", text
    answers = [line.split() for line in text.splitlines()]
    absent = {"io_uring_setup", "clone3"}
    for row in answers:
        if row[0] == "family":
            assert row[2] == ("True" if row[1] == "16" else "EAFNOSUPPORT"), row
        elif row[0] == "clone_newuser":
            assert row[1:] == ["-1", "EPERM"]
        else:
            assert row[1] == ("ENOSYS" if row[0] in absent else "EPERM"), row
    assert len(answers) == 37


ESCAPES = {
    "setsid": "setsid sleep 300.{mark} &",
    "double fork": "(sleep 300.{mark} & ) &",
    "nohup": "nohup sleep 300.{mark} >/dev/null 2>&1 &",
    "daemon": "python3 -c 'import os,time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\ntime.sleep(300.{mark})' &",
    "disowned": "sh -c 'trap \"\" HUP TERM INT; sleep 300.{mark}' &",
    "ignores all signals": "python3 -c 'import signal,time\nfor s in range(1,32):\n  try: signal.signal(s,signal.SIG_IGN)\n  except OSError: pass\ntime.sleep(300.{mark})' &",
    "stopped": "sh -c 'kill -STOP $$; sleep 300.{mark}' & sleep 0.1",
    "closed descriptors": "sh -c 'exec 0<&- 1>&- 2>&-; exec sleep 300.{mark}' &",
    "own process group": "python3 -c 'import os,time; os.setpgid(0,0); time.sleep(300.{mark})' &",
    "holds the pipe": "sleep 300.{mark} &",
    "forks for ever": "sh -c 'while :; do sleep 300.{mark} & sleep 0.05; done' & sleep 0.2",
    "thread leader gone": "python3 -c 'import ctypes,threading,time\nthreading.Thread(target=lambda: time.sleep(300.{mark})).start()\n"
                          "ctypes.CDLL(None).syscall(60,0)' &",
}


@pytest.mark.parametrize("trick", sorted(ESCAPES))
def test_nothing_it_started_outlives_the_task(world, trick):  # noqa: F811
    mark = str(time.monotonic_ns() % 10**12)
    script = ESCAPES[trick].replace("{mark}", mark) + "\nsleep 0.2; exit 5"
    outcome, _ = world.sh(script)
    assert outcome["exit_code"] == 5
    assert marked("300." + mark) == []
    world.gone()


@ROOT_ONLY
def test_no_cgroup_and_no_folder_stays(world):  # noqa: F811
    world.run("true")
    world.gone()
    scope = world.server.hellos[0]["node"][-12:]

    def left():
        found = subprocess.run("find /sys/fs/cgroup -name 'tsk_*' -path '*fgpu-*'", shell=True, capture_output=True, text=True).stdout
        return [line for line in found.splitlines() if scope in line]
    until(lambda: not left())


def test_secrets_of_the_environment_show_in_no_process_list(world):  # noqa: F811
    task = world.server.start(["sh", "-c", "echo $TOKEN; sleep 600"], env={"TOKEN": "hush-4711"})
    world.server.wait_text(task, "hush-4711")
    for command in (["ps", "-eo", "args", "ww"],):
        assert "hush-4711" not in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    world.server.kill(task)
    world.server.finished(task)


def test_links_in_outputs_lead_nowhere(world):  # noqa: F811
    outcome, _ = world.sh("echo real > /out/real; ln -s /etc/passwd /out/link; ln -s / /out/root; mkfifo /out/fifo;"
                          "ln -s ../../attempt.json /out/up; mkdir /out/d; ln -s /out /out/d/loop; echo two > /out/d/two")
    import json
    rows = json.loads(outcome["outputs"])
    assert sorted(row["path"] for row in rows) == ["d/two", "real"]
    assert world.server.blobs[next(r["blob"] for r in rows if r["path"] == "real")] == b"real\n"
