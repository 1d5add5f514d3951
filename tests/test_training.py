"""Training and distillation: seeds, splits, resuming, known answers of the losses."""

import copy
import dataclasses
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY, values
from torch.utils._python_dispatch import TorchDispatchMode

from archrank.train_ground_truth import distill, load_images, losses, prepare_data, run_many, train_one
from archrank.train_ground_truth.batches import evaluate
from archrank.train_ground_truth.contract import Setup
from archrank.train_ground_truth.finetune import assemble, finetune_one, probe_one
from archrank.train_ground_truth.jobs import DistillJob, TeacherRef
from archrank.train_ground_truth.network import ConvNormRelu, Stage
from archrank.train_ground_truth.recipe import recipe_from_dict
from archrank.train_ground_truth.runtime import generator
from archrank.train_ground_truth.signatures import output_errors, re_estimate_norms, swap_scores
from archrank.train_ground_truth.store import Store, record_key
from archrank.train_ground_truth.table import merge
from archrank.train_ground_truth.train import Teacher, initialised_network, learning_rate

DATA = Path(__file__).parent / "data"


def test_nsr_and_kd_agree_with_known_answers():
    golden = np.load(DATA / "nsr.npz")
    for i in range(2):
        student, teacher = (torch.from_numpy(golden[f"{k}_{i}"]) for k in ("student", "teacher"))
        assert losses.nsr(student, teacher).item() == pytest.approx(float(golden[f"nsr_{i}"]), rel=1e-5)
    golden = np.load(DATA / "kd.npz")
    for i in range(5):
        student, teacher, label = (torch.from_numpy(golden[f"{k}_{i}"]) for k in ("student", "teacher", "label"))
        alpha, temperature, k = golden[f"cfg_{i}"].tolist()
        assert losses.kd(student, teacher, label, alpha, temperature).item() == pytest.approx(
            float(golden[f"kd_{i}"]), abs=1e-5
        )
        assert losses.kd_topk(student, teacher, label, alpha, temperature, int(k)).item() == pytest.approx(
            float(golden[f"kd_topk_{i}"]), abs=1e-5
        )
    with pytest.raises(ValueError, match="k must be from 1 to"):
        losses.kd_topk(student, teacher, label, k=student.shape[1])


def test_nsr_leaves_out_constant_channels():
    teacher = torch.randn(4, 3, 5, 5)
    teacher[:, 1] = 2.0
    student = teacher + 1
    expected = losses.nsr(student[:, [0, 2]], teacher[:, [0, 2]])
    assert losses.nsr(student, teacher) == pytest.approx(expected.item())
    assert torch.isnan(losses.nsr(student[:, [1]], teacher[:, [1]]))


def test_same_seed_same_record_and_other_seed_other_record(recipe, data):
    first, again, other = (train_one([3, 7], recipe, seed, "cpu", data=data) for seed in (0, 0, 1))
    assert values(first) == values(again)
    assert first["metrics"]["test_loss"] != other["metrics"]["test_loss"]
    assert len(first["metrics"]["val_acc"]) == recipe.training.epochs


def test_training_learns(pictures):
    plan = recipe_from_dict(
        {**TINY, "space": {**TINY["space"], "width": 8}, "training": {"epochs": 20, "batch_size": 8}}
    )
    record = train_one([0, 0], plan, 0, "cpu", data=prepare_data(load_images(pictures, 8), plan, "cpu"))
    assert record["metrics"]["test_acc"] > 80  # three classes told apart by colour; chance is 33


def test_threads_and_global_seed_do_not_matter(recipe, data):
    torch.manual_seed(5)
    first = train_one([2, 9], recipe, 0, "cpu", data=data)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(6)
    assert values(train_one([2, 9], recipe, 0, "cpu", data=data)) == values(first)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_the_bias_before_a_batch_norm_has_no_gradient():
    """The reason for not computing it: autograd's own gradient is zero to rounding."""
    layer = ConvNormRelu(3, 4, 3).double()
    x = torch.randn(8, 3, 6, 6, dtype=torch.float64)
    y = layer.norm(torch.nn.functional.conv2d(x, layer.conv.weight, layer.conv.bias, padding=1))
    (gradient,) = torch.autograd.grad(y.square().mul(torch.rand_like(y)).sum(), layer.conv.bias)
    assert gradient.abs().max() < 1e-10
    torch.testing.assert_close(torch.relu(y), layer(x))


