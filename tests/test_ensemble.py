"""Ensembles: weights, deviations and members; and auto on every kind of table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, rankdata
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.pipeline import Pipeline
from tiny import quick

from archrank import load, make_predictor, save
from archrank.encodings import PlainEncoding, StructureEncoding
from archrank.ground_truth import GroundTruth, Metric, Signatures
from archrank.predictors import AutoRegressor, EnsembleRegressor
from archrank.predictors.base import predict_interval
from archrank.spaces import MacroSpace, blox, nas_bench_macro

SPACE = blox(stages=2)
CODES = SPACE.sample(300, seed=0)


def quality(codes: np.ndarray) -> np.ndarray:
    """What a block is worth, drawn at random, and FLOPs: some features tell of it, none tells all."""
    worth = np.random.default_rng(0).normal(size=(2, 45)) / 4
    return 3 * np.log(SPACE.flops(codes)) + worth[0][codes[:, 0]] + worth[1][codes[:, 1]]


class Oracle(RegressorMixin, BaseEstimator):
    """Knows the quality up to noise of its own, and standard deviations that are all `claims`."""

    def __init__(self, *, noise: float = 0.0, claims: float | None = None, luck: int = 7) -> None:
        self.noise = noise
        self.luck = luck
        self.claims = claims

    def fit(self, X: np.ndarray, y: np.ndarray) -> Oracle:
        self.fitted_ = True
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        codes = np.asarray(X, dtype=np.int64)
        luck = np.array([np.random.default_rng([self.luck, *row]).normal() for row in codes])
        return quality(codes) + self.noise * luck

    def predict_interval(self, X: np.ndarray, coverage: float) -> tuple[np.ndarray, np.ndarray]:
        mean = self.predict(X)
        return mean - self.claims, mean + self.claims  # of one standard deviation, which is what ensembles ask for


class Noise(RegressorMixin, BaseEstimator):
    """Of the right size, and of no use."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Noise:
        self.mean_, self.scale_ = float(np.mean(y)), float(np.std(y))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        luck = np.array([np.random.default_rng([3, *row]).normal() for row in np.asarray(X, dtype=np.int64)])
        return self.mean_ + self.scale_ * luck


def member(regressor: BaseEstimator) -> Pipeline:
    return Pipeline([("encoding", PlainEncoding(SPACE)), ("regressor", regressor)])


# -- weights -----------------------------------------------------------------------------------------


def test_noise_gets_little_weight() -> None:
    members = [("good", make_predictor("donna:cost", SPACE)), ("noise", member(Noise()))]
    y = quality(CODES)
    good, noise = (
        EnsembleRegressor(members=members, weighting="stacked", random_state=0).fit(CODES[:80], y[:80]).weights_
    )
    assert 0.7 < good < 1.2
    assert 0 <= noise < 0.15
    np.testing.assert_array_equal(EnsembleRegressor(members=members).fit(CODES[:80], y[:80]).weights_, [0.5, 0.5])


def test_weights_by_hand() -> None:
    """With members that need no training, and so predict the same in every fold."""
    y = quality(CODES[:60])
    members = [("a", member(Oracle(noise=0.3, claims=1.0))), ("b", member(Oracle(noise=0.5, claims=1.0, luck=8)))]
    model = EnsembleRegressor(members=members, weighting="stacked", random_state=0, shrinkage=20.0).fit(CODES[:60], y)
    M = np.stack([(m["regressor"].predict(CODES[:60]) - y.mean()) / y.std() for _, m in members])
    z = (y - y.mean()) / y.std()
    prior = 1 / ((M - z) ** 2).mean(axis=1)
    prior /= prior.sum()
    expected = np.linalg.solve(M @ M.T + 20 * np.eye(2), M @ z + 20 * prior)
    assert (expected > 0).all()  # so that least squares need no bound
    np.testing.assert_allclose(model.weights_, expected, rtol=1e-8)
    # Deviations: those of the members, whatever their predictions differ by, and the errors of the whole.
    differ = model.weights_ / model.weights_.sum() @ (M - model.weights_ / model.weights_.sum() @ M) ** 2
    surprise = (z - expected @ M) / np.sqrt(1 / y.std() ** 2 + differ)
    assert model.stretch_ == pytest.approx(np.sqrt(((surprise**2).sum() + 20) / (60 + 20)), rel=1e-6)


