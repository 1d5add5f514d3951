"""Predictors: the contract of every registered one, and what each promises beyond it."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import GridSearchCV
from tiny import QUICK, quick

from archrank.encodings import GraphEncoding, NetworkColumns
from archrank.ground_truth import GroundTruth, Metric, Signatures
from archrank.predictors import (
    DonnaRegressor,
    GBDTRegressor,
    GCNRegressor,
    HantRegressor,
    list_predictors,
    make_predictor,
    register_predictor,
    save,
)
from archrank.predictors import registry as predictor_registry
from archrank.predictors.target import Target
from archrank.spaces import blox, nas_bench_macro
from archrank.testing import check_predictor

SUITS = {
    "auto": ["codes"],
    "ensemble": ["codes"],
    "hant": ["signature", "scaled_signature"],
    "gcn": ["graph"],
    "baseline": [],
}  # baselines: test_baselines.py
SPACE = blox(stages=2)


@pytest.fixture(scope="module")
def signatures() -> Signatures:
    import pandas as pd

    rng = np.random.default_rng(0)
    stage, block = np.repeat([0, 1], 45), np.tile(np.arange(45), 2)
    frame = pd.DataFrame({"stage": stage, "block": block, "teacher": "t", "nsr": rng.random(90), "acc": rng.random(90)})
    return Signatures(frame, {"nsr": Metric("nsr", "min"), "acc": Metric("acc", "max")}, (45, 45))


def pairs() -> list[str]:
    tabular = ["cost", "one_hot", "proxy", "signature", "structure", "signature+cost"]
    return [f"{name}:{encoding}" for name in list_predictors() for encoding in SUITS.get(name, tabular)]


@pytest.mark.parametrize("name", pairs())
def test_contract(name: str, signatures: Signatures) -> None:
    codes = SPACE.all_codes()
    measured = NetworkColumns(codes, {"nwot": np.random.default_rng(1).random(len(codes))})
    model = quick(name, SPACE, signatures=signatures, measured=measured)
    once = name in ("auto:codes", "donna:signature", "hant:signature", "gcn:graph", "gbdt:structure", "gp:structure")
    check_predictor(model, processes=once, regressor=once)


@pytest.mark.parametrize("name", ["donna:structure", "gbdt", "gcn", "gp", "auto"])
def test_contract_where_architectures_have_twins(name: str) -> None:
    check_predictor(quick(name, nas_bench_macro()), n_train=60, processes=False, regressor=False)


# -- ranking -------------------------------------------------------------------------------------


def accuracy(codes: np.ndarray) -> np.ndarray:
    """A skewed accuracy in per cent: more FLOPs help, less and less."""
    flops = np.log(SPACE.flops(codes).astype(float))
    depth = np.array([b.count(">") for b in SPACE.blocks[0]])[codes[:, 0]]
    return 95 - 30 * np.exp(-4 * (flops - 17.5)) - 2 * (depth == 0)


@pytest.mark.parametrize("name", ["gbdt:structure", "gbdt:one_hot", "gbdt:cost"])
def test_gbdt_ranks_from_10_networks(name: str) -> None:
    """The library's own defaults predict a constant below about 40 networks."""
    codes = SPACE.sample(210, seed=0)
    y = accuracy(codes)
    for seed in range(3):
        for n in (5, 10, 20):
            predicted = make_predictor(name, SPACE, random_state=seed).fit(codes[:n], y[:n]).predict(codes[10:])
            assert len(np.unique(predicted)) > 3, f"{name} at n={n}"
    assert kendalltau(predicted, y[10:]).statistic > 0.2


def test_lightgbm_defaults_do_predict_a_constant() -> None:
    """Why gbdt sets its own sizes; if this fails, LightGBM has changed."""
    from lightgbm import LGBMRegressor

    codes = SPACE.sample(10, seed=0)
    model = LGBMRegressor(verbosity=-1, n_jobs=1).fit(codes.astype(float), accuracy(codes))
    assert np.ptp(model.booster_.predict(codes.astype(float))) == 0


