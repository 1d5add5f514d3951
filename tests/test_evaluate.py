import importlib.util
import io
import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, norm, ttest_rel
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import BayesianRidge, Ridge

import archrank
from archrank.benchmarks import metrics
from archrank.benchmarks.calibration import calibration
from archrank.benchmarks.evaluate import ComparisonError
from archrank.benchmarks.report import Report
from archrank.benchmarks.splits import n_test
from archrank.ground_truth import GroundTruth, Metric, TableError

RIDGE = {"ridge": lambda seed: Ridge()}


class Failing:
    """Fails in its first fit, predicts NaN in its second, and a wrong shape in its third."""

    fits = 0

    def fit(self, codes, y):
        Failing.fits += 1
        if Failing.fits == 1:
            raise RuntimeError("no\nmemory")

    def predict(self, codes):
        return np.full(len(codes), np.nan) if Failing.fits == 2 else np.zeros(3)


# -- metrics ----------------------------------------------------------------------------------------


def test_scores_of_a_perfect_and_a_reversed_prediction():
    true = np.random.default_rng(0).normal(size=200)
    for direction, best in (("max", true.max()), ("min", true.min())):
        metric = Metric("m", direction)
        scores = metrics.score(true, true, metric)
        assert scores == {
            "kendall_tau": 1.0, "spearman": pytest.approx(1.0), "tau_top10": 1.0, "precision_top10pct": 1.0,
            "regret_at_10": 0.0, "rmse": 0.0,
        }  # fmt: skip
        worst = metrics.score(true, -true, metric)
        assert worst["kendall_tau"] == -1.0
        assert worst["precision_top10pct"] == 0.0
        assert worst["regret_at_10"] == pytest.approx(abs(best - np.sort(metric.sign * true)[9] * metric.sign))


