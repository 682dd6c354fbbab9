"""What needs no model to run: thread limits, the catalogue, the labels."""
import importlib.util
import json
from pathlib import Path

import pytest

MODELS = Path(__file__).resolve().parent.parent.parent / "models"
spec = importlib.util.spec_from_file_location("worker_limits", MODELS / "limits.py")
limits = importlib.util.module_from_spec(spec)
spec.loader.exec_module(limits)


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("files, listing, cores", [
    ({"a/b/cpu.max": "50000 100000\n"}, "0::/a/b\n", 0.5),
    ({"a/cpu.max": "25000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b\n", 0.25),
    ({"a/cpu.max": "max 100000"}, "0::/a\n", None),
    ({"cpu,cpuacct/a/cpu.cfs_quota_us": "150000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"}, "3:cpu,cpuacct:/a\n0::/\n", 1.5),
    ({"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/a\n", None),
    ({"cpu/cpu.cfs_quota_us": "20000", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu:/not/visible/here\n", 0.2),
    ({}, "nonsense\n\n::\n", None)])
def test_the_quota_of_this_cgroup_and_those_above_counts(tmp_path, files, listing, cores):
    tree(tmp_path / "fs", files)
    (tmp_path / "self").write_text(listing)
    assert limits.cgroup_cores(str(tmp_path / "fs"), str(tmp_path / "self")) == cores


@pytest.mark.parametrize("cores, quota, share, threads", [
    (8, None, "", 8), (8, 2.0, "", 2), (8, 0.1, "", 1), (8, 1.8, "", 2), (8, 1.5, "", 1), (2, 16.0, "", 2), (8, None, "bad", 8)])
def test_threads_fit_the_share_and_are_never_none(cores, quota, share, threads):
    assert limits.thread_count(cores, quota, {"FGPU_SHARE": share}) == threads


def test_the_share_that_the_agent_names_counts_too(monkeypatch):
    monkeypatch.setattr(limits.os, "cpu_count", lambda: 16)
    assert limits.thread_count(16, None, {"FGPU_SHARE": "250"}) == 4
    assert limits.thread_count(16, 1.0, {"FGPU_SHARE": "250"}) == 1


def test_every_model_of_the_catalogue_can_be_found_and_checked():
    models = json.loads((MODELS / "catalogue.json").read_text())["models"]
    assert [m["name"] for m in models] == ["efficientnet_lite0", "resnet50"]
    for model in models:
        source = model["source"]
        assert {"name", "task_type", "architecture", "title", "license", "memory_bytes", "input", "source"} <= model.keys()
        assert source["format"] == "torch" and ("url" in source or {"package", "version", "file"} <= source.keys())
        assert len(source.get("sha256", "")) == 64 or len(source["sha256_prefix"]) == 8
        assert {"size", "resize_short", "interpolation", "mean", "std"} == model["input"].keys()


def test_there_are_a_thousand_different_labels():
    labels = (MODELS / "imagenet_labels.txt").read_text().splitlines()
    assert len(labels) == len(set(labels)) == 1000
    assert (labels[0], labels[281], labels[967], labels[999]) == ("tench", "tabby", "espresso", "toilet tissue")