@pytest.mark.parametrize(
    ("name", "least"), [("donna:structure", 0.8), ("gbdt", 0.8), ("gcn", 0.7), ("gp", 0.8), ("auto", 0.8)]
)
def test_ranks_unseen_networks(name: str, least: float) -> None:
    codes = SPACE.sample(400, seed=1)
    y = accuracy(codes)
    predicted = make_predictor(name, SPACE, random_state=0).fit(codes[:100], y[:100]).predict(codes[100:])
    assert kendalltau(predicted, y[100:]).statistic > least


def test_predictors_of_a_minimised_metric_predict_it_as_it_is(toy: GroundTruth) -> None:
    loss = toy.values("loss")
    for name in ("donna", "hant", "gbdt", "gcn", "gp", "auto"):
        model = make_predictor(name, toy, "loss", random_state=0).fit(toy.codes, loss)
        predicted = model.predict(toy.codes)
        assert np.corrcoef(predicted, loss)[0, 1] > 0.5, name
        assert abs(predicted.mean() - loss.mean()) < 0.1 * loss.mean(), name


# -- hant ------------------------------------------------------------------------------------------


def hant_score(signatures: Signatures, codes: np.ndarray, column: str) -> np.ndarray:
    return sum(table[codes[:, s]] for s, table in enumerate(signatures.table(column)))


def test_hant_needs_no_training(toy: GroundTruth) -> None:
    score = hant_score(toy.signatures, toy.codes, "nsr")
    # nsr is better when low, accuracy when high: the sum counts negatively.
    np.testing.assert_allclose(make_predictor("hant", toy, "acc").predict(toy.codes), -score, rtol=1e-6)
    # Loss and nsr improve in the same direction.
    np.testing.assert_allclose(make_predictor("hant", toy, "loss").predict(toy.codes), score, rtol=1e-6)


def test_calibration_keeps_the_order_of_the_sum(signatures: Signatures) -> None:
    codes = SPACE.sample(60, seed=0)
    score = hant_score(signatures, codes, "acc")
    for y in (70 + 5 * score, 70 - 5 * score):  # the second contradicts the signatures
        model = make_predictor("hant", SPACE, signatures=signatures, columns=("acc",)).fit(codes, y)
        predicted = model.predict(codes)
        assert model["regressor"].slope_ > 0
        assert kendalltau(predicted, score).statistic > 0.999
        assert abs(predicted.mean() - y.mean()) < 1e-6
    rising = make_predictor("hant", SPACE, signatures=signatures, columns=("acc",)).fit(codes, 70 + 5 * score)
    np.testing.assert_allclose(rising.predict(codes), 70 + 5 * score, rtol=1e-6)


def test_several_columns_weigh_alike(signatures: Signatures) -> None:
    model = make_predictor("hant", SPACE, signatures=signatures, columns=("acc", "nsr"))
    spread = {c: np.concatenate(signatures.table(c)).std() for c in ("acc", "nsr")}
    np.testing.assert_allclose(
        model["regressor"].weights, [1 / spread["acc"]] * 2 + [-1 / spread["nsr"]] * 2, rtol=1e-12
    )


def test_hant_refuses_weights_of_another_width() -> None:
    with pytest.raises(ValueError, match="one weight for each of 2 features"):
        HantRegressor(weights=(1.0,)).predict([[1.0, 2.0]])


# -- gcn -------------------------------------------------------------------------------------------