def test_scores_with_ties_and_constants():
    true = np.array([1.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    scores = metrics.score(true, np.ones(10), Metric("m"))
    assert scores["kendall_tau"] == scores["spearman"] == 0.0
    top, k = metrics.top_share(true, 1)
    assert (top.sum(), k) == (3, 1)
    predicted = np.arange(10.0)
    assert metrics.kendall(true, predicted) == kendalltau(true, predicted).statistic
    assert np.isnan(metrics.kendall([1.0], [2.0]))
    assert np.isnan(metrics.spearman([1.0], [2.0]))


# -- splits -----------------------------------------------------------------------------------------


def test_a_constant_metric_is_refused(toy):
    frame = toy.frame.assign(acc=50.0)
    table = GroundTruth.from_frame(toy.space, frame, {"acc": toy.metric("acc")}, name="flat")
    with pytest.raises(ComparisonError, match="acc of benchmark 'flat' is 50 for all: nothing to rank"):
        archrank.compare(RIDGE, table, n_train=20)


def test_training_and_test_networks(toy):
    seen = []

    class Spy:
        def fit(self, codes, y):
            self.codes = codes
            np.testing.assert_array_equal(y, toy.values()[toy.lookup(codes)])

        def predict(self, codes):
            seen.append((toy.lookup(self.codes), toy.lookup(codes)))
            return np.arange(len(codes))

    archrank.compare({"spy": lambda seed: Spy()}, toy, n_train=(60, 20), trials=3, seed=5)
    assert n_test(90) == 30
    for i, (train, test) in enumerate(seen):
        order = np.random.default_rng(5 + i % 3).permutation(90)
        np.testing.assert_array_equal(train, order[: (20, 60)[i // 3]])
        np.testing.assert_array_equal(test, order[60:])


# The protocol leaves its file to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("seed", [0, 3])
def test_same_splits_as_the_peer_protocol(protocol_file, nas_bench_macro_file, seed):
    spec = importlib.util.spec_from_file_location("peer_protocol", protocol_file)
    protocol = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(protocol)

    class OnStrings(Ridge):
        def fit(self, strings, y):
            return super().fit(self._codes(strings), y)

        def predict(self, strings):
            return super().predict(self._codes(strings))

        @staticmethod
        def _codes(strings):
            return np.array([list(s) for s in strings]).astype(float)

    report = archrank.compare(RIDGE, f"nas-bench-macro:{nas_bench_macro_file}", (20, 100), trials=4, seed=seed)
    archs, y, _ = protocol.load(nas_bench_macro_file, dedup=True)
    for row in report.to_frame().itertuples():
        theirs = protocol.run_one(archs, y, lambda _: OnStrings(), row.n_train, seed + row.trial)
        assert row.kendall_tau == pytest.approx(theirs["tau"], abs=1e-6)
        assert row.spearman == pytest.approx(theirs["spearman"], abs=1e-6)
        assert row.tau_top10 == pytest.approx(theirs["tau_top10"], abs=1e-6)
        assert row.precision_top10pct == pytest.approx(theirs["prec_at_10"], abs=1e-6)
        assert row.regret_at_10 == pytest.approx(theirs["regret_top10"], abs=1e-6)


# -- compare ----------------------------------------------------------------------------------------


@pytest.fixture
def report(toy):
    contestants = {**RIDGE, "mean": lambda seed: DummyRegressor()}
    return archrank.compare(contestants, toy, n_train=(20, 50), trials=5)


def test_report_rows(report):
    rows = report.to_frame()
    assert len(rows) == 2 * 2 * 5
    assert set(rows.status[rows.predictor == "mean"]) == {"constant"}
    summary = report.summary().set_index(["predictor", "n_train"])
    assert summary.loc[("mean", 20), "kendall_tau_mean"] == 0.0
    assert summary.loc[("mean", 20), "failures"] == 5
    best = summary.loc[("ridge", 50)]
    assert best.kendall_tau_low < best.kendall_tau_mean < best.kendall_tau_high
    assert 0.7 < best.kendall_tau_mean < 1.0


def test_report_json(report):
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert set(data) == {"benchmark", "metric", "n_networks", "noise", "rows", "environment"}
    assert set(data["noise"]) == {"reproducibility_tau", "ceiling_tau", "seeds"}
    assert set(data["rows"][0]) == {
        "predictor", "encoding", "n_train", "trials", "kendall_tau_mean", "kendall_tau_std", "spearman_mean",
        "tau_top10_mean", "precision_top10pct_mean", "regret_at_10_mean", "coverage50_mean", "coverage90_mean",
        "nll_mean", "fit_seconds_median", "predict_seconds_median", "failures",
    }  # fmt: skip
    assert data["noise"]["seeds"] == 2


def test_report_table_and_files(report, tmp_path):
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report.table())
    text = console.export_text()
    for part in (
        "noise ceiling 0.",
        "reproducibility 0.",
        "5 constant",
        "95 % interval: of the mean over splits",
        "acc [%]",
    ):
        assert part in text
    report.save(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "predicted_against_true.png", "predictions.csv", "reliability.csv", "reliability.png", "report.json",
        "tau_by_training_networks.png", "trials.csv",
    ]  # fmt: skip
    for picture in (tmp_path / "out").glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(tmp_path / "out" / "trials.csv")) == 20


def test_paired_difference(report):
    pair = report.paired("ridge", "mean")
    assert pair.decided
    assert pair.n_train == 50
    assert pair.low <= pair.difference <= pair.high
    taus = report.rows[report.rows["n_train"] == 50].pivot_table(
        index="trial", columns="predictor", values="kendall_tau"
    )
    known = ttest_rel(taus["ridge"], taus["mean"]).confidence_interval()
    assert [pair.low, pair.high] == pytest.approx([known.low, known.high])
    assert report.paired("ridge", "ridge", 20).difference == 0.0
    with pytest.raises(TableError, match="no scores of 'x' at n_train 50; there are mean, ridge"):
        report.paired("x", "mean")


@pytest.mark.parametrize("n", [3, 5, 10])
def test_of_equal_predictors_one_in_twenty_is_taken_for_better(n):
    """Differences are normal with mean zero; the share decided is 5 % but for three of its standard errors."""
    times = 150
    taus = pd.DataFrame(0.5 + 0.01 * np.random.default_rng(n).normal(size=(times, n))).melt(
        ignore_index=False, var_name="trial", value_name="kendall_tau"
    )
    rows = taus.rename_axis("n_train").reset_index().assign(predictor="a", status="ok")
    rows = pd.concat([rows, rows.assign(predictor="b", kendall_tau=0.5)])
    report = Report("null", Metric("acc"), 90, 30, 0, None, rows, pd.DataFrame(), pd.DataFrame(), {})
    share = np.mean([report.paired("a", "b", i).decided for i in range(times)])
    assert abs(share - 0.05) < 3 * np.sqrt(0.05 * 0.95 / times)


def test_two_trials_have_no_interval(toy):
    report = archrank.compare({**RIDGE, "other": lambda seed: Ridge(alpha=9.0)}, toy, n_train=[20], trials=2)
    pair = report.paired("ridge", "other")
    assert (pair.trials, pair.decided) == (2, False)
    assert np.isnan([pair.low, pair.high]).all()
    assert report.summary()[["kendall_tau_low", "kendall_tau_high"]].isna().all(axis=None)
    assert "95 % interval: of the mean" not in report.table().caption


def test_failures_are_rows(toy, tmp_path):
    Failing.fits = 0
    report = archrank.compare([("bad", lambda seed: Failing())], toy, n_train=[20], trials=3)
    rows = report.to_frame()
    assert rows.error.tolist() == [
        "RuntimeError: no memory",
        "ValueError: 30 of 30 predictions are not finite",
        "ValueError: predicted shape (3,) for 30 networks",
    ]
    assert set(rows.status) == {"failed"}
    row = report.to_json()["rows"][0]
    assert (row["failures"], row["kendall_tau_mean"]) == (3, None)
    report.table()
    report.save(tmp_path)
    assert not (tmp_path / "predicted_against_true.png").exists()
    with pytest.raises(TableError, match="no scores of 'bad'"):
        report.paired("bad", "bad")


def test_minimised_metric_and_missing_values(toy):
    report = archrank.compare(RIDGE, toy, n_train=[30], trials=2, metric="loss")
    assert report.to_json()["metric"] == "loss"
    assert report.summary().regret_at_10_mean.iloc[0] < 0.3
    frame = toy.frame[toy.frame.variant == "normal"].copy()
    frame.loc[frame.index % 90 < 30, "acc"] = np.nan
    table = GroundTruth.from_frame(toy.space, frame, toy.metrics, name="holes")
    assert archrank.compare(RIDGE, table, n_train=[20], trials=1).n_networks == 60


def test_progress_and_seeds_of_factories(toy):
    calls, seeds = [], []

    def factory(seed):
        seeds.append(seed)
        return Ridge()

    archrank.compare([("r", factory)], toy, [20], trials=3, seed=7, progress=lambda *a: calls.append(a))
    assert seeds == [7, 8, 9]
    assert [c[:2] for c in calls] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_wrong_comparisons(toy):
    small = GroundTruth.from_frame(toy.space, toy.frame.iloc[:8], toy.metrics, name="small")
    for predictors, table, sizes, text in (
        (RIDGE, toy, [61], "n_train 61 is too large: .* 90 networks, of which 30 test, so at most 60"),
        (RIDGE, toy, [], "must be 1 or more"),
        (RIDGE, small, [2], "8 networks; a comparison needs at least 9"),
        ([("a", RIDGE["ridge"])] * 2, toy, [20], "'a' is listed twice"),
        ("donna", toy, [20], "expected a list of predictors"),
        ([], toy, [20], "expected a list of predictors"),
    ):
        with pytest.raises(ComparisonError, match=text):
            archrank.compare(predictors, table, sizes)
    with pytest.raises(ValueError, match="unknown predictor 'oracle'"):
        archrank.compare(["oracle"], toy, [20])
    with pytest.raises(TableError, match="no metric 'x'"):
        archrank.compare(RIDGE, toy, [20], metric="x")


def test_named_predictors(toy):
    report = archrank.compare(["donna", "hant", "gbdt:one_hot"], toy, n_train=[40], trials=2)
    summary = report.summary()
    assert summary.encoding.tolist() == ["signature", "signature", "one_hot"]
    assert summary.failures.tolist() == [0, 0, 0], report.to_frame().error.tolist()
    assert (summary.kendall_tau_mean > 0.5).all()


def test_bossnas_signatures(bossnas_folder):
    report = archrank.compare(["hant", "donna"], f"bossnas-nats:{bossnas_folder}", n_train=[100], trials=5)
    tau = report.summary().set_index("predictor").kendall_tau_mean
    assert tau["hant"] == pytest.approx(0.534, abs=0.015)
    assert report.noise.ceiling_tau is None
    assert "unknown" in report.noise_text()


# -- calibration ----------------------------------------------------------------------------------------


class Oracle:
    """Knows the law of the values, up to a factor on the deviation and without the interval of its own."""

    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def fit(self, codes, y):
        return self

    def predict(self, codes, return_std=False):
        return (self.mean, self.std) if return_std else self.mean


class Interval(Oracle):
    """Knows intervals only."""

    def predict(self, codes):
        return self.mean

    def predict_interval(self, codes, coverage):
        return self.mean - self.std, self.mean + self.std


def test_calibration_of_a_known_law():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=20_000), rng.uniform(0.5, 2, size=20_000)
    true = mean + std * rng.normal(size=20_000)
    scores = calibration(Oracle(mean, std), None, true)
    assert scores["coverage50"] == pytest.approx(0.5, abs=0.01)
    assert scores["coverage90"] == pytest.approx(0.9, abs=0.01)
    assert scores["nll"] == pytest.approx(-norm.logpdf(true, mean, std).mean())
    for factor in (0.5, 2.0):
        wrong = calibration(Oracle(mean, factor * std), None, true)
        assert wrong["nll"] > scores["nll"]
        assert (wrong["coverage90"] > scores["coverage90"]) == (factor > 1)
    assert calibration(Oracle(mean, np.zeros(20_000)), None, true)["nll"] == np.inf
    only = calibration(Interval(mean, std), None, true)
    assert np.isnan(only["nll"])
    assert only["coverage90"] == pytest.approx(norm.cdf(1) - norm.cdf(-1), abs=0.01)
    assert np.isnan(list(calibration(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]), [[0.0]], np.zeros(1)).values())).all()