def test_best_epoch_is_tested_when_asked_for(pictures):
    plan = recipe_from_dict({**TINY, "training": {"epochs": 6, "batch_size": 16, "weights": "best-val"}})
    part = prepare_data(load_images(pictures, 8), plan, "cpu")
    # Validation images as test images: the tested accuracy must be that of the best epoch.
    swapped = type(part)(part.train, part.val, part.val, part.mean, part.std, part.sha256)
    metrics = train_one([1, 1], plan, 0, "cpu", data=swapped)["metrics"]
    assert metrics["test_acc"] == max(metrics["val_acc"])


def test_divergence_is_a_record_with_its_status(recipe, data):
    wild = recipe_from_dict({**TINY, "optimizer": {"lr": 1e30}})
    record = train_one([0, 0], wild, 0, "cpu", data=data)
    assert record["status"] == "diverged"
    assert np.isnan(record["metrics"]["test_acc"])


def test_distillation_does_not_depend_on_the_company(recipe, data):
    teacher = Teacher("t", initialised_network([4, 4], recipe, 0, torch.device("cpu")))
    together = distill(teacher, 1, [0, 5, 20], recipe, 0, data=data)
    alone = distill(teacher, 1, [5], recipe, 0, data=data)
    assert values(together[1]) == values(alone[0])
    assert all(r["metrics"]["train_nsr"][-1] < r["metrics"]["train_nsr"][0] for r in together)


def test_one_teacher_forward_per_batch_serves_all_candidates(recipe, data):
    teacher = Teacher("t", initialised_network([4, 4], recipe, 0, torch.device("cpu")))
    calls = 0

    def count(*_):
        nonlocal calls
        calls += 1

    teacher.network.stem.register_forward_hook(count)
    distill(teacher, 0, [0, 1, 2, 3], recipe, 0, data=data)
    # 48 images in batches of 16 while distilling and once more for the norms; held-out images once for the
    # errors and once for the swaps.
    assert calls == recipe.distill.epochs * 3 + 3 + 1 + 1


def test_block_errors_on_held_out_images_are_the_loss_on_them_at_once(recipe, data):
    """The sums over batches give what one big batch gives."""
    teacher = initialised_network([4, 4], recipe, 0, torch.device("cpu")).eval()
    block = Stage(7, 4).eval()
    (score,) = output_errors(teacher, 0, [block], data)
    with torch.no_grad():
        before, after = teacher.features(data.normalise(data.val[0]), 0)
        assert score["nsr"] == pytest.approx(losses.nsr(block(before), after).item(), rel=1e-5)
        assert score["mse"] == pytest.approx((block(before) - after).square().mean().item(), rel=1e-5)


def test_the_teachers_own_block_changes_nothing_but_the_norms(recipe, data):
    teacher = initialised_network([4, 4], recipe, 0, torch.device("cpu"))
    re_estimate_norms(teacher, recipe, generator(torch.device("cpu"), 3), data)
    own, other = copy.deepcopy(teacher.stages[1]), Stage(7, 8)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    same, changed = swap_scores(teacher, 1, [own, other], recipe, generator(torch.device("cpu"), 3), data)
    # Not exactly zero: the whole network's norms were estimated with norms that were being estimated.
    assert abs(same["ce_change"]) < 0.02
    assert 0 <= same["kl"] < 1e-3 < changed["kl"]
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items()), "the teacher was altered"


def test_signature_columns_are_a_choice(recipe, data):
    teacher = Teacher("t", initialised_network([4, 4], recipe, 0, torch.device("cpu")))
    (record,) = distill(teacher, 1, [3], recipe, 0, data=data, columns=["nsr", "kl"])
    assert set(record["metrics"]) == {"train_nsr", "nsr", "kl"}
    with pytest.raises(ValueError, match="no signature column 'psnr'; there are nsr, mse"):
        distill(teacher, 1, [3], recipe, 0, data=data, columns=["psnr"])