def test_gcn_leaves_the_global_generator_and_threads_alone() -> None:
    import torch

    torch.manual_seed(5)
    threads = torch.get_num_threads()
    expected = torch.rand(3)
    torch.manual_seed(5)
    codes = SPACE.sample(10, seed=0)
    make_predictor("gcn", SPACE, random_state=1, **QUICK["gcn"]).fit(codes, accuracy(codes)).predict(codes)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_gcn_sees_how_blocks_are_wired() -> None:
    """All blocks of two convolutions have the same operations; only edges tell them apart."""
    names = ["conv>conv", "conv>conv+input", "conv>conv+skip", "conv|conv", "conv>conv+input+skip"]
    codes = SPACE.codes_from_names([[a, b] for a in names for b in names])
    y = np.array([60 + 5 * names.index(a) + names.index(b) for a in names for b in names], dtype=float)
    predicted = make_predictor("gcn", SPACE, random_state=0).fit(codes, y).predict(codes)
    assert kendalltau(predicted, y).statistic > 0.9


def test_gcn_wants_graphs_of_the_layout_it_was_fitted_on() -> None:
    with pytest.raises(TypeError, match="put a GraphEncoding before it"):
        GCNRegressor().fit(np.zeros((3, 4)), [1, 2, 3])
    codes = SPACE.sample(5, seed=0)
    model = GCNRegressor(**QUICK["gcn"]).fit(GraphEncoding(SPACE).transform(codes), accuracy(codes))
    with pytest.raises(ValueError, match="X has 19 vertex features, but 15 were seen in fit"):
        model.predict(GraphEncoding(blox()).transform([[0, 0, 0]]))


def test_pairwise_loss_by_hand() -> None:
    import torch

    from archrank.predictors.losses import pairwise_logistic

    prediction, target = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([2.0, 1.0, 1.0])
    expected = np.mean([np.log1p(np.exp(1.0)), np.log1p(np.exp(3.0))])  # the pairs (0, 1) and (0, 2)
    assert float(pairwise_logistic(prediction, target)) == pytest.approx(expected, rel=1e-6)
    assert float(pairwise_logistic(prediction, torch.ones(3))) == 0


# -- targets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("best", "y"), [(100.0, [10.0, 90.0, 99.9]), (0.0, [0.1, 1.0, 8.0]), (None, [-3.0, 1.0, 8.0])])
def test_targets_there_and_back(best: float | None, y: list[float]) -> None:
    values = np.array(y)
    target = Target.fit(values, "log-error", best)
    z = target.forward(values)
    assert (np.diff(z) > 0).all()
    assert (abs(z.mean()), abs(z.std() - 1)) < (1e-12, 1e-12)
    np.testing.assert_allclose(target.inverse(z), values, rtol=1e-12)


def test_log_error_by_hand_and_within_the_bound() -> None:
    target = Target.fit(np.array([90.0, 99.0]), "log-error", 100.0)
    assert target.mean == pytest.approx(-np.log(10) / 2)
    assert target.inverse(np.array([50.0]))[0] <= 100
    # A perfect network keeps a finite target: half of the smallest distance seen.
    perfect = Target.fit(np.array([90.0, 98.0, 100.0]), "log-error", 100.0)
    assert perfect.floor == 1.0
    assert np.isfinite(perfect.forward(np.array([100.0]))).all()


def test_a_bound_inside_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="on both sides of best_value=1"):
        Target.fit(np.array([0.9, 93.0]), "log-error", 1.0)


def test_the_bound_comes_from_the_metric(toy: GroundTruth) -> None:
    assert make_predictor("gbdt", toy, "acc")["regressor"].best_value == 100.0
    assert make_predictor("gbdt", toy, "loss")["regressor"].best_value is None
    assert make_predictor("gbdt", toy, "acc", best_value=99.0)["regressor"].best_value == 99.0


def test_nan_targets_are_located() -> None:
    codes = SPACE.sample(4, seed=0)
    for name in ("donna:cost", "gbdt", "gcn", "gp", "auto"):
        with pytest.raises(ValueError, match="contains NaN: row 2 and 1 of 4 rows"):
            make_predictor(name, SPACE).fit(codes, [1.0, 2.0, np.nan, 3.0])


# -- make_predictor ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gp", "gbdt", "gcn", "donna:structure", "auto", "ensemble"])
def test_default_encodings_can_do_without_costs(name: str) -> None:
    model = make_predictor(name, blox(stages=2), costs=[])
    parts = [model, *(member for _, member in getattr(model["regressor"], "members", ()))]
    named = " ".join(str(f) for part in parts for f in part["encoding"].get_feature_names_out())
    assert "log_" not in named


