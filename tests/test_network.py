"""The BLOX network against known forward passes, and its cost against the space's formula."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from archrank.spaces import InvalidArchitectureError, blox
from archrank.train_ground_truth.network import BloxNetwork, ConvNormRelu, SqueezeExcite, build_network

GOLDEN = Path(__file__).parent / "data" / "forward.npz"


def _load_golden(net: BloxNetwork, vector: list, weights: dict[str, np.ndarray]) -> None:
    """Put weights that are named by place into `net`; every weight must find its place."""
    places: dict[str, nn.Module] = {"stem": net.stem, "classifier": net.classifier}
    for s, stage in enumerate(net.stages):
        ops = {"op0": stage.cell.op1, "op1": stage.cell.op2}
        if stage.cell.op1 is None:  # the single operation may sit in either slot of the vector
            ops["op0"] = stage.cell.op2
        elif stage.cell.parallel and vector[s][0][0] < vector[s][1][0]:  # ours is sorted
            ops = {"op0": stage.cell.op2, "op1": stage.cell.op1}
        for slot, op in ops.items():
            layers = [m for m in op.modules() if isinstance(m, (ConvNormRelu, SqueezeExcite))]
            places.update({f"stage{s}/{slot}/layer{k}": layer for k, layer in enumerate(layers)})
        branches = {"main1": stage.reduction.main[0], "main2": stage.reduction.main[1], "side": stage.reduction.side}
        for name, branch in branches.items():
            places[f"stage{s}/reduction/{name}.0"] = branch.conv
            places[f"stage{s}/reduction/{name}.1"] = branch.norm
    filled = 0
    with torch.no_grad():
        for key, value in weights.items():
            place = max((p for p in places if key.startswith(p + ".")), key=len)
            target = places[place]
            for part in key[len(place) + 1 :].split("."):
                target = getattr(target, part)
            target.copy_(torch.from_numpy(value))
            filled += 1
    assert filled == sum(1 for k in net.state_dict() if not k.endswith("num_batches_tracked"))


@pytest.mark.parametrize("name", ["net0", "net1", "net2"])
def test_forward_agrees_with_known_answers(name):
    golden = np.load(GOLDEN)
    space = blox()
    vector = json.loads(str(golden[f"{name}/arch_vec"]))
    code = space.from_arch_vectors([vector])[0]
    net = build_network(code, space, width=4, classes=10)
    prefix = f"{name}/weights/"
    _load_golden(net, vector, {k.removeprefix(prefix): golden[k] for k in golden.files if k.startswith(prefix)})
    x = torch.from_numpy(golden[f"{name}/input"])
    with torch.no_grad():
        net.eval()
        for stage in range(3):
            before, after = net.features(x, stage)
            np.testing.assert_allclose(before, golden[f"{name}/stage{stage}_in"], atol=1e-4)
            np.testing.assert_allclose(after, golden[f"{name}/stage{stage}_out"], atol=1e-4)
        np.testing.assert_allclose(net(x), golden[f"{name}/logits_eval"], atol=1e-4)
        net.train()
        np.testing.assert_allclose(net(x), golden[f"{name}/logits_train_mode"], atol=1e-4)


def _count_flops(net: nn.Module, x: torch.Tensor) -> int:
    """FLOPs by the published rule, counted on the running modules."""
    total = 0

    def count(module, inputs, output):
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * (module.weight[0].numel() + 1)
        elif isinstance(module, nn.Linear):
            total += module.weight.numel() + module.bias.numel()
            total += inputs[0].numel() * (x.shape[-1] >> len(net.stages)) ** 2  # the pool before it
        elif isinstance(module, nn.BatchNorm2d):
            total += 2 * output.numel()
        elif isinstance(module, ConvNormRelu):
            total += output.numel()
        elif isinstance(module, SqueezeExcite):
            total += inputs[0].numel() + module.c1.out_channels

    for module in net.modules():
        module.register_forward_hook(count)
    net.eval()(x)
    return total


@pytest.mark.parametrize(
    ("stages", "width", "size", "classes"), [(3, 32, 32, 100), (2, 8, 8, 10), (3, 8, 16, 10), (2, 6, 13, 7)]
)
def test_params_and_flops_agree_with_the_space(stages, width, size, classes):
    space = blox(stages, width, size, classes)
    for code in space.sample(6, seed=1):
        net = build_network(code, space)
        assert sum(p.numel() for p in net.parameters()) == space.params([code])[0]
        with torch.no_grad():
            assert _count_flops(net, torch.zeros(1, 3, size, size)) == space.flops([code])[0]


def test_bad_requests_are_refused():
    with pytest.raises(InvalidArchitectureError, match="row 0, stage 1: block id 45"):
        build_network([0, 45, 0], blox())
    with pytest.raises(ValueError, match="width must be even"):
        build_network([0, 0, 0], blox(), width=7)
    with pytest.raises(ValueError, match="leave nothing of 4 pixels"):
        build_network([0, 0, 0], blox(), image_size=4)