# -- other ways to train --------------------------------------------------------------------------------


def test_distillation_with_logits_follows_the_teacher(pictures):
    """A student that is taught wrong labels learns the teacher's, not the true ones."""
    plan = recipe_from_dict(
        {
            **TINY,
            "space": {**TINY["space"], "width": 8},
            "training": {"epochs": 20, "batch_size": 8, "weights": "last"},
            "kd": {"alpha": 1},
        }
    )
    part = prepare_data(load_images(pictures, 8), plan, "cpu")
    good = train_one([0, 0], plan, 0, "cpu", data=part, keep_weights=True)
    network = initialised_network([0, 0], plan, 0, torch.device("cpu"))
    network.load_state_dict(good["weights"])
    # The teacher confuses class 0 with class 1: its outputs change places.
    with torch.no_grad():
        network.classifier.weight.copy_(network.classifier.weight[[1, 0, 2]])
        network.classifier.bias.copy_(network.classifier.bias[[1, 0, 2]])
    student = train_one([0, 0], plan, 1, "cpu", data=part, teacher=Teacher("wrong", network))
    assert student["variant"] == "distilled"
    assert student["teacher"] == "wrong"
    assert good["metrics"]["test_acc"] > 80
    assert student["metrics"]["test_acc"] < 50


def test_kd_top_k_is_a_variant_of_its_own(pictures):
    plan = recipe_from_dict({**TINY, "kd": {"top_k": 1}})
    part = prepare_data(load_images(pictures, 8), plan, "cpu")
    teacher = Teacher("t", initialised_network([4, 4], plan, 0, torch.device("cpu")))
    records = [train_one([0, 0], plan, 0, "cpu", data=part, teacher=teacher, top_k=k) for k in (False, True)]
    assert [r["variant"] for r in records] == ["distilled", "distilled-topk"]
    assert records[0]["metrics"] != records[1]["metrics"]
    with pytest.raises(ValueError, match="top_k needs a teacher"):
        train_one([0, 0], plan, 0, "cpu", data=part, top_k=True)


@pytest.fixture
def distilled(recipe, data):
    """A teacher and its distilled blocks 4 and 7 of both stages."""
    teacher = Teacher("t", initialised_network([4, 4], recipe, 0, torch.device("cpu")))
    records = [distill(teacher, s, [4, 7], recipe, 0, data=data, keep_weights=True) for s in (0, 1)]
    return teacher, [{r["block"]: r["weights"] for r in stage} for stage in records]


def test_fine_tuning_starts_from_the_blocks(recipe, data, distilled):
    teacher, blocks = distilled
    net = assemble([7, 4], teacher, [blocks[0][7], blocks[1][4]])
    assert net.code == (7, 4)
    assert all(torch.equal(v, blocks[0][7][k]) for k, v in net.stages[0].state_dict().items())
    assert all(torch.equal(v, teacher.network.stem.state_dict()[k]) for k, v in net.stem.state_dict().items())
    chosen = [blocks[0][7], blocks[1][4]]
    zero = finetune_one([7, 4], chosen, recipe, 0, data=data, teacher=teacher, epochs=0)
    two = finetune_one([7, 4], chosen, recipe, 0, data=data, teacher=teacher, epochs=2)
    again = finetune_one([7, 4], chosen, recipe, 0, data=data, teacher=teacher, epochs=2)
    assert (zero["variant"], two["variant"]) == ("finetuned-0", "finetuned-2")
    assert len(zero["metrics"]["val_acc"]) == 1
    assert len(two["metrics"]["train_loss"]) == 2
    assert values(two) == values(again)


def test_the_probe_separates_what_features_separate(recipe, data, distilled):
    teacher, blocks = distilled
    record = probe_one([4, 4], [blocks[0][4], blocks[1][4]], recipe, 0, data=data, teacher=teacher)
    assert record["variant"] == "probe"
    assert record["metrics"]["test_acc"] > 60  # blocks of an untrained teacher; chance is 33