def test_stacking_is_no_worse_than_equal_weights() -> None:
    """Paired over splits, where one member knows much less than the others."""
    members = [(n, make_predictor(n, SPACE)) for n in ("donna:cost", "donna:structure+cost", "baseline:depth")]
    y = 95 - np.exp(40 - quality(CODES) / 1.5)
    gains = []
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(len(CODES))
        train, test = order[:50], order[50:]
        taus = [
            kendalltau(
                EnsembleRegressor(members=members, weighting=w, best_value=95.0, random_state=seed)
                .fit(CODES[train], y[train])
                .predict(CODES[test]),
                y[test],
            ).statistic
            for w in ("stacked", "equal")
        ]
        gains.append(taus[0] - taus[1])
    assert np.mean(gains) > 0.005


def test_weights_are_never_negative() -> None:
    """Of two members that err alike least squares without a bound would take one less the other."""
    members = [("a", member(Oracle(noise=1.0, claims=1.0))), ("b", member(Oracle(noise=2.0, claims=1.0)))]
    model = EnsembleRegressor(members=members, weighting="stacked", random_state=0, shrinkage=0.1).fit(
        CODES, quality(CODES)
    )
    assert (model.weights_ >= 0).all()
    assert model.weights_[1] == 0


def test_where_all_members_fail_there_is_an_order_still() -> None:
    """Least squares would give weights of 0, and so a constant."""
    y = quality(CODES)

    class Contrary(Oracle):
        def predict(self, X: np.ndarray) -> np.ndarray:
            return 2 * y.mean() - super().predict(X)

    members = [("a", member(Contrary())), ("b", member(Contrary(noise=0.1)))]
    members = [(label, m.set_params(regressor__claims=1.0)) for label, m in members]
    model = EnsembleRegressor(members=members, weighting="stacked", random_state=0).fit(CODES, y)
    assert model.weights_.sum() == pytest.approx(1)
    assert np.ptp(model.predict(CODES)) > 0
    assert model.stretch_ > 1


def test_few_networks_weigh_equally() -> None:
    y = quality(CODES)
    members = [("good", make_predictor("donna:cost", SPACE)), ("noise", member(Noise()))]
    for codes, targets in ((CODES[:4], y[:4]), (CODES[[0, 0, 1, 1, 2, 3]], y[:6]), (CODES[:9], np.full(9, 5.0))):
        model = EnsembleRegressor(members=members, weighting="stacked", random_state=0).fit(codes, targets)
        np.testing.assert_array_equal(model.weights_, [0.5, 0.5])
        assert model.stretch_ == 1


def test_repeated_networks_share_a_fold() -> None:
    """A member that remembers would else be taken for one that predicts."""

    class Memory(RegressorMixin, BaseEstimator):
        def fit(self, X: np.ndarray, y: np.ndarray) -> Memory:
            self.known_ = {tuple(row): value for row, value in zip(X.tolist(), y, strict=True)}
            self.mean_ = float(np.mean(y))
            return self

        def predict(self, X: np.ndarray) -> np.ndarray:
            return np.array([self.known_.get(tuple(row), self.mean_) for row in np.asarray(X).tolist()])

    members = [("memory", member(Memory())), ("cost", make_predictor("donna:cost", SPACE))]
    twice = np.repeat(CODES[:40], 2, axis=0)
    memory, cost = (
        EnsembleRegressor(members=members, weighting="stacked", random_state=0).fit(twice, quality(twice)).weights_
    )
    assert memory < 0.3 < cost


