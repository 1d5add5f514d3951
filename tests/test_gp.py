"""The Gaussian process: its kernel, its parts of a network, and inference, against textbook computations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct
from sklearn.pipeline import Pipeline

from archrank.ground_truth import GroundTruth
from archrank.predictors import GPRegressor, make_predictor
from archrank.predictors.base import predict_interval
from archrank.predictors.gp import _LEAST_NOISE
from archrank.predictors.gp_kernel import Kernel, Pairs, Parts
from archrank.predictors.parts import feature_parts
from archrank.spaces import MacroSpace, blox, nas_bench_macro

SPACE = blox(stages=2)
# One feature of each kind and more; the order is mixed on purpose.
PARTS = ("total", "stage0", "number", "signature.nsr", "stage1", "", "stage1.cost", "total", "signature.nsr", "stage0")


def features(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, len(PARTS)))


def hyperparameters(kernel: Kernel, seed: int) -> torch.Tensor:
    """A draw from the priors."""
    return torch.from_numpy(np.random.default_rng(seed).normal(kernel.prior_mean, kernel.prior_sd))


# -- kernel ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_kernel_is_a_covariance(seed: int) -> None:
    parts = Parts.of(features(40, seed), PARTS)
    kernel = Kernel.of(parts)
    theta = hyperparameters(kernel, seed)
    K = kernel(theta, Pairs.of(parts, parts)).numpy()
    np.testing.assert_allclose(K, K.T, rtol=1e-12)
    assert np.linalg.eigvalsh(K).min() > -1e-10 * np.trace(K)
    np.testing.assert_allclose(kernel.variance(theta, parts).numpy(), np.diag(K), rtol=1e-9)
    np.testing.assert_allclose(kernel(theta, Pairs.of(parts[5:7], parts)).numpy(), K[5:7], rtol=1e-12)


def test_kernel_by_hand() -> None:
    """Every term, written out for two networks."""
    X = features(2)
    parts = Parts.of(X, PARTS)
    kernel = Kernel.of(parts)
    theta = hyperparameters(kernel, 1)
    value = {name: kernel.take(theta, name).numpy() for name in set(kernel.names)}
    a, b = X
    total, number = [0, 7], 2
    near = lambda distance, length: np.exp(-distance / (2 * length**2))  # noqa: E731
    apart = [((a - b)[[1, 9]] ** 2).sum() / 2, (a - b)[4] ** 2 + (a - b)[6] ** 2 / 2]  # costs count by half
    inner = [a[[1, 9]] @ b[[1, 9]] / 2, a[4] * b[4] + a[6] * b[6] / 2]
    sums = a[[3, 8]].sum() * b[[3, 8]].sum() / 2
    expected = (
        1
        + value["linear"] * (a[total] @ b[total] / 2 + a[number] * b[number])
        + value["network"]
        * near(((a - b)[total] ** 2).sum() / 2, value["total_length"])
        * near((a - b)[number] ** 2, value["number_length"])
        + value["slope"] * sum(inner)
        + sum(v * near(d, value["stage_length"]) for v, d in zip(value["stage"], apart, strict=True))
        + value["product"] * np.prod([near(d, s) for d, s in zip(apart, value["product_length"], strict=True)])
        + value["signature"] * near(((a - b)[[3, 8]] ** 2).sum() / 2, value["signature_length"])
        + value["sum"] * sums
    )
    assert kernel(theta, Pairs.of(parts, parts))[0, 1].item() == pytest.approx(expected.item(), rel=1e-12)


def test_features_left_out_do_not_count() -> None:
    X = features(6)
    other = X.copy()
    other[:, PARTS.index("")] = 9
    model = GPRegressor(parts=PARTS, moments=((0.0,) * len(PARTS), (1.0,) * len(PARTS))).fit(X, X[:, 0])
    np.testing.assert_array_equal(model.predict(X), model.predict(other))


def test_terms_follow_the_parts_there_are() -> None:
    def names(*parts: str) -> set[str]:
        return set(Kernel.of(Parts.of(np.ones((2, len(parts))), parts)).names)

    assert names() == {"noise"}
    assert names("total") == {"noise", "linear", "network", "total_length"}
    assert names("number") - names("total") == {"number_length"}
    assert names("stage0") == {"noise", "slope", "stage", "stage_length", "product", "product_length"}
    assert names("signature.acc") == {"noise", "signature", "signature_length", "sum"}


# -- inference -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted() -> tuple[GPRegressor, np.ndarray, np.ndarray]:
    X = features(25)
    y = 3 + X[:, 0] + np.sin(2 * X[:, 1]) + 0.1 * np.random.default_rng(1).normal(size=25)
    return GPRegressor(parts=PARTS).fit(X, y), X, y


def covariance(model: GPRegressor, X: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of networks by their raw features."""
    mean, sd = model.mean_, model.scale_
    used = [PARTS[i] for i in model.used_]
    a, b = (Parts.of((Z[:, model.used_] - mean) / sd, used) for Z in (X, other))
    kernel = Kernel.of(a)
    return kernel(torch.from_numpy(model.theta_), Pairs.of(a, b)).numpy()


