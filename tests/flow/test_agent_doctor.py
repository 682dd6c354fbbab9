"""What a machine can enforce is told, with the reason for what it cannot."""
import json
import os
import subprocess

from agent_world import ROOT_ONLY, open_way
from fake_server import AGENT


def doctor(tmp_path, path=None, **options):
    env = dict(os.environ, HOME=str(tmp_path), FGPU_CONFIG="", **({"PATH": path} if path else {}))
    out = subprocess.run([str(AGENT), "--doctor", f"data_dir={tmp_path / 'data'}"], env=env, capture_output=True, text=True, check=True, **options)
    return json.loads(out.stdout)


@ROOT_ONLY
def test_root_has_limits_by_the_kernel(tmp_path):
    report = doctor(tmp_path)
    device = report["devices"][0]
    assert (device["name"], device["kind"], device["memory_level"], device["share_level"]) == ("cpu0", "cpu", "kernel", "kernel")
    assert report["sandbox"]["works"] and report["sandbox"]["seccomp"] and report["sandbox"]["own_users"]
    assert not report["workers"]["ready"]
    assert not (tmp_path / "data").exists()          # it only looks


@ROOT_ONLY
def test_an_ordinary_user_is_told_what_is_missing(tmp_path):
    open_way(tmp_path)
    report = doctor(tmp_path, user=64998, group=64998, extra_groups=[], cwd="/")
    device = report["devices"][0]
    if device["memory_level"] != "kernel":
        assert device["memory_level"] == "audited" and device["share_level"] == "none"
        assert device["why"].startswith("no cgroup for memory and cpu")
    assert report["sandbox"]["works"] and not report["sandbox"]["own_users"]
