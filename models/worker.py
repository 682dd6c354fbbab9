#!/usr/bin/env python3
"""A model worker: serves one model over include/fgpu/worker_protocol.md.

    worker.py --architecture resnet50 --weights FILE --format torch                    lines on standard input and output
    worker.py --once REQUEST RESULT --architecture resnet50 --weights FILE ...         one request from a file, then exit 0 or 3

Standard output carries the protocol and nothing else: whatever a library prints goes to standard error.
"""
import argparse
import json
import os
import sys
import time
from typing import Any, BinaryIO, Dict, List, Optional

STARTED_NS = time.monotonic_ns()
HERE = os.path.dirname(os.path.abspath(__file__))
if HERE not in sys.path:
    sys.path.insert(0, HERE)    # python3 -I leaves it out

import limits  # noqa: E402
from errors import WorkerError  # noqa: E402

MAX_LINE = 1 << 20


def find_model(catalogue: Dict[str, Any], model: Optional[str], architecture: str) -> Dict[str, Any]:
    """The catalogue's row: its input is what the picture must become."""
    for row in catalogue["models"]:
        if row["name"] == model or (model is None and row["architecture"] == architecture):
            return dict(row)
    raise WorkerError("invalid", f"no model '{model or architecture}' in the catalogue", "fgpu models lists them")


class Classifier:
    """image_classification: a picture in, the likeliest labels out."""

    def __init__(self, args: argparse.Namespace, threads: int) -> None:
        with open(os.path.join(HERE, "catalogue.json"), encoding="utf-8") as file:
            self.row = find_model(json.load(file), args.model, args.architecture)
        self.args, self.threads = args, threads
        self.spec = dict(self.row["input"])
        self.model: Any = None
        self.labels: List[str] = []

    @property
    def name(self) -> str:
        return str(self.row["name"])

    def load(self) -> int:
        """Load once; returns the time it took."""
        start = time.monotonic_ns()
        if self.model is None:
            import runtimes
            self.model = runtimes.load(self.args.architecture, self.args.weights, self.args.format, self.threads, self.spec["size"])
            if self.model.size != self.spec["size"]:
                self.spec["resize_short"] = self.spec["resize_short"] * self.model.size / self.spec["size"]
                self.spec["size"] = self.model.size
            with open(os.path.join(HERE, "imagenet_labels.txt"), encoding="utf-8") as file:
                self.labels = file.read().splitlines()
        return time.monotonic_ns() - start

    def open(self, request: Dict[str, Any]) -> Any:
        """Decode the picture. Needs no model, so that a bad one is refused before the long load."""
        from images import open_image
        path, parameters = request.get("input"), request.get("parameters") or {}
        if not isinstance(path, str):
            raise WorkerError("input_missing", "the request names no input", "give input_data a picture")
        if not isinstance(parameters, dict) or parameters:
            raise WorkerError("invalid", "image_classification takes no parameters")
        return open_image(path, self.spec["size"])

    def answer(self, picture: Any) -> Dict[str, Any]:
        from images import to_array
        probabilities = self.model.predict(to_array(picture, self.spec))
        best = probabilities.argsort()[::-1][:5]
        labels = [{"label": self.labels[i], "index": int(i), "probability": round(float(probabilities[i]), 6)} for i in best]
        return {"labels": labels, "model": self.name, "device": self.model.device}


def failure(error: BaseException) -> Dict[str, Any]:
    """Any error as the protocol's object; what nobody foresaw is ours and is shown in full on standard error."""
    if isinstance(error, WorkerError):
        return error.to_json()
    if isinstance(error, MemoryError):
        return WorkerError("oom_host", "the slice has too little memory", "submit again with a larger --mem").to_json()
    import traceback
    traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
    return WorkerError("internal", f"{type(error).__name__}: {error}").to_json()


def parse(line: bytes) -> Dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise WorkerError("invalid", "the request is not a JSON object", "see worker_protocol.md")
    return request


def run_once(args: argparse.Namespace, threads: int) -> int:
    reply: Dict[str, Any] = {}
    load_ns = 0
    try:
        task = Classifier(args, threads)
        with open(args.once[0], "rb") as file:
            request = parse(file.read(MAX_LINE))
        reply["id"] = request.get("id")
        start = time.monotonic_ns()
        picture = task.open(request)
        start += task.load()    # the run is what is not loading
        load_ns = start - STARTED_NS
        reply["result"] = task.answer(picture)
        reply["run_ns"] = time.monotonic_ns() - start
    except Exception as error:
        reply["error"] = failure(error)
    reply["load_ns"] = load_ns or time.monotonic_ns() - STARTED_NS
    with open(args.once[1] + ".tmp", "w", encoding="utf-8") as file:
        json.dump(reply, file)
    os.replace(args.once[1] + ".tmp", args.once[1])
    return 3 if "error" in reply else 0


def serve(args: argparse.Namespace, threads: int, lines: BinaryIO, out: BinaryIO) -> int:
    def say(message: Dict[str, Any]) -> None:
        out.write(json.dumps(message).encode() + b"\n")
        out.flush()

    try:
        task = Classifier(args, threads)
        task.load()
    except Exception as error:
        say({"error": failure(error)})
        return 3
    say({"ready": True, "load_ns": time.monotonic_ns() - STARTED_NS, "model": task.name, "device": task.model.device})
    while True:
        line = lines.readline(MAX_LINE)
        if not line:
            return 0
        start, number = time.monotonic_ns(), None
        try:
            request = parse(line)
            number = request.get("id")
            result = task.answer(task.open(request))
            say({"id": number, "result": result, "run_ns": time.monotonic_ns() - start})
        except BrokenPipeError:
            return 0
        except Exception as error:
            say({"id": number, "error": failure(error)})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--once", nargs=2, metavar=("REQUEST", "RESULT"), help="answer the one request in a file")
    parser.add_argument("--architecture", required=True, help="as in catalogue.json")
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--format", choices=("torch", "onnx"), default="torch")
    parser.add_argument("--task-type", choices=("image_classification",), default="image_classification")
    parser.add_argument("--model", help="name in catalogue.json; default: the first of this architecture")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threads = limits.apply_thread_limit()
    if args.once:
        return run_once(args, threads)
    return serve(args, threads, sys.stdin.buffer, out)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)    # torch takes a quarter of a second to put itself away; the answer is out and nothing else is open
