"""Conformal intervals: their guarantee, by hand and by counting."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

import archrank
from archrank.encodings import OneHotEncoding
from archrank.predictors import make_predictor
from archrank.predictors.base import has_interval, has_std
from archrank.predictors.conformal import ConformalPredictor
from archrank.spaces import MacroSpace, blox, nas_bench_macro

LINE = MacroSpace.from_blocks([[str(i) for i in range(2000)]], name="line")


class Mean(RegressorMixin, BaseEstimator):
    """Predicts the mean of its training targets."""

    def fit(self, X, y):
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


class Codes(OneHotEncoding):
    """The codes themselves."""

    def transform(self, X):
        return self.canonical(X).astype(np.float32)


def mean_of_line():
    return Pipeline([("encoding", Codes(LINE)), ("regressor", Mean())])


def test_jackknife_plus_by_hand() -> None:
    y = np.array([0.0, 1.0, 3.0, 8.0])
    codes = np.arange(4)[:, None]
    model = ConformalPredictor(mean_of_line(), cv=10).fit(codes, y)
    assert model.predict(codes).tolist() == [3.0] * 4
    assert sorted(np.bincount(model.fold_)) == [1, 1, 1, 1]
    without = np.array([4.0, 11 / 3, 3.0, 4 / 3])
    errors = np.abs(y - without)
    lo, hi = model.predict_interval([[9]], coverage=0.6)  # 0.6 * 5: third of four, and second for the low end
    assert lo[0] == pytest.approx(np.sort(without - errors)[1])
    assert hi[0] == pytest.approx(np.sort(without + errors)[2])


@pytest.mark.parametrize(("n", "cv"), [(20, 50), (40, 10)])
def test_coverage_over_many_draws(n: int, cv: int) -> None:
    rng = np.random.default_rng(0)
    inside = {0.5: [], 0.8: [], 0.9: []}
    for _ in range(40):
        codes = rng.permutation(2000)[: n + 20, None]
        y = rng.gamma(2.0, size=n + 20)  # skewed: no normal law would be right
        model = ConformalPredictor(mean_of_line(), cv=cv).fit(codes[:n], y[:n])
        for coverage, shares in inside.items():
            lo, hi = model.predict_interval(codes[n:], coverage)
            shares.append(np.mean((lo <= y[n:]) & (y[n:] <= hi)))
    for coverage, shares in inside.items():
        assert np.mean(shares) == pytest.approx(coverage, abs=0.06)


def test_intervals_keep_to_the_bound_and_follow_the_error() -> None:
    space = blox(stages=2)
    inside = []
    for seed in range(6):
        codes = space.sample(260, seed=seed)
        x = np.log(space.flops(codes))
        error = np.exp(2.0 - (x - x.mean()) + 0.1 * np.random.default_rng(seed).normal(size=len(x)))
        y = 100 - np.minimum(error, 90)
        model = ConformalPredictor(make_predictor("donna:cost", space, best_value=100.0), cv=5).fit(codes[:60], y[:60])
        lo, hi = model.predict_interval(codes[60:], 0.9)
        assert (hi < 100).all()
        assert spearmanr(hi - lo, 100 - y[60:]).statistic > 0.6
        inside.append(np.mean((lo <= y[60:]) & (y[60:] <= hi)))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.04)
    np.testing.assert_array_equal(model.predict(codes), clone(model.model).fit(codes[:60], y[:60]).predict(codes))


@pytest.mark.parametrize("best", [0.0, 100.0])
def test_predictions_beyond_the_best_training_network_have_ends_of_their_own(best: float) -> None:
    """Networks better than any in training by decades are not taken for one another."""
    space = blox(stages=2)
    codes = space.sample(300, seed=0)
    size = np.log(space.flops(codes))
    error = 1e-3 * np.exp(8 * (size.mean() - size))
    y = best + error if best == 0 else best - error
    bad = np.argsort(error)[100:]
    model = ConformalPredictor(make_predictor("donna:cost", space, best_value=best), cv=5).fit(codes[bad], y[bad])
    distinct = len(np.unique(model.predict(codes)))
    assert np.mean(np.abs(model.predict(codes) - best) < error[bad].min() / 2) > 0.1
    for end in model.predict_interval(codes, 0.9):
        assert len(np.unique(end)) == distinct


def test_too_few_networks_for_a_coverage() -> None:
    codes, y = np.arange(5)[:, None], np.arange(5.0)
    lo, hi = ConformalPredictor(mean_of_line()).fit(codes, y).predict_interval(codes, 0.9)
    assert np.isneginf(lo).all()
    assert np.isposinf(hi).all()
    space = blox(stages=2)
    codes = space.sample(5, seed=0)
    for best, y in ((100.0, 60 + np.arange(5.0)), (0.0, 1 + np.arange(5.0))):
        model = ConformalPredictor(make_predictor("donna:cost", space, best_value=best)).fit(codes, y)
        lo, hi = model.predict_interval(codes, 0.9)
        assert ((hi if best else lo) == best).all()
        assert np.isinf(lo if best else hi).all()


def test_intervals_nest_and_are_never_upside_down() -> None:
    space = blox(stages=2)
    codes = space.sample(40, seed=1)
    y = np.random.default_rng(0).normal(size=40)
    model = ConformalPredictor(make_predictor("donna:one_hot", space, alpha=1e-6), cv=4).fit(codes, y)
    narrower = None
    for coverage in (0.05, 0.5, 0.6, 0.9):
        lo, hi = model.predict_interval(space.all_codes(), coverage)
        assert (lo <= hi).all()
        if coverage < 0.5:
            assert (lo == hi).any(), "some would be empty here"
            continue
        if narrower is not None:
            assert ((lo <= narrower[0]) & (hi >= narrower[1])).all()
        narrower = lo, hi
    assert np.array_equal(model.predict_interval(space.all_codes()[-3:], 0.9)[1], hi[-3:]), (
        "rows do not depend on chunks"
    )


def test_isomorphic_networks_share_a_fold() -> None:
    space = nas_bench_macro()
    codes = np.random.default_rng(0).integers(0, 3, size=(60, 8))
    codes = np.concatenate([codes, space.canonical(codes), codes])
    y = np.random.default_rng(1).normal(size=len(codes))
    model = ConformalPredictor(make_predictor("donna:structure", space), cv=6).fit(codes, y)
    fold = {}
    for key, number in zip(space.keys(codes), model.fold_, strict=True):
        assert fold.setdefault(key, number) == number
    assert set(model.fold_) == set(range(6))


def test_what_conformal_refuses() -> None:
    codes, y = np.arange(5)[:, None], np.arange(5.0)
    with pytest.raises(ValueError, match="Input y contains NaN: row 1"):
        ConformalPredictor(mean_of_line()).fit(codes, [0.0, np.nan, 1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="2 or more folds and distinct networks, got 1 and 5"):
        ConformalPredictor(mean_of_line(), cv=1).fit(codes, y)
    with pytest.raises(ValueError, match="got 10 and 1"):
        ConformalPredictor(mean_of_line()).fit(codes[:1], y[:1])
    with pytest.raises(ValueError, match="coverage must lie between 0 and 1"):
        ConformalPredictor(mean_of_line()).fit(codes, y).predict_interval(codes, 90)
    with pytest.raises(NotFittedError):
        ConformalPredictor(mean_of_line()).predict(codes)
    with pytest.raises(TypeError, match="got Mean without a space"):
        ConformalPredictor(Mean()).fit(codes, y)


def test_conformal_predictors_are_judged_by_compare(toy) -> None:
    def factory(seed):
        return ConformalPredictor(make_predictor("hant", toy), cv=5, random_state=seed)

    assert has_interval(factory(0))
    assert not has_std(factory(0))
    row = archrank.compare({"hant with intervals": factory}, toy, n_train=[40], trials=3).to_json()["rows"][0]
    assert row["failures"] == 0
    assert row["coverage90_mean"] == pytest.approx(0.9, abs=0.1)
    assert row["nll_mean"] is None
