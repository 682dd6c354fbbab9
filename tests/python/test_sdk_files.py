"""Files, folders and .fgpuignore."""
import hashlib
import json
import os

import fgpu
import pytest
from fgpu.ignore import Ignore


def manifest(client, blob):
    return json.loads(client.files.read(blob))


def test_a_folder_becomes_a_manifest_of_blobs(client, server, tmp_path):
    (tmp_path / "sub/empty").mkdir(parents=True)
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / "sub/run.sh").write_text("#!/bin/sh\n")
    os.chmod(tmp_path / "train.py", 0o640)
    os.chmod(tmp_path / "sub/run.sh", 0o755)
    task = client.submit(command=["sub/run.sh"], workdir=str(tmp_path))
    spec = server.tasks[task.id]["spec"]
    assert manifest(client, spec["workdir"]) == {"dirs": ["sub/empty"], "files": [
        {"path": "sub/run.sh", "blob": client.files.upload(tmp_path / "sub/run.sh"), "mode": 0o755, "size": 10},
        {"path": "train.py", "blob": client.files.upload(tmp_path / "train.py"), "mode": 0o640, "size": 9}]}


def test_the_same_folder_sends_nothing_the_second_time(client, server, tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.txt").write_text(str(i))
    first = client.files.upload(tmp_path)
    server.requests.clear()
    assert client.files.upload(tmp_path) == first and server.sent("PUT") == []


def test_fgpuignore_leaves_files_out(client, tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "data/raw").mkdir(parents=True)
    for name in (".git/HEAD", "a.log", "keep.log", "data/raw/x.bin", "data/y.bin", "main.py"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".fgpuignore").write_text("# logs\n*.log\n!keep.log\n/data/raw/\n")
    paths = [f["path"] for f in manifest(client, client.files.upload(tmp_path))["files"]]
    assert paths == [".fgpuignore", "data/y.bin", "keep.log", "main.py"]


@pytest.mark.parametrize("rules, path, folder, dropped", [
    (["*.pyc"], "a/b/c.pyc", False, True), (["/x"], "x", False, True), (["/x"], "a/x", False, False),
    (["build/"], "build", False, False), (["build/"], "a/build", True, True), (["a/b"], "c/a/b", False, False),
    (["**/b"], "x/y/b", False, True), (["a/**/z"], "a/z", False, True), (["a/**/z"], "a/b/c/z", False, True),
    (["a/**"], "a/b", False, True), (["a/**"], "a", True, False), (["?.txt"], "ab.txt", False, False),
    (["[ab].txt"], "b.txt", False, True), (["[!ab].txt"], "b.txt", False, False), (["\\#x"], "#x", False, True),
    (["*.log", "!k.log"], "k.log", False, False), (["a*b"], "a/b", False, False), (["[x"], "[x", False, True), (["", "  "], "a", False, False)])
def test_globs_mean_what_gitignore_says(rules, path, folder, dropped):
    assert Ignore(rules).drops(path, folder) is dropped


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(client, tmp_path):
    inside = tmp_path / "w"
    inside.mkdir()
    (inside / "real.txt").write_text("x")
    (inside / "link.txt").symlink_to("real.txt")
    assert [f["path"] for f in manifest(client, client.files.upload(inside))["files"]] == ["link.txt", "real.txt"]
    (inside / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(fgpu.InvalidInput, match="'passwd' is a link that leads out"):
        client.files.upload(inside)
    (inside / ".fgpuignore").write_text("passwd\n")
    client.files.upload(inside)


def test_a_folder_is_no_picture_and_a_file_no_workdir(client, server, tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(fgpu.InvalidInput, match="is not a folder"):
        client.submit(command=["true"], workdir=str(tmp_path / "f"))
    with pytest.raises(fgpu.InvalidInput, match="/input_data: .* is a folder"):
        client.submit("m", str(tmp_path))
    assert server.requests == []


def test_an_upload_is_tried_again_from_its_start(client, server, tmp_path):
    path = tmp_path / "big"
    path.write_bytes(os.urandom(3 << 20))
    server.then("PUT", "/v1/blobs/", "lose")
    server.then("PUT", "/v1/blobs/", (503, {"code": "unavailable"}))
    blob = client.files.upload(path)
    assert server.blobs[blob[5:]] == path.read_bytes() and len(server.sent("PUT")) == 3


def test_a_download_is_whole_or_not_at_all(client, server, tmp_path):
    blob = client.files.upload(b"content")
    client.files.download(blob, tmp_path / "sub/out")
    assert (tmp_path / "sub/out").read_bytes() == b"content"
    server.blobs[blob[5:]] = b"damaged"
    with pytest.raises(fgpu.FgpuError, match="damaged"):
        client.files.download(blob, tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == ["sub"]
    with pytest.raises(fgpu.NotFound):
        client.files.download("blob:" + "0" * 64, tmp_path / "other")


def test_outputs_are_written_below_the_folder_only(client, server, tmp_path):
    sha = client.files.upload(b"weights")[5:]
    task = client.submit(command=["true"])
    path = f"/v1/tasks/{task.id}/result"
    server.answers["GET", path] = 200, {"state": "succeeded", "outputs": [{"path": "ckpt/last.pt", "size": 7, "blob": sha}]}
    assert task.download(tmp_path) == [str(tmp_path / "ckpt/last.pt")]
    assert (tmp_path / "ckpt/last.pt").read_bytes() == b"weights"
    assert task.result() == {"exit_code": 0, "outputs": task.outputs}
    for bad in ("../evil", "/etc/evil", "a/../../evil"):
        server.answers["GET", path] = 200, {"state": "succeeded", "outputs": [{"path": bad, "size": 7, "blob": sha}]}
        with pytest.raises(fgpu.InvalidInput, match="outside"):
            task.download(tmp_path / "in")
    assert hashlib.sha256(b"weights").hexdigest() == sha
