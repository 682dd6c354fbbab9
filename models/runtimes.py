"""Weights in a file become a function from a picture's array to 1,000 probabilities.

torch: a state dict, read without running any code in it, for an architecture we know.
onnx: a whole network, run by ONNX Runtime where it is installed.
"""
import os
import sys
import types
from typing import Any, Callable, Mapping

from errors import WorkerError

Predict = Callable[[Any], Any]


class Model:
    def __init__(self, predict: Predict, device: str, size: int) -> None:
        self.predict, self.device, self.size = predict, device, size


def load(architecture: str, path: str, form: str, threads: int, size: int) -> Model:
    if not os.path.isfile(path):
        raise WorkerError("pulling", f"the weights '{path}' are not there", "fgpu models import MODEL FILE")
    return {"torch": load_torch, "onnx": load_onnx}[form](architecture, path, threads, size)


def softmax(logits: Any) -> Any:
    import numpy
    powers = numpy.exp(logits - logits.max())
    return powers / powers.sum()


def import_torch() -> Any:
    """torch, without a part of 1.13 that takes a sixth of its start: kernels for tensors that have no data."""
    import importlib.util
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise WorkerError("loading_model", "torch is not installed for this Python", "apt-get install python3-torch, then models/setup DATA_DIR")
    try:
        with open(os.path.join(spec.submodule_search_locations[0], "version.py")) as file:
            known = "'1.13." in file.read()
    except OSError:
        known = False
    if known:
        sys.modules.setdefault("torch._meta_registrations", types.ModuleType("torch._meta_registrations"))
    import torch
    return torch


def load_torch(architecture: str, path: str, threads: int, size: int) -> Model:
    torch = import_torch()
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    import architectures
    with torch.inference_mode():
        forward = architectures.build(architecture, read_state(torch, path), device)

    def predict(array: Any) -> Any:
        try:
            with torch.inference_mode():
                return softmax(forward(torch.from_numpy(array)[None].to(device))[0].float().cpu().numpy())
        except RuntimeError as error:
            raise out_of_memory(error) or error
    return Model(predict, torch.cuda.get_device_name() if device.type == "cuda" else "cpu", size)


def out_of_memory(error: RuntimeError) -> Any:
    text = str(error)
    if "CUDA out of memory" in text:
        return WorkerError("oom_vram", text.split(".")[0], "submit again with a larger --mem")
    if "can't allocate memory" in text:
        return WorkerError("oom_host", "the model does not fit the memory of the slice", "submit again with a larger --mem")
    return None


def read_state(torch: Any, path: str) -> Mapping[str, Any]:
    """The tensors of a state dict by name. weights_only: a pickle that would run code is refused."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except TypeError:
        raise WorkerError("loading_model", f"torch {torch.__version__} cannot read weights safely", "install torch 1.13 or newer") from None
    except Exception as error:
        raise WorkerError("loading_model", f"not a torch file that holds tensors only: {str(error).splitlines()[0][:200]}",
                          "save it with torch.save(model.state_dict(), FILE)") from None
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise WorkerError("loading_model", "the file holds no state dict", "save it with torch.save(model.state_dict(), FILE)")
    return {name[7:] if name.startswith("module.") else name: tensor for name, tensor in state.items()}


def load_onnx(architecture: str, path: str, threads: int, size: int) -> Model:
    try:
        import onnxruntime
    except ImportError:
        raise WorkerError("loading_model", "ONNX Runtime is not installed for the workers", "models/setup --with-onnx DATA_DIR") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    have = onnxruntime.get_available_providers()
    providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in have]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:
        raise WorkerError("loading_model", f"not an ONNX model that can be loaded: {str(error).splitlines()[0][:200]}",
                          "export it with torch.onnx.export") from None
    shape, channels_last = onnx_input(session)
    cuda = session.get_providers()[0].startswith("CUDA")
    return Model(onnx_predict(session, channels_last), "cuda" if cuda else "cpu", shape or size)


def onnx_input(session: Any) -> Any:
    """(side of the picture or None, whether channels come last) of the model's one input."""
    inputs = session.get_inputs()
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or inputs[0].type != "tensor(float)" or 3 not in (shape[1], shape[3]):
        raise WorkerError("loading_model", f"the ONNX model wants {[(i.name, i.type, i.shape) for i in inputs]}, not one picture",
                          "it must take one float tensor [1, 3, size, size] or [1, size, size, 3]")
    last = shape[1] != 3
    side = shape[1] if last else shape[2]
    return (side if isinstance(side, int) else None), last


def onnx_predict(session: Any, channels_last: bool) -> Predict:
    name = session.get_inputs()[0].name

    def predict(array: Any) -> Any:
        picture = array.transpose(1, 2, 0) if channels_last else array
        scores = session.run(None, {name: picture[None].copy()})[0].reshape(-1)
        if scores.size == 1001:
            scores = scores[1:]    # TensorFlow's class 0 is "background"
        if scores.size != 1000:
            raise WorkerError("loading_model", f"the ONNX model gives {scores.size} scores, not one for each of 1,000 classes")
        already = scores.min() >= 0 and abs(float(scores.sum()) - 1) < 1e-2
        return scores if already else softmax(scores)
    return predict