def test_blocks_that_do_not_fit_together_are_distilled_apart(pictures, recipe, data, tmp_path, monkeypatch):
    """Only the block that does not fit alone is left over."""
    calls = []

    def small_device(teacher, stage, group, *args, **options):
        calls.append(list(group))
        if len(group) > 2 or 7 in group:
            # What torch's allocator for the CPU raises.
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return distill(teacher, stage, group, *args, **options)

    monkeypatch.setattr("archrank.train_ground_truth.jobs.distill", small_device)
    store = Store.create(tmp_path / "s", recipe, data.sha256)
    job = DistillJob(1, (0, 3, 5, 7, 9), TeacherRef((4, 4), 0, None))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        job.run(Setup(recipe, str(pictures), "cpu"), data, store)
    assert sorted(r["block"] for r in store.read_all().values()) == [0, 3, 5, 9]
    assert calls[0] == [0, 3, 5, 7, 9]


class PowerCut:
    """Stands for the evaluation after an epoch; the third does not come about."""

    def __init__(self, monkeypatch):
        self.calls = 0
        monkeypatch.setattr("archrank.train_ground_truth.train.evaluate", self)

    def __call__(self, *args):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return evaluate(*args)


def test_a_resumed_training_gives_the_same_bits(recipe, data, tmp_path, monkeypatch):
    monkeypatch.setattr("archrank.train_ground_truth.checkpoint._EVERY_SECONDS", 0.0)
    plan = recipe_from_dict({**TINY, "training": {"epochs": 4, "batch_size": 16, "weights": "best-val"}})
    whole = train_one([3, 7], plan, 0, "cpu", data=data)
    file = tmp_path / "checkpoints" / "3-7.pt"
    evaluations = PowerCut(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train_one([3, 7], plan, 0, "cpu", data=data, checkpoint=file)
    assert file.exists()
    state = torch.load(file, weights_only=True)
    torch.save(state | {"spent": (1000.0, 2000.0)}, file)
    resumed = train_one([3, 7], plan, 0, "cpu", data=data, checkpoint=file)
    assert evaluations.calls == 3 + 2 + 1  # two epochs were done before the cut; two more, and the test
    assert values(resumed) == values(whole)
    assert not file.exists()
    assert 1000 < resumed["host"]["wall_seconds"] < 1900
    assert resumed["host"]["cpu_seconds"] > 2000
    # A state that was made with other flags, images, torch or processor is not taken for this run's.
    for change in ({"fast": True}, {"data": dataclasses.replace(data, sha256="other")}, "torch", "machine"):
        torch.save(state, file)
        evaluations.calls = 5
        with monkeypatch.context() as patch:
            if change == "torch":
                patch.setattr(torch, "__version__", "1.0")
            elif change == "machine":
                patch.setattr("archrank.train_ground_truth.runtime.cpu_identity", lambda: ("Other CPU", "9 AVX2"))
            options = change if isinstance(change, dict) else {}
            train_one([3, 7], plan, 0, "cpu", **{"data": data, "checkpoint": file} | options)
        assert evaluations.calls == 5 + 4 + 1, change


def test_a_resumed_fine_tuning_gives_the_same_bits(recipe, data, tmp_path, monkeypatch):
    monkeypatch.setattr("archrank.train_ground_truth.checkpoint._EVERY_SECONDS", 0.0)
    teacher = Teacher("4-4-s0", initialised_network([4, 4], recipe, 0, torch.device("cpu")))
    blocks = [Stage(block, 4 << stage).state_dict() for stage, block in enumerate((7, 4))]
    tune = functools.partial(finetune_one, [7, 4], blocks, recipe, 0, data=data, epochs=3)
    whole = tune(teacher=teacher)
    file = tmp_path / "7-4.pt"
    evaluations = PowerCut(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        tune(teacher=teacher, checkpoint=file)
    state = file.read_bytes()
    assert values(tune(teacher=teacher, checkpoint=file)) == values(whole)
    assert evaluations.calls == 3 + 1 + 1
    assert not file.exists()
    file.write_bytes(state)
    tune(teacher=Teacher("5-5-s0", teacher.network), checkpoint=file)  # of another teacher
    assert evaluations.calls == 5 + 3 + 1


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_a_damaged_or_foreign_checkpoint_is_ignored(recipe, data, tmp_path, monkeypatch, content):
    monkeypatch.setattr("archrank.train_ground_truth.checkpoint._EVERY_SECONDS", 0.0)
    file = tmp_path / "x.pt"
    file.write_bytes(content)
    whole = train_one([3, 7], recipe, 0, "cpu", data=data)
    assert values(train_one([3, 7], recipe, 0, "cpu", data=data, checkpoint=file)) == values(whole)


def test_fast_says_so_in_the_record(recipe, data):
    assert train_one([0, 0], recipe, 0, "cpu", data=data)["host"]["deterministic"] is True
    assert train_one([0, 0], recipe, 0, "cpu", data=data, fast=True)["host"]["deterministic"] is False
    assert not torch.are_deterministic_algorithms_enabled()


PRECISIONS = """
import torch
from archrank.train_ground_truth.runtime import reproducible
backends = torch.backends

def state():
    if not hasattr(backends, "fp32_precision"):
        return [backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()]
    on_gpu = [backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul]
    on_cpu = [backends.mkldnn.conv, backends.mkldnn.matmul]
    return [operation.fp32_precision for operation in on_gpu + on_cpu]

CALLER
before = state()
for fast in (False, True):
    with reproducible(torch.device("cpu"), fast):
        # torch.compile reads these
        assert (backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32) == (fast, fast)
        assert torch.get_float32_matmul_precision() == ("high" if fast else "highest")
        if hasattr(backends, "fp32_precision"):
            assert state() == 4 * ["tf32" if fast else "ieee"] + 2 * ["ieee"], (fast, state())
    assert state() == before, (fast, state(), before)
"""
BY_THE_NEWER_WAY = pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch 2.9 brought it")


@pytest.mark.parametrize(
    "caller",
    [
        "",
        "backends.cuda.matmul.allow_tf32 = True",
        "torch.set_float32_matmul_precision('medium')",
        pytest.param("backends.fp32_precision = 'tf32'", marks=BY_THE_NEWER_WAY),
        pytest.param("backends.cudnn.fp32_precision = 'tf32'", marks=BY_THE_NEWER_WAY),
        pytest.param("backends.cudnn.fp32_precision = 'ieee'", marks=BY_THE_NEWER_WAY),
        pytest.param("backends.cudnn.conv.fp32_precision = 'ieee'", marks=BY_THE_NEWER_WAY),
        pytest.param("backends.cuda.matmul.fp32_precision = 'tf32'", marks=BY_THE_NEWER_WAY),
    ],
)
def test_float32_is_not_tf32_unless_fast_allows_it_whatever_the_caller_has_set(caller):
    """In a process of its own: what one way has set, the other cannot always undo."""
    code = PRECISIONS.replace("CALLER", caller)
    whole, _, value = caller.partition(".fp32_precision = ")
    if whole in ("backends", "backends.cudnn"):  # what is set as a whole can still be changed as a whole
        other = {"'tf32'": "ieee", "'ieee'": "tf32"}[value]
        of = slice(None) if whole == "backends" else slice(4)
        code += f"{whole}.fp32_precision = '{other}'\nassert set(state()[{of}]) == {{'{other}'}}, state()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_half_precision_learns_after_gradients_that_overflow(recipe, data, monkeypatch):
    """The optimiser skips those steps, the first ones, before it has ever written its momentum."""
    half = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, precision="fp16"))
    scales = []

    class Scaler(torch.amp.GradScaler):
        def __init__(self, device, enabled):
            super().__init__(device, init_scale=2.0**30, backoff_factor=2.0**-20, enabled=enabled)

        def update(self):
            super().update()
            scales.append(self.get_scale())

    monkeypatch.setattr(torch.amp, "GradScaler", Scaler)
    # Memory that nobody has written holds whatever was there before: here something large.
    monkeypatch.setattr(torch, "empty_like", lambda *args, **options: torch.full_like(args[0], 1e30))
    record = train_one([3, 7], half, 0, "cpu", data=data)
    assert scales == [2.0**10] * len(scales), "the first step overflowed, and no other"
    assert record["status"] == "ok"


