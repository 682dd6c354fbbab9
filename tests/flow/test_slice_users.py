"""Slices of several users, each with an arbiter of his own: together they never get more than the device has."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from harness import PATIENCE_S, eventually
from slice_world import NEEDS_OPENCL, TWO_USERS, Slices, free_bytes

pytestmark = NEEDS_OPENCL
USERS = [64801, 64802]


@pytest.fixture
def world():
    """A folder that everybody may enter, and a place for claims as /run/lock is one; alone(user) is one more arbiter there."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fgpu-users-"))
    folder.chmod(0o755)
    claims = folder / "claims"
    claims.mkdir()
    claims.chmod(0o1777)
    made = []

    def one(user=None):
        own = folder / str(len(made))
        own.mkdir()
        own.chmod(0o755)
        made.append(Slices(own, claims, user))
        return made[-1]

    one.claims = claims
    yield one
    for slices in made:
        slices.end()
        slices.kill_arbiters()
    shutil.rmtree(folder)


@pytest.fixture(params=[pytest.param("same", id="one-user-two-arbiters"), pytest.param("other", id="two-users", marks=TWO_USERS)])
def two(request, world):
    return (world(), world()) if request.param == "same" else (world(USERS[0]), world(USERS[1]))


def test_shares_and_memory_are_counted_over_all_arbiters(two):
    a, b = two
    p, _ = a.hold("--gpu", "64MiB", "--share", "60")
    refusal = b.refused(5, "-q", "--gpu", "64MiB", "--share", "50", "--", "true")
    assert "40 % is free" in refusal and "Other arbiters hold 64 MiB and 60 %" in refusal
    q, row = b.hold("--gpu", "64MiB", "--share", "40", "--mode", "capped")
    assert "0 % is free" in a.refused(5, "-q", "--gpu", "64MiB", "--share", "1", "--", "true")
    p.terminate()
    assert p.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert eventually(lambda: b.start("set", row["id"], "--share", "95").wait(PATIENCE_S) == 0)
    assert "5 % is free" in a.refused(5, "-q", "--gpu", "64MiB", "--share", "10", "--", "true")