def test_report_with_uncertainty(toy, tmp_path):
    from rich.console import Console

    contestants = {"bayes": lambda seed: BayesianRidge(), **RIDGE}
    report = archrank.compare(contestants, toy, n_train=(10, 60), trials=5)
    summary = report.summary().set_index(["predictor", "n_train"])
    assert summary.loc[("bayes", 60), "coverage90_mean"] == pytest.approx(0.9, abs=0.08)
    assert summary.loc[("bayes", 60), "coverage50_mean"] == pytest.approx(0.5, abs=0.12)
    assert np.isfinite(summary.loc[("bayes", 60), "nll_mean"])
    rows = report.to_json()["rows"]
    assert [row["coverage50_mean"] is None for row in rows] == [False, False, True, True]
    assert rows[-1]["nll_mean"] is None
    assert {"coverage50", "coverage90", "nll"} <= set(report.to_frame())

    assert set(report.reliability["predictor"]) == {"bayes"}
    assert len(report.reliability) == 9 * 5
    nominal = report.reliability[report.reliability["coverage"] == 0.5].set_index("trial")["observed"]
    exact = report.rows.query("predictor == 'bayes' and n_train == 60").set_index("trial")["coverage50"]
    pd.testing.assert_series_equal(nominal, exact, check_names=False)

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report.table())
    text = console.export_text()
    assert "50 / 90 %" in text
    assert "nats per network" in text
    report.save(tmp_path)
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(tmp_path / "reliability.csv")) == 45