# -- deviations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("claims", [0.05, 5.0])
def test_deviations_are_stretched_to_the_errors(claims: float) -> None:
    """Members that promise too much, and too little."""
    y = quality(CODES) + np.random.default_rng(1).normal(size=300)
    members = [("a", member(Oracle(claims=claims)))]
    model = EnsembleRegressor(members=members, weighting="stacked", random_state=0, shrinkage=1.0).fit(
        CODES[:150], y[:150]
    )
    lo, hi = model.predict_interval(CODES[150:], 0.9)
    assert 0.85 < np.mean((lo <= y[150:]) & (y[150:] <= hi)) < 0.95
    assert (model.stretch_ > 1) == (claims < 1)


def test_members_that_know_no_deviations() -> None:
    """What is left is the spread of the targets, stretched where errors are known."""
    y = quality(CODES)
    members = [("noise", member(Noise()))]
    _, std = EnsembleRegressor(members=members).fit(CODES[:60], y[:60]).predict(CODES, return_std=True)
    np.testing.assert_allclose(std, y[:60].std(), rtol=1e-9)


def test_disagreement_makes_deviations() -> None:
    y = quality(CODES)
    members = [("a", member(Oracle(claims=0.5))), ("b", member(Oracle(noise=2.0, claims=0.5)))]
    model = EnsembleRegressor(members=members).fit(CODES, y)
    apart = np.abs(np.subtract(*(m["regressor"].predict(CODES) for _, m in members)))
    np.testing.assert_allclose(model.predict(CODES, return_std=True)[1], np.hypot(0.5, apart / 2), rtol=1e-6)


@pytest.mark.parametrize("best", [None, 95.0])
def test_intervals_of_auto_cover_what_they_say(best: float | None) -> None:
    inside = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        z = quality(CODES) + 0.3 * rng.normal(size=300)
        y = z if best is None else best - np.exp(40 - z / 1.5)
        order = rng.permutation(300)
        train, test = order[:60], order[60:]
        model = quick("auto", SPACE, best_value=best, folds=5).fit(CODES[train], y[train])
        lo, hi = predict_interval(model, CODES[test], 0.9)
        inside.append(np.mean((lo <= y[test]) & (y[test] <= hi)))
    assert 0.83 < np.mean(inside) < 0.97


# -- beyond the best training network ----------------------------------------------------------------------

# Errors over decades, which costs tell of: metric values and the bound of the metric.
LARGE = np.log(SPACE.flops(CODES)) - np.log(SPACE.flops(CODES)).mean()
WIDE = {"latency": (np.exp(-8 * LARGE), 0.0), "accuracy near 100 %": (100 - 1e-3 * np.exp(-8 * LARGE), 100.0)}


@pytest.mark.parametrize("metric", WIDE)
def test_an_ensemble_of_one_ranks_like_its_member(metric: str) -> None:
    """Predictions may be better than any training network by decades: nothing is cut there."""
    y, best = WIDE[metric]
    bad = np.argsort(np.abs(y - best))[100:]
    only = make_predictor("donna:cost", SPACE, best_value=best)
    alone = only.fit(CODES[bad], y[bad])
    smallest = np.abs(y[bad] - best).min()
    assert np.mean(np.abs(alone.predict(CODES) - best) < smallest / 2) > 0.1
    for weighting in ("equal", "stacked"):
        model = EnsembleRegressor(members=[("only", only)], weighting=weighting, best_value=best, random_state=0).fit(
            CODES[bad], y[bad]
        )
        np.testing.assert_array_equal(rankdata(model.predict(CODES)), rankdata(alone.predict(CODES)))
        if weighting == "equal":
            np.testing.assert_allclose(
                model.predict_interval(CODES, 0.6), predict_interval(alone, CODES, 0.6), rtol=1e-6, atol=1e-12
            )


def test_a_member_of_no_weight_does_not_widen_deviations() -> None:
    y = quality(CODES)
    members = [("sure", member(Oracle(claims=0.5))), ("lost", member(Oracle(noise=9.0, claims=50.0)))]
    model = EnsembleRegressor(members=members, weighting="stacked", random_state=0, shrinkage=1e-6).fit(CODES, y)
    assert model.weights_[1] < 0.01
    lo, hi = model.predict_interval(CODES, 0.9)
    np.testing.assert_allclose(model.stretch_ * 0.5, (hi - lo) / 2 / 1.6449, rtol=0.5)