def noise(model: GPRegressor) -> float:
    return float(np.exp(model.theta_[0])) + _LEAST_NOISE


def test_posterior_is_that_of_the_textbook(fitted: tuple[GPRegressor, np.ndarray, np.ndarray]) -> None:
    """Rasmussen & Williams 2006, Eqs. 2.23 and 2.24."""
    model, X, y = fitted
    new = features(8, seed=5)
    z = (y - y.mean()) / y.std()
    K = covariance(model, X, X) + noise(model) * np.eye(len(X))
    k = covariance(model, new, X)
    mean = k @ np.linalg.solve(K, z)
    variance = np.diag(covariance(model, new, new) - k @ np.linalg.solve(K, k.T)) + noise(model)
    predicted, std = model.predict(new, return_std=True)
    np.testing.assert_allclose(predicted, y.mean() + y.std() * mean, rtol=1e-8)
    np.testing.assert_allclose(std, y.std() * np.sqrt(variance), rtol=1e-8)


def test_likelihood_is_that_of_the_normal_law(fitted: tuple[GPRegressor, np.ndarray, np.ndarray]) -> None:
    model, X, y = fitted
    K = covariance(model, X, X) + noise(model) * np.eye(len(X))
    z = (y - y.mean()) / y.std()
    assert model.log_likelihood_ == pytest.approx(multivariate_normal(np.zeros(len(X)), K).logpdf(z), rel=1e-8)


def test_hyperparameters_are_a_maximum(fitted: tuple[GPRegressor, np.ndarray, np.ndarray]) -> None:
    """Of the likelihood times the priors: no small step leads up."""
    model, X, y = fitted
    z = (y - y.mean()) / y.std()
    kernel = Kernel.of(Parts.of(X[:, model.used_], [PARTS[i] for i in model.used_]))

    def posterior(theta: np.ndarray) -> float:
        moved = GPRegressor(parts=PARTS)
        moved.__dict__.update(model.__dict__, theta_=theta)
        K = covariance(moved, X, X) + noise(moved) * np.eye(len(X))
        prior = -(((theta - kernel.prior_mean) / kernel.prior_sd) ** 2).sum() / 2
        return float(multivariate_normal(np.zeros(len(X)), K).logpdf(z) + prior)

    best = posterior(model.theta_)
    assert best > posterior(kernel.prior_mean) + 1
    for step in 0.3 * np.vstack([np.eye(len(model.theta_)), -np.eye(len(model.theta_))]):
        assert posterior(model.theta_ + step) < best + 1e-6


def test_agrees_with_scikit_learn_on_a_kernel_that_both_have() -> None:
    X = np.random.default_rng(0).normal(size=(30, 3))
    y = X @ [1.0, -0.5, 0.2] + np.sin(X[:, 0])
    model = GPRegressor(moments=((0.0,) * 3, (1.0,) * 3)).fit(X, y)  # every feature is a total
    linear, network, length = np.exp(model.theta_[1:])
    # Totals are divided by the root of their number.
    kernel = ConstantKernel(linear / 3) * DotProduct(sigma_0=np.sqrt(3 / linear))  # the constant 1 with it
    kernel += ConstantKernel(network) * RBF(length * np.sqrt(3))
    theirs = GaussianProcessRegressor(kernel, alpha=noise(model), optimizer=None, normalize_y=True).fit(X, y)
    new = np.random.default_rng(1).normal(size=(10, 3))
    predicted, std = model.predict(new, return_std=True)
    expected, latent = theirs.predict(new, return_std=True)
    np.testing.assert_allclose(predicted, expected, rtol=1e-6)
    np.testing.assert_allclose(std, np.sqrt(latent**2 + noise(model) * y.var()), rtol=1e-6)
    assert model.log_likelihood_ == pytest.approx(theirs.log_marginal_likelihood(theirs.kernel_.theta), rel=1e-8)


def test_repeated_networks_are_repeated_measurements() -> None:
    """Their mean counts, and its noise is smaller; what a single one's noise is stays the same."""
    X = features(12)
    y = X[:, 0] + 0.3 * np.random.default_rng(2).normal(size=12)
    model = GPRegressor(parts=PARTS).fit(np.repeat(X, 4, axis=0), np.repeat(y, 4))
    assert len(model.train_) == 12
    K = covariance(model, X, X)
    z = model.target_.forward(y)
    mean = K @ np.linalg.solve(K + noise(model) / 4 * np.eye(12), z)
    np.testing.assert_allclose(model.predict(X), model.target_.inverse(mean), rtol=1e-8)