def test_default_encodings(toy: GroundTruth) -> None:
    encodings = {
        name: type(make_predictor(name, toy)["encoding"]).__name__
        for name in ("donna", "hant", "gbdt", "gcn", "gp", "auto")
    }
    assert encodings == {
        "donna": "SignatureEncoding",
        "hant": "SignatureEncoding",
        "gbdt": "StructureEncoding",
        "gcn": "GraphEncoding",
        "gp": "FeatureUnion",
        "auto": "PlainEncoding",
    }
    joined = make_predictor("gbdt", SPACE)["encoding"]
    assert [name for name, _ in joined.transformer_list] == ["structure", "cost"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dona", {}, "unknown predictor 'dona'; there are .*, donna, .*; did you mean 'donna'"),
        ("gbdt:onehot", {}, "unknown encoding 'onehot'; there are codes, cost, .*, one_hot, .*"),
        ("gbdt:graph", {}, "encoding 'graph' does not suit here"),
        ("gcn:one_hot", {}, "encoding 'one_hot' does not suit here; graph do"),
        ("hant:cost", {}, "encoding 'cost' does not suit here; signature, scaled_signature do"),
        ("gbdt", {"depth": 3}, "'gbdt' has no parameter 'depth'; there are n_estimators, "),
        ("donna", {"metric": "f1"}, "unknown metric 'f1'; there are acc, loss"),
    ],
)
def test_what_cannot_be_built_is_explained(
    name: str, options: dict[str, object], message: str, toy: GroundTruth
) -> None:
    with pytest.raises(ValueError, match=message):
        make_predictor(name, toy, **options)


def test_a_space_alone_has_neither_signatures_nor_metrics() -> None:
    with pytest.raises(ValueError, match="predictor 'donna': encoding 'signature' needs block signatures"):
        make_predictor("donna", SPACE)
    with pytest.raises(ValueError, match="metric 'acc' needs a benchmark"):
        make_predictor("gbdt", SPACE, "acc")


def test_predictors_work_in_a_grid_search(toy: GroundTruth) -> None:
    search = GridSearchCV(make_predictor("donna:one_hot", toy), {"regressor__order": [1, 2]}, cv=3)
    search.fit(toy.codes, toy.values("acc"))
    assert search.best_params_["regressor__order"] in (1, 2)
    assert search.best_score_ > 0.8


class Mean(RegressorMixin, BaseEstimator):
    """The least that register_predictor asks for; it cannot be saved."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Mean":
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), self.mean_)


def test_a_registered_predictor_can_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(predictor_registry._PREDICTORS, "entries", dict(predictor_registry._PREDICTORS.entries))
    register_predictor("mean", Mean, encoding="one_hot")
    assert "mean" in list_predictors()
    model = make_predictor("mean", SPACE, random_state=0).fit([[0, 0], [1, 1]], [1.0, 2.0])
    assert model.predict([[0, 1]])[0] == 1.5
    with pytest.raises(ValueError, match="'mean' cannot be saved: it has no get_state"):
        save(model, tmp_path / "model")
    with pytest.raises(ValueError, match="must not be empty or contain ':'"):
        register_predictor("a:b", Mean, encoding="one_hot")
    with pytest.raises(ValueError, match="predictor 'gbdt' is archrank's own; register yours by another name"):
        register_predictor("gbdt", Mean, encoding="one_hot")
    register_predictor("mean", Mean, encoding="codes")  # one's own may be replaced: a cell that is run again


def test_regressors_take_plain_arrays() -> None:
    """Without an encoding they are ordinary scikit-learn regressors."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    for regressor in (DonnaRegressor(), GBDTRegressor(random_state=0)):
        assert regressor.fit(X, X[:, 0]).score(X, X[:, 0]) > 0.8