# -- members -------------------------------------------------------------------------------------------


def test_members_of_ones_own() -> None:
    members = (("costs", make_predictor("donna:cost", SPACE)), ("trees", quick("gbdt:one_hot", SPACE)))
    model = make_predictor("ensemble", SPACE, members=members).fit(CODES[:60], quality(CODES[:60]))
    each = [m.fit(CODES[:60], quality(CODES[:60])).predict(CODES) for m in model["regressor"].members_]
    np.testing.assert_allclose(model.predict(CODES), np.mean(each, axis=0), rtol=1e-9)
    assert not hasattr(members[0][1]["regressor"], "target_"), "what was given is cloned"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((), "an ensemble needs members: .* got none"),
        ((make_predictor("donna:cost", SPACE),), "members must be pairs of a label and a pipeline"),
        ((("a", Noise()),), r"got tuple \('a', Noise\(\)\); write \('mine', make_predictor\(\.\.\.\)\)"),
        (("gp", "gcn"), "got str 'gp'"),
    ],
)
def test_what_are_no_members(members: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnsembleRegressor(members=members).fit(CODES[:10], quality(CODES[:10]))


def test_an_unknown_weighting() -> None:
    members = [("a", make_predictor("donna:cost", SPACE))]
    with pytest.raises(ValueError, match="weighting must be 'stacked' or 'equal', got 'best'"):
        EnsembleRegressor(members=members, weighting="best").fit(CODES[:10], quality(CODES[:10]))


def test_members_know_bound_and_seed() -> None:
    model = quick("auto", SPACE, best_value=120.0, random_state=5).fit(CODES[:20], quality(CODES[:20]))
    fitted = {
        label: m["regressor"]
        for (label, _), m in zip(model["regressor"].members, model["regressor"].members_, strict=True)
    }
    assert {r.best_value for r in fitted.values()} == {120.0}
    assert fitted["gcn"].random_state == fitted["gbdt"].random_state is not None


def test_seeds_decide() -> None:
    y = quality(CODES)
    one, same, other = (
        quick("auto", SPACE, random_state=seed).fit(CODES[:30], y[:30]).predict(CODES) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_saved_ensemble_can_be_fitted_again(tmp_path: Path) -> None:
    y = quality(CODES)
    model = quick("auto", SPACE).fit(CODES[:30], y[:30])
    loaded = load(save(model, tmp_path / "model"))
    assert [label for label, _ in loaded["regressor"].members] == ["gp", "gcn", "gbdt", "donna"]
    np.testing.assert_array_equal(loaded.predict(CODES), model.predict(CODES))
    # From the weights on: what a member starts from is the same, so the second fit is too.
    np.testing.assert_array_equal(
        loaded.fit(CODES[30:60], y[30:60]).predict(CODES), model.fit(CODES[30:60], y[30:60]).predict(CODES)
    )


# -- auto on every kind of table --------------------------------------------------------------------------


def encodings_of(model: Pipeline) -> dict[str, list[str]]:
    """Names of the encodings of each member."""
    from archrank.encodings.registry import encoding_name

    return {
        label: [n for n, _ in m["encoding"].transformer_list]
        if hasattr(m["encoding"], "transformer_list")
        else [encoding_name(m["encoding"])]
        for label, m in model["regressor"].members
    }


def test_auto_takes_what_there_is(toy: GroundTruth) -> None:
    everything = ["structure", "cost"]
    assert encodings_of(make_predictor("auto", SPACE)) == {
        "gp": everything,
        "gcn": ["graph"],
        "gbdt": everything,
        "donna": everything,
    }
    both = ["structure", "signature"]
    four = {"gp": both, "gcn": ["graph"], "gbdt": both, "donna": both}
    assert encodings_of(make_predictor("ensemble", toy)) == four
    alone = {"gp:signature": ["signature"], "donna:signature": ["signature"]}
    assert encodings_of(make_predictor("auto", toy)) == four | alone
    plain = MacroSpace.from_blocks([["a", "b"], ["x", "y", "z"]])
    assert encodings_of(make_predictor("auto", plain))["gp"] == ["structure"]
    assert isinstance(make_predictor("auto", plain)["regressor"], AutoRegressor)


def test_signatures_of_some_blocks_are_left_out(toy: GroundTruth) -> None:
    """A store that is half distilled still gives a predictor; asked for an unknown column, it says what there is."""
    rows = [(s, b, "t", float(b)) for s, n in enumerate(toy.space.n_blocks) for b in range(n) if (s, b) != (1, 2)]
    frame = pd.DataFrame(rows, columns=["stage", "block", "teacher", "nsr"])
    some = Signatures(frame, {"nsr": Metric("nsr", "min")}, toy.space.n_blocks)
    assert encodings_of(make_predictor("auto", toy.space, signatures=some))["gp"] == ["structure"]
    model = quick("auto", toy.space, signatures=some).fit(toy.codes[:30], toy.values("acc")[:30])
    assert kendalltau(model.predict(toy.codes[30:]), toy.values("acc")[30:]).statistic > 0.5
    with pytest.raises(ValueError, match="unknown signature column 'kl'"):
        make_predictor("auto", toy, columns=("kl",))


TABLES = {
    "blox": SPACE,
    "groups and skips": nas_bench_macro(),
    "names of blocks alone": MacroSpace.from_blocks([list("abcde"), list("uvwxyz"), list("klm")]),
    "one stage": MacroSpace.from_blocks([list("abcdefghijklmnopqrstuvwxyz")]),
    "a stage of one block": MacroSpace.from_blocks([["a"], list("uvwxyz"), list("klmnop")]),
    "numbers": MacroSpace.from_blocks(
        [list("abcde")] * 3, attributes=[{"kernel": [1, 3, 5, 7, 9], "kind": list("vwvwv")}] * 3
    ),
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("predictor", ["gp", "auto"])
def test_any_space_and_any_number_of_networks_from_five(table: str, predictor: str) -> None:
    space = TABLES[table]
    codes = space.sample(min(26, space.size), seed=0)
    X = StructureEncoding(space).transform(codes)
    y = X @ np.random.default_rng(0).normal(size=X.shape[1])
    for n in (1, 2, 5, 7, 20):
        mean, std = quick(predictor, space).fit(codes[:n], y[:n]).predict(codes, return_std=True)
        assert np.isfinite(mean).all()
        assert ((std > 0) & np.isfinite(std)).all()
    assert n == 20
    assert kendalltau(mean[:20], y[:20]).statistic > 0.5


@pytest.mark.parametrize("direction", ["max", "min"])
@pytest.mark.parametrize("bounds", [(0.0, 100.0), (None, None)])
def test_any_direction_and_bound(toy: GroundTruth, direction: str, bounds: tuple[float | None, float | None]) -> None:
    """Metrics are predicted in their own unit, whichever way is better."""
    frame = pd.DataFrame(toy.codes, columns=["stage_0", "stage_1", "stage_2"])
    rise = 1 if direction == "max" else -1
    frame["score"] = 50 + rise * (toy.codes @ np.array([2.0, 1.0, 0.7]))
    table = GroundTruth.from_frame(toy.space, frame, {"score": Metric("score", direction, "", bounds)}, name="t")
    y = table.values("score")
    order = np.random.default_rng(0).permutation(len(y))
    model = quick("auto", table).fit(table.codes[order[:40]], y[order[:40]])
    predicted = model.predict(table.codes[order[40:]])
    assert kendalltau(predicted, y[order[40:]]).statistic > 0.7
    assert np.abs(predicted - y[order[40:]]).mean() < 0.5 * y.std()
    if bounds[0] is not None:
        lo, hi = predict_interval(model, table.codes, 0.999)
        assert (hi <= 100).all() if direction == "max" else (lo >= 0).all()