@pytest.mark.parametrize(
    ("predictor", "error"),
    [
        (Oracle(np.arange(30.0), np.full(30, np.nan)), "30 of 30 standard deviations are negative or not finite"),
        (Oracle(np.arange(30.0), np.ones(3)), "means and standard deviations of shapes (30,) and (3,) for 30 networks"),
        (Interval(np.arange(30.0), np.full(30, -1.0)), "30 of 30 intervals are upside down or NaN"),
        (Interval(np.arange(30.0), np.float64("nan")), "30 of 30 intervals are upside down or NaN"),
    ],
)
def test_uncertainty_that_fails_is_a_row(toy, predictor, error):
    rows = archrank.compare({"bad": lambda seed: predictor, **RIDGE}, toy, n_train=[20], trials=1).to_frame()
    assert rows["status"].tolist() == ["failed", "ok"]
    assert error in rows["error"][0]
    assert np.isnan(rows["kendall_tau"][0])


def test_fits_at_once_give_the_same_scores(toy):
    calls = []
    one, two = (
        archrank.compare(
            ["gbdt", "donna", ("broken", lambda seed: None)], toy, [10], trials=2, n_jobs=jobs, progress=call
        )
        for jobs, call in ((1, None), (2, lambda *call: calls.append(call[:2])))
    )
    seconds = ["fit_seconds", "predict_seconds"]
    pd.testing.assert_frame_equal(one.to_frame().drop(columns=seconds), two.to_frame().drop(columns=seconds))
    assert calls == [(k, 6) for k in range(7)]