@pytest.mark.filterwarnings("ignore")
def test_every_network_of_a_process_is_compiled(recipe, data, monkeypatch):
    """The compiler has one limit for all modules of a class, past which it silently runs them as they are."""
    built = []

    def backend(graph, inputs):
        built.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    short = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, epochs=1, batch_size=48))
    for code in ([11, 11], [14, 14], [11, 14]):
        built.clear()
        train_one(code, short, 0, "cpu", data=data, compiled=True)
        assert built, code


@pytest.mark.slow  # the compiler takes a minute
@pytest.mark.filterwarnings("ignore")
def test_compiled_training_gives_nearly_the_same_numbers(recipe, data):
    plain = train_one([3, 7], recipe, 0, "cpu", data=data)
    compiled = train_one([3, 7], recipe, 0, "cpu", data=data, compiled=True)
    assert compiled["host"]["compiled"]
    assert compiled["metrics"]["train_loss"][0] == pytest.approx(plain["metrics"]["train_loss"][0], rel=1e-3)


class _Syncs(TorchDispatchMode):
    """Counts operations that make a GPU's host wait."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.count += name in ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "masked_select", "equal")
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device(pictures):
    """The number of waits is the same for 3 and for 24 steps per epoch."""
    counts = []
    for batch in (16, 2):
        plan = recipe_from_dict(
            {
                **TINY,
                "training": {"epochs": 1, "batch_size": batch},
                "augment": {"flip": True, "crop_padding": 1, "cutout": 4, "randaugment_ops": 2},
            }
        )
        part = prepare_data(load_images(pictures, 8), plan, "cpu")
        with _Syncs() as seen:
            train_one([3, 7], plan, 0, "cpu", data=part)
        counts.append(seen.count)
    assert counts[0] == counts[1] > 0


def test_schedules_start_peak_and_end_where_they_should():
    cosine = recipe_from_dict({**TINY, "training": {"epochs": 4, "batch_size": 16}, "optimizer": {"lr": 0.2}})
    assert [learning_rate(cosine, 0.2, 4, s, 10) for s in (0, 9, 20)] == pytest.approx([0.2, 0.2, 0.1])
    cycle = recipe_from_dict(
        {
            **TINY,
            "training": {"epochs": 4, "batch_size": 16},
            "optimizer": {"lr": 0.2, "schedule": "one-cycle", "warmup": 0.25},
        }
    )
    rates = [learning_rate(cycle, 0.2, 4, s, 10) for s in range(40)]
    assert max(rates) == pytest.approx(0.2)
    assert rates.index(max(rates)) == 9
    assert rates[0] == pytest.approx(0.02)
    assert 0 < rates[-1] < 0.01


# -- table --------------------------------------------------------------------------------


def test_merge_makes_a_table_with_signatures(pictures, recipe, data, tmp_path):
    run_many([[0, 3], [4, 1]], recipe, [0, 1], tmp_path / "s", data=pictures, device="cpu")
    store = Store(tmp_path / "s")
    teacher = Teacher("t", initialised_network([4, 4], recipe, 0, torch.device("cpu")))
    for stage in (0, 1):
        for record in distill(teacher, stage, range(45), recipe, 0, data=data):
            store.write(f"block-{stage}-{record['block']}", record)
    table = merge(store, "tiny")
    assert len(table) == 2
    assert table.seeds == (0, 1)
    assert table.signatures is not None
    assert [len(column) for column in table.signatures.table("nsr")] == [45, 45]
    assert table.provenance["recipe_hash"] == recipe.hash
    record = store.read(record_key([4, 1], 1))
    assert record is not None
    assert table.seed_values("test_acc")[table.lookup([[4, 1]])[0], 1] == record["metrics"]["test_acc"]