def test_many_networks_learn_from_some_and_predict_from_all() -> None:
    X = features(60)
    y = X[:, 0] + 0.1 * X[:, 1]
    models = [GPRegressor(max_learn=20, random_state=seed).fit(X, y) for seed in (0, 0, 1)]
    assert np.array_equal(models[0].theta_, models[1].theta_)
    assert not np.array_equal(models[0].theta_, models[2].theta_)
    assert len(models[0].train_) == 60
    assert np.abs(models[0].predict(X) - y).max() < 0.1


def test_predictions_do_not_depend_on_their_company(monkeypatch: pytest.MonkeyPatch) -> None:
    X = features(20)
    model = GPRegressor(parts=PARTS).fit(X, X[:, 0])
    whole = model.predict(X, return_std=True)
    monkeypatch.setattr("archrank.predictors.gp._CHUNK", 60)  # three networks at a time
    np.testing.assert_allclose(model.predict(X, return_std=True), whole, rtol=1e-10)


def test_far_from_all_training_networks_little_is_known() -> None:
    X = features(30)
    model = GPRegressor(parts=PARTS).fit(X, X[:, 1] + X[:, 4])
    assert model.predict(X + 20, return_std=True)[1].min() > 2 * model.predict(X, return_std=True)[1].max()


@pytest.mark.parametrize("best", [None, 100.0])
def test_intervals_cover_what_they_say(best: float | None) -> None:
    """On targets with noise of known size, over several draws of 60 training networks."""
    codes = SPACE.sample(460, seed=0)
    worth = np.random.default_rng(0).normal(size=(2, 45))
    quality = worth[0][codes[:, 0]] + worth[1][codes[:, 1]] + 2 * np.log(SPACE.flops(codes))
    inside = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        z = quality - quality.mean() + 0.5 * rng.normal(size=len(codes))
        y = z if best is None else best - np.exp(2 - 0.3 * z)
        order = rng.permutation(len(codes))
        train, test = order[:60], order[60:]
        model = make_predictor("gp:structure+cost", SPACE, best_value=best).fit(codes[train], y[train])
        lo, hi = predict_interval(model, codes[test], 0.9)
        inside.append(np.mean((lo <= y[test]) & (y[test] <= hi)))
    assert 0.85 < np.mean(inside) < 0.96


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"parts": ("total",)}, "parts must name the part of each of 3 features, got 1"),
        ({"parts": ("total", "stage", "number")}, "unknown part 'stage'; there are stage0, "),
        ({"parts": ("total", "stage1.flops", "number")}, r"unknown part 'stage1\.flops'"),
        ({"moments": ((0.0,), (1.0,))}, "a mean and a spread for each of 3 features"),
        ({"target_transform": "log"}, "unknown target_transform 'log'"),
    ],
)
def test_what_cannot_be_fitted_is_explained(params: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GPRegressor(**params).fit(np.eye(3), [1.0, 2.0, 3.0])


# -- parts of architectures ------------------------------------------------------------------------------


def parts_of(model: Pipeline) -> dict[str, str]:
    """Part by feature name."""
    names = [str(name).rpartition("__")[2] for name in model["encoding"].get_feature_names_out()]
    return dict(zip(names, model["regressor"].parts, strict=True))


def test_parts_of_blox() -> None:
    parts = parts_of(make_predictor("gp", SPACE))
    for name, part in parts.items():
        stage, _, what = name.partition(".")
        cost = what in ("params", "flops") or "params" in what or "flops" in what
        if stage in ("stage0", "stage1"):
            assert part == (f"{stage}.cost" if cost else stage), name
        elif stage == "total" and not cost:
            assert part in ("total", ""), name
        else:
            assert part == "number", name
    assert {"stage0", "stage1", "stage0.cost", "stage1.cost", "total", "number"} <= set(parts.values())


def test_totals_that_repeat_others_are_left_out() -> None:
    """With attributes a and b = 2 a + 1 the sums of b repeat those of a."""
    attributes = [{"a": [0.0, 1.0, 3.0], "b": [1.0, 3.0, 7.0], "c": [5.0, 1.0, 2.0]}] * 2
    space = MacroSpace.from_blocks([list("xyz")] * 2, attributes=attributes)
    parts = parts_of(make_predictor("gp:structure", space))
    totals = {name: part for name, part in parts.items() if name.startswith("total")}
    assert totals == {"total.a": "total", "total.b": "", "total.c": "total"}


def test_parts_of_groups_and_skips() -> None:
    parts = parts_of(make_predictor("gp", nas_bench_macro()))
    stages = {f"stage{s}" for s in range(8)}
    assert stages <= set(parts.values()) <= stages | {f"{s}.cost" for s in stages} | {"total", "number", ""}
    assert any(part == "total" for name, part in parts.items() if name.startswith("group0"))


def test_parts_of_signatures(toy: GroundTruth) -> None:
    assert parts_of(make_predictor("gp:signature", toy)) == {f"stage{s}.nsr": "signature.nsr" for s in range(3)}
    joined = make_predictor("gp:one_hot+signature", toy)["regressor"].parts
    assert joined[:5] == ("stage0",) * 5
    assert joined[-3:] == ("signature.nsr",) * 3


def test_moments_are_those_of_the_space() -> None:
    model = make_predictor("gp:cost", SPACE)
    everything = model["encoding"].transform(SPACE.all_codes())
    mean, spread = model["regressor"].moments
    np.testing.assert_allclose(mean, everything.mean(axis=0), rtol=0.02)
    np.testing.assert_allclose(spread, everything.std(axis=0), rtol=0.05)


def test_features_known_of_measured_networks_only_have_no_moments() -> None:
    from archrank.encodings import NetworkColumns, make_encoding
    from archrank.predictors.context import Context

    codes = SPACE.sample(20, seed=0)
    measured = NetworkColumns(codes, {"nwot": np.arange(20.0)})
    encoding = make_encoding("proxy", SPACE, measured=measured)
    assert feature_parts(Context(SPACE, None, None, measured), encoding) == {"parts": ("number",)}


def test_an_encoding_that_cannot_transform_is_heard() -> None:
    """Only that networks were not measured is no fault."""
    from archrank.encodings import CostEncoding
    from archrank.predictors.context import Context

    class Faulty(CostEncoding):
        def transform(self, X: object) -> np.ndarray:
            raise ValueError("a fault of its own")

    from archrank.predictors.moments import space_moments

    with pytest.raises(ValueError, match="a fault of its own"):
        space_moments(Context(SPACE, None, None), Faulty(SPACE))


@pytest.mark.parametrize(("columns", "part"), [(10, "number"), (11, "total")])
def test_many_columns_of_the_whole_network_share_a_length_scale(columns: int, part: str) -> None:
    from archrank.encodings import NetworkColumns

    codes = SPACE.sample(60, seed=0)
    X = np.random.default_rng(0).normal(size=(60, columns))
    measured = NetworkColumns(codes, {f"own{i:02}": X[:, i] for i in range(columns)})
    model = make_predictor("gp:proxy", SPACE, measured=measured)
    assert model["regressor"].parts == (part,) * columns
    y = X[:, 0] - X[:, 1]
    model.fit(codes[:40], y[:40])
    assert model["regressor"]._kernel.names.count("number_length") == (columns if part == "number" else 0)
    assert kendalltau(model.predict(codes[40:]), y[40:]).statistic > 0.6


# -- ranking ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gp", "gp:one_hot"])
def test_ranks_from_few_networks(name: str) -> None:
    codes = SPACE.sample(240, seed=1)
    worth = np.random.default_rng(3).normal(size=(2, 45)) / 8
    y = worth[0][codes[:, 0]] + worth[1][codes[:, 1]] + 3 * np.log(SPACE.flops(codes))
    taus = []
    for n in (5, 20, 40):
        model = make_predictor(name, SPACE).fit(codes[:n], y[:n])
        taus.append(kendalltau(model.predict(codes[40:]), y[40:]).statistic)
    assert taus[2] > (0.6 if name == "gp" else 0.3)
    assert taus[2] > taus[0]


def test_published_space_is_ranked(nas_bench_macro_file: Path) -> None:
    """Of 40 training networks, which other predictors rank at 0.8 or so."""
    import archrank

    bench = archrank.load_benchmark(f"nas-bench-macro:{nas_bench_macro_file}")
    order = np.random.default_rng(100).permutation(len(bench))
    codes, y = bench.codes[order], bench.values(bench.default_metric)[order]
    model = archrank.make_predictor("gp", bench).fit(codes[:40], y[:40])
    assert kendalltau(model.predict(codes[-1000:]), y[-1000:]).statistic > 0.78


def test_where_nothing_can_be_learnt_intervals_stay_wide() -> None:
    """Point estimates of hyperparameters promise a little too much: 82 % where 90 % are asked for."""
    codes = SPACE.sample(140, seed=0)
    inside = []
    for seed in range(6):
        y = np.random.default_rng(seed).normal(size=140)
        model = make_predictor("gp", SPACE).fit(codes[:40], y[:40])
        lo, hi = predict_interval(model, codes[40:], 0.9)
        inside.append(np.mean((lo <= y[40:]) & (y[40:] <= hi)))
    assert 0.75 < np.mean(inside) < 0.95
