"""Model tasks: weights, worker, answer. The worker here is a stand-in of a few lines that says so; the real one has tests of its own."""
import hashlib
import json

import pytest

from agent_world import make_world  # noqa: F401

WORKER = '''
import json, os, sys
request, result = sys.argv[2:4]
args = dict(zip(sys.argv[4::2], sys.argv[5::2]))
asked = json.load(open(request))
image = open(asked["input"], "rb").read()
weights = open(args["--weights"], "rb").read()
if image == b"crash": os.abort()
if image == b"silent": sys.exit(0)
answer = {"id": asked["id"], "load_ns": 1000000}
if image == b"bad": answer["error"] = {"reason": "user_error", "detail": "not an image", "hint": "send a JPEG or PNG"}
else: answer["result"] = {"stand_in": True, "input": image.decode(), "weights": weights.decode(), "architecture": args["--architecture"],
                          "format": args["--format"], "type": args["--task-type"]}
json.dump(answer, open(result, "w"))
sys.exit(3 if "error" in answer else 0)
'''


@pytest.fixture
def models(make_world, tmp_path):  # noqa: F811
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "worker.py").write_text(WORKER)
    return make_world(settings=[f"models_dir={folder}", "worker_python=/usr/bin/python3"])


def classify(world, image, **model):
    spec = {"task_type": "image_classification", "model_name": "m", "input_data": "blob:" + world.server.put(image),
            "model": {"name": "m", "architecture": "arch", "format": "torch", **model}}
    return world.server.finished(world.server.start(**spec))


def test_a_model_task_gives_the_workers_answer(models):
    outcome = classify(models, b"cat", weights_blob=models.server.put(b"W"))
    assert outcome["state"] == "succeeded", outcome
    assert json.loads(outcome["result"]) == {"stand_in": True, "input": "cat", "weights": "W", "architecture": "arch", "format": "torch",
                                             "type": "image_classification"}
    assert outcome["load_ns"] == 1000000 and outcome["run_ns"] > 0
    assert "outputs" not in outcome      # the answer is not an output file


def test_weights_come_once_and_stay_in_the_cache(models):
    digest = models.server.put(b"W2")
    classify(models, b"cat", weights_blob=digest)
    del models.server.blobs[digest]
    assert classify(models, b"dog", weights_blob=digest)["state"] == "succeeded"


def test_a_workers_error_keeps_its_reason_and_hint(models):
    outcome = classify(models, b"bad", weights_blob=models.server.put(b"W"))
    assert (outcome["state"], outcome["reason"], outcome["exit_code"]) == ("failed", "user_error", 3)
    assert outcome["detail"] == "not an image; send a JPEG or PNG"


def test_a_worker_that_crashes_or_says_nothing_is_not_a_success(models):
    weights = models.server.put(b"W")
    assert classify(models, b"crash", weights_blob=weights)["signal"] == 6
    assert classify(models, b"silent", weights_blob=weights)["reason"] == "internal"


def test_weights_are_fetched_from_their_source_and_checked(models, tmp_path):
    source = tmp_path / "weights.pth"
    source.write_bytes(b"from the source")
    digest = hashlib.sha256(b"from the source").hexdigest()
    outcome = classify(models, b"cat", source_url=source.as_uri(), sha256=digest)
    assert json.loads(outcome["result"])["weights"] == "from the source"
    wrong = classify(models, b"cat", source_url=source.as_uri(), sha256="0" * 64)
    assert (wrong["state"], wrong["reason"]) == ("failed", "pulling")
    assert "digest" in wrong["detail"] and "fgpu models import m FILE" in wrong["detail"]
    part = classify(models, b"cat", source={"url": source.as_uri(), "sha256_prefix": digest[:8], "format": "torch"})
    assert part["state"] == "succeeded", part


def test_weights_that_cannot_be_had_say_how_to_bring_them(models, tmp_path):
    for model in ({"source_url": (tmp_path / "nothing").as_uri(), "sha256": "1" * 64}, {}, {"weights_blob": "ab" * 32}):
        outcome = classify(models, b"cat", **model)
        assert (outcome["state"], outcome["reason"]) == ("failed", "pulling"), model
        assert "fgpu models import" in outcome["detail"] or "no such blob" in outcome["detail"]


def test_offline_agents_fetch_nothing(make_world, tmp_path):  # noqa: F811
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "worker.py").write_text(WORKER)
    world = make_world(settings=[f"models_dir={folder}", "worker_python=/usr/bin/python3", "offline=1"])
    source = tmp_path / "weights.pth"
    source.write_bytes(b"x")
    outcome = classify(world, b"cat", source_url=source.as_uri(), sha256=hashlib.sha256(b"x").hexdigest())
    assert outcome["reason"] == "pulling" and "offline" in outcome["detail"]


def test_a_missing_worker_python_is_told(make_world, tmp_path):  # noqa: F811
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "worker.py").write_text(WORKER)
    world = make_world(settings=[f"models_dir={folder}"])
    outcome = classify(world, b"cat", weights_blob=world.server.put(b"W"))
    assert outcome["reason"] == "internal" and "models/setup" in outcome["detail"]
