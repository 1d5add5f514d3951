"""Zero-cost proxies: closed forms, degenerate cases, the same numbers everywhere, jobs and rows."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from archrank.train_ground_truth.batches import prepare_data
from archrank.train_ground_truth.data import Images
from archrank.train_ground_truth.launch import Setup
from archrank.train_ground_truth.measure_commands import register
from archrank.train_ground_truth.network import ConvNormRelu, SqueezeExcite
from archrank.train_ground_truth.proxies import (
    PROXY_METRICS,
    ProxyJob,
    _relu_kernel,
    code_kernel,
    grad_norm,
    jacob_cov,
    log_synflow,
    nwot,
    proxy_rows,
    zero_cost_proxies,
)
from archrank.train_ground_truth.recipe import recipe_from_dict
from archrank.train_ground_truth.store import Store

RECIPE = recipe_from_dict(
    {
        "name": "tiny",
        "space": {"stages": 2, "width": 4, "image_size": 8, "classes": 3},
        "data": {"train": 40, "val": 8},
        "training": {"batch_size": 16},
    }
)


def make_data(recipe=RECIPE):
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (60, 3, 8, 8), dtype=np.uint8))
    labels = torch.arange(60) % 3
    return prepare_data(
        Images((pixels[:50], labels[:50]), (pixels[50:], labels[50:]), ("a", "b", "c"), "x"), recipe, "cpu"
    )


@pytest.fixture(scope="module")
def data():
    return make_data()


class PartlyUsed(nn.Module):
    """One of its layers gets no gradient."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(2, 1), nn.Linear(2, 1)

    def forward(self, x):
        return self.used(x)