def test_the_last_byte_is_given_once(two):
    a, b = two
    total = free_bytes(a)
    a.hold("--gpu", total // 2, "--share", "10")
    assert "not enough memory left" in b.refused(5, "-q", "--gpu", total * 3 // 4, "--share", "10", "--", "true")
    b("-q", "--gpu", total // 4, "--share", "10", "--", "true")


def test_exclusive_is_alone_on_the_machine(two):
    a, b = two
    p, _ = a.hold("--gpu", "64MiB", "--mode", "exclusive")
    assert "held by a slice alone" in b.refused(5, "-q", "--gpu", "1MiB", "--share", "1", "--", "true")
    p.terminate()
    p.wait(PATIENCE_S)
    a.hold("--gpu", "1MiB", "--share", "1")
    assert "cannot be held alone" in b.refused(5, "-q", "--gpu", "1MiB", "--mode", "exclusive", "--", "true")


def test_many_who_ask_at_once_never_get_too_much(two):
    """Six from each of two arbiters want 30 %: three can have it at once, and nobody more while those hold until all were answered."""
    go = two[0].home.parent.parent / "go"
    started = [s.start("-q", "--gpu", "1MiB", "--share", "30", "--", "sh", "-c", f"until [ -e {go} ]; do sleep 0.1; done")
               for _ in range(6) for s in two]
    most = 0

    def answered():
        nonlocal most
        held = [row["share_permille"] for s in two for row in s.ls()]
        most = max(most, sum(held))
        return sum(p.poll() is None for p in started) == len(held)
    assert eventually(answered)
    go.touch()
    codes = [p.wait() for p in started]
    assert most <= 900 and set(codes) <= {0, 5} and 1 <= codes.count(0) <= 3


def test_a_killed_arbiter_loses_nothing_to_other_users(two):
    """Its claim is held by its slices until the next arbiter has taken them over."""
    a, b = two
    p, _ = a.hold("--gpu", "64MiB", "--share", "80")
    for _ in range(2):
        old, = a.arbiters()
        os.kill(old, signal.SIGKILL)
        for _ in range(6):
            assert "20 % is free" in b.refused(5, "-q", "--gpu", "1MiB", "--share", "30", "--", "true")
        assert eventually(lambda: a.arbiters() not in ([], [old]) and a.row(p))
    b("-q", "--gpu", "1MiB", "--share", "20", "--", "true")


def test_what_a_killed_user_held_is_free_again(two):
    a, b = two
    p, _ = a.hold("--gpu", "64MiB", "--share", "80")
    os.kill(a.arbiters()[0], signal.SIGKILL)
    p.kill()
    p.wait()
    assert eventually(lambda: b.start("-q", "--gpu", "1MiB", "--share", "100", "--", "true").wait(PATIENCE_S) == 0)


def test_without_slices_no_claim_is_left(two, world):
    a, b = two
    a("-q", "--gpu", "64MiB", "--share", "30", "--", "true")
    b("-q", "--gpu", "64MiB", "--share", "100", "--", "true")
    assert eventually(lambda: not list(world.claims.iterdir()))


# A file like an arbiter's, of version 1: magic, scope, pid, and one device. Held with its lock until the input ends.
FORGE = """
import fcntl, os, struct, sys
path, key, memory, permille, leases = sys.argv[1], sys.argv[2].encode(), *map(int, sys.argv[3:6])
f = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
os.write(f, (struct.pack("QQq128sQQQ", 0x314d434c55504746, 7, 1, key, memory, permille | leases << 16, 0)).ljust(int(sys.argv[6]) if len(sys.argv) > 6 else 4096, b"\\0"))
fcntl.lockf(f, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def key_of(world):
    """The device as arbiters name it, read from a claim."""
    a = world()
    p, _ = a.hold("--gpu", "1MiB", "--share", "1")
    claim, = world.claims.iterdir()
    key = claim.read_bytes()[24:152].rstrip(b"\0").decode()
    p.terminate()
    p.wait(PATIENCE_S)
    return key


@TWO_USERS
def test_a_user_who_lies_can_keep_others_out_and_is_named_but_takes_nothing_back(world):
    key, mine = key_of(world), world(USERS[0])
    p, row = mine.hold("--gpu", "64MiB", "--share", "50")
    liar = subprocess.Popen([sys.executable, "-c", FORGE, world.claims / "fastgpu.claim.x", key, str(1 << 60), "65535", "1"], user=USERS[1],
                            group=USERS[1], extra_groups=[], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
    assert liar.stdout.readline() == "held\n"
    refusal = mine.refused(5, "-q", "--gpu", "1MiB", "--share", "1", "--", "true")
    assert f"user {USERS[1]}" in refusal
    assert p.poll() is None and mine.row(p)["share_permille"] == 500
    liar.stdin.close()
    liar.wait(PATIENCE_S)
    liar.stdout.close()
    mine("-q", "--gpu", "1MiB", "--share", "50", "--", "true")  # the file is still there, nobody behind it


@pytest.mark.parametrize("what", ["short", "empty", "folder", "link", "pipe", "unlocked"])
def test_rubbish_among_the_claims_counts_nothing(world, what):
    key, a = key_of(world), world()
    path = world.claims / "fastgpu.claim.rubbish"
    if what in ("short", "unlocked"):
        subprocess.run([sys.executable, "-c", FORGE, path, key, str(1 << 40), "1000", "1", "100" if what == "short" else "4096"],
                       input="", text=True, check=True, capture_output=True)
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    a("-q", "--gpu", "1MiB", "--share", "100", "--", "true")


def test_where_claims_cannot_be_made_no_slice_is_given(world):
    a = world()
    a.env["FGPU_CLAIMS_DIR"] = "/proc/nowhere"
    assert "claim" in a.refused(7, "-q", "--gpu", "1MiB", "--share", "1", "--", "true")