def test_synflow_of_a_small_network_is_its_closed_form():
    """Each of the L layers contributes R = 1'|W_L|...|W_1|1, whatever signs and biases are."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    a, b, c = (net[i].weight.detach().double().abs() for i in (0, 2, 4))
    assert log_synflow(net, (4,)) == pytest.approx(math.log(3 * float((c @ b @ a).sum())), rel=1e-12)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_synflow_without_flow_and_beyond_float64():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    nn.init.zeros_(net[2].weight)
    assert log_synflow(net, (2,)) == -math.inf
    deep = nn.Sequential(*(nn.Linear(1, 1) for _ in range(400)))
    for layer in deep:
        nn.init.constant_(layer.weight, -10.0)
    assert log_synflow(deep, (1,)) == math.inf
    net = PartlyUsed()
    expected = math.log(float(net.used.weight.detach().double().abs().sum()))
    assert log_synflow(net, (2,)) == pytest.approx(expected)
    assert grad_norm(net, net(torch.ones(1, 2)).sum()) == pytest.approx(math.sqrt(2))


def test_code_kernel_counts_units_that_agree():
    active = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 1, 0]], dtype=torch.bool)
    expected = (active[:, None] == active[None]).sum(2).double()
    assert torch.equal(code_kernel(active), expected)
    assert nwot(expected) == pytest.approx(np.linalg.slogdet(expected.numpy())[1])


def test_nwot_of_images_that_cannot_be_told_apart_is_undefined():
    same = torch.tensor([[1, 0, 1, 1], [1, 0, 1, 1], [0, 1, 0, 0]], dtype=torch.bool)
    assert math.isnan(nwot(code_kernel(same)))
    assert math.isnan(nwot(torch.zeros(3, 3)))
    assert nwot(4 * torch.eye(3)) == pytest.approx(3 * math.log(4))


def test_relu_codes_are_those_of_every_relu():
    torch.manual_seed(0)
    net = nn.Sequential(ConvNormRelu(3, 4, 3), SqueezeExcite(4), nn.ReLU())
    x = torch.randn(6, 3, 5, 5)
    with _relu_kernel(net) as kernel:
        net(x)
    inner = net[0](x)
    squeezed = net[1].c1(inner.mean((2, 3), keepdim=True))
    codes = [t.flatten(1) > 0 for t in (inner, squeezed, net(x))]
    assert torch.equal(kernel[0], code_kernel(torch.cat(codes, 1)))
    assert not any(m._forward_hooks for m in net.modules())


def test_jacob_cov_is_largest_without_correlation():
    apart = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1], [1, 1, -1, -1]])
    k = 1e-5
    assert jacob_cov(apart) == pytest.approx(-3 * (math.log(1 + k) + 1 / (1 + k)))
    alike = torch.tensor([[1.0, -1, 0, 0], [2, -2, 0, 0], [1, 1, -1, -1]])  # eigenvalues 2, 1, 0
    expected = -sum(math.log(e + k) + 1 / (e + k) for e in (2, 1, 0))
    assert jacob_cov(alike) == pytest.approx(expected, rel=1e-6)
    assert math.isnan(jacob_cov(torch.tensor([[1.0, 1, 1], [1, 2, 3]])))
    assert math.isnan(jacob_cov(torch.full((2, 3), math.nan)))


def test_grad_norm_sums_over_weights():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    loss = net(torch.tensor([[1.0, 2.0]])).sum()
    first, second = torch.autograd.grad(loss, [net[0].weight, net[1].weight], retain_graph=True)
    assert grad_norm(net, loss) == pytest.approx(float(first.norm() + second.norm()))


def test_all_proxies_of_networks(data):
    codes = [[0, 0], [1, 1], [2, 2], [3, 40]]
    found = [zero_cost_proxies(code, RECIPE, 0, data) for code in codes]
    for values in found:
        assert list(values) == list(PROXY_METRICS)
        assert all(math.isfinite(v) for v in values.values())
        assert values["log_synflow"] == pytest.approx(math.log(values["synflow"]))
        assert values["jacob_cov"] <= -16 * (1 - 1e-3)
    assert all(len({v[name] for v in found}) == len(codes) for name in PROXY_METRICS)
    assert zero_cost_proxies([0, 0], RECIPE, 1, data) != found[0]


def test_same_numbers_in_another_process_and_with_more_threads(data):
    code = (
        "import json, torch, test_proxies as t; torch.manual_seed(9); torch.set_num_threads(2);"
        "print(json.dumps(t.zero_cost_proxies([7, 30], t.RECIPE, 3, t.make_data())))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=__file__.rpartition("/")[0]
    )
    assert json.loads(out.stdout) == zero_cost_proxies([7, 30], RECIPE, 3, data)


def test_job_and_rows(data, tmp_path):
    setup, store = Setup(RECIPE, "nowhere", "cpu"), Store.create(tmp_path, RECIPE, "x")
    jobs = [ProxyJob((3, 14)), ProxyJob((3, 14), seed=1), ProxyJob((0, 2))]
    assert [j.key for j in jobs] == ["proxies-3-14-s0", "proxies-3-14-s1", "proxies-0-2-s0"]
    for job in jobs:
        job.run(setup, data, store)
    lost = ProxyJob((1, 1))
    for key, record in lost.failure(setup, "x", "out-of-memory").items():
        store.write(key, record)
    records = store.read_all()
    assert records["proxies-3-14-s0"]["metrics"] == zero_cost_proxies([3, 14], RECIPE, 0, data)
    assert records["proxies-3-14-s0"]["kind"] == "proxies"
    rows = proxy_rows([*records.values(), {"kind": "block"}])
    assert [r["code"] for r in rows] == [(0, 2), (1, 1), (3, 14)]
    pair = [records[f"proxies-3-14-s{s}"]["metrics"]["nwot"] for s in (0, 1)]
    assert rows[2]["nwot"] == pytest.approx(sum(pair) / 2)
    assert math.isnan(rows[1]["nwot"])
    assert records["proxies-1-1-s0"]["status"] == "out-of-memory"


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("ARCHRANK_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in "ab":
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for i in range(6):
                Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "pictures"


def test_the_command(pictures, tmp_path):
    plan, store = tmp_path / "small.toml", tmp_path / "store"
    plan.write_text(
        'name = "small"\n[space]\nstages = 1\nwidth = 4\nimage_size = 4\nclasses = 2\n'
        "[data]\ntrain = 8\nval = 4\n[training]\nbatch_size = 4\n"
    )
    app = typer.Typer()
    register(app)
    call = ["proxies", str(plan), "--data", str(pictures), "--archs", "3", "--out", str(store), "--device", "cpu"]
    result = CliRunner().invoke(app, [*call, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["records"] == 3
    assert set(found["undefined"]) == set(PROXY_METRICS)
    assert [k.rpartition("-s")[0].count("proxies-") for k in Store(store).keys()] == [1] * 3  # noqa: SIM118
    assert "next: archrank merge" in CliRunner().invoke(app, call).stdout


@pytest.mark.gpu
def test_proxies_on_a_gpu_are_close(data):
    from dataclasses import replace

    def move(part):
        return part[0].cuda(), part[1].cuda()

    there = replace(
        data,
        train=move(data.train),
        val=move(data.val),
        test=move(data.test),
        mean=data.mean.cuda(),
        std=data.std.cuda(),
    )
    here = zero_cost_proxies([3, 14], RECIPE, 0, data)
    assert zero_cost_proxies([3, 14], RECIPE, 0, there) == pytest.approx(here, rel=1e-2)
