"""Studies on tables whose answers are known, and what all of them keep."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.linear_model import Ridge
from studies_contract import CODES, QUALITY, TEACHERS, check_figures, check_study, noisy, rows, signatures, table
from tiny import TINY

from archrank.benchmarks.evaluate import compare
from archrank.benchmarks.metrics import kendall
from archrank.benchmarks.noise import measure_noise
from archrank.benchmarks.report import Report
from archrank.cli import main
from archrank.ground_truth import Metric, TableError
from archrank.predictors import make_predictor
from archrank.studies import list_studies, run_study
from archrank.studies.finetune import _below
from archrank.studies.predicting import lead, shared
from archrank.studies.reference import reference, reference_text
from archrank.studies.signatures_text import _ahead
from archrank.studies.statistics import Estimate, mean_of, tau_above_seeds, tau_between_seeds, tau_gain, tau_of
from archrank.studies.teacher_facts import complete_columns, describe_teachers

MINE = ("distillation", "finetune", "signatures", "teacher")


@pytest.fixture(scope="module")
def known():
    """Two noisy seeds; distilled is normal plus 1; fine-tuned for 3 epochs is the mean of the seeds, for 0 chance."""
    first, second = noisy(0.8, 1), noisy(0.8, 2)
    curve = [[v - 4, v - 2, v] for v in first]
    return table(
        rows(first, acc_curve=curve, teacher=""),
        rows(second, seed=1, teacher=""),
        rows(first + 1, "distilled", acc_curve=[[v + 1 for v in c] for c in curve], teacher=TEACHERS[0]),
        rows((first + second) / 2, "finetuned-3", teacher=TEACHERS[0]),
        rows(np.random.default_rng(3).normal(size=len(CODES)), "finetuned-0", teacher=TEACHERS[0]),
    )


@pytest.fixture(scope="module")
def studies(known):
    options = {"signatures": {"predictors": ["hant", "donna"]}, "teacher": {"trials": 5}}
    return {name: run_study(name, known, quick=True, seed=100, **options.get(name, {})) for name in MINE}


# -- all studies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MINE)
def test_contract(name, studies, tmp_path):
    assert studies[name].name == name
    assert name in list_studies()
    check_study(studies[name], tmp_path)
    check_study(studies[name], tmp_path)  # over what is there


@pytest.mark.parametrize("name", ["distillation", "finetune"])
def test_the_same_seed_gives_the_same_study(name, known, studies):
    assert run_study(name, known, quick=True, seed=100).to_json() == studies[name].to_json()


def test_the_check_of_figures_can_fail(studies):
    study = studies["distillation"]
    object.__setattr__(study, "text", study.text + " And 12.345678.")
    try:
        with pytest.raises(AssertionError, match=r"12\.345678 is in no table"):
            check_figures(study)
    finally:
        object.__setattr__(study, "text", study.text.removesuffix(" And 12.345678."))


def test_a_file_that_cannot_be_written_leaves_the_old_one(studies, tmp_path, monkeypatch):
    study = studies["finetune"]
    study.save(tmp_path)
    before = (tmp_path / "tau.png").read_bytes()

    def full(figure, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="disk full"):
        study.save(tmp_path)
    assert (tmp_path / "tau.png").read_bytes() == before
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".")]


def test_unknown_names_and_options(known):
    with pytest.raises(ValueError, match="unknown study 'nothing'; there are distillation, finetune"):
        run_study("nothing", known)
    with pytest.raises(ValueError, match="study 'finetune' has no option 'trials'; it takes metric"):
        run_study("finetune", known, trials=3)
    with pytest.raises(TableError, match="no metric 'speed'"):
        run_study("finetune", known, metric="speed")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("distillation", "archrank train RECIPE --data IMAGES --archs N --teacher ARCH --out store"),
        ("finetune", "archrank finetune RECIPE --data IMAGES --archs N --blocks-from store"),
        ("signatures", "archrank distill RECIPE --data IMAGES --teacher ARCH --out store"),
        ("teacher", "archrank distill RECIPE --data IMAGES --teacher ARCH --out store`, again with `--teacher OTHER`"),
        ("iterative", "--teacher ARCH --out store`, again with `--teacher untrained:ARCH`"),
    ],
)
def test_what_is_missing_is_named_with_its_command(name, command):
    bare = table(rows(noisy(0.5, 0)), signatures=None)
    with pytest.raises(TableError) as caught:
        run_study(name, bare)
    message = str(caught.value)
    assert name in message
    assert "'known'" in message
    assert command in message
    assert "archrank merge store --out TABLE" in message
    assert "\n" not in message


def test_a_table_without_normal_training():
    with pytest.raises(TableError, match="compares with variant 'normal'"):
        run_study("distillation", table(rows(noisy(0.5, 0), "distilled")))


def test_command(known, studies, tmp_path, monkeypatch, capsys):
    folder = known.save(tmp_path / "known")

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["archrank", "study", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, *capsys.readouterr()

    arguments = ("distillation", folder, "--quick", "--seed", 100)
    code, out, err = call(*arguments, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["rows"] == studies["distillation"].to_json()["rows"]
    code, out, err = call(*arguments, "--out", tmp_path / "out")
    assert code == 0
    assert out.startswith("Run on known (two-twelve, 144 networks): acc [%] of 144 networks")
    assert "beats normal training" in out
    assert (tmp_path / "out" / "study.json").exists()
    code, out, err = call("teacher", folder, "--train", "blox-mini")
    assert (code, out) == (2, "")
    assert "study 'teacher' has no option 'train'" in err


# -- distillation -----------------------------------------------------------------------------------


def test_distilled_is_normal_plus_one(studies):
    study = studies["distillation"]
    for row in study.tables["difference"].itertuples():
        assert row.difference == pytest.approx(1.0)
        assert row.difference_low == pytest.approx(1.0)
        assert row.share_better == 1.0
    ranking = study.tables["ranking"].iloc[0]
    assert ranking["kendall_tau"] == pytest.approx(1.0)
    assert ranking["reproducibility_tau"] < 0.99
    assert study.tables["curves"]["difference"].to_numpy() == pytest.approx(np.ones(3))
    assert "Distillation (distilled) beats normal training: mean acc changes by +1.00" in study.text
    assert "who gains more is not decided" in study.text
    assert "agree better than that" in study.text


@pytest.mark.parametrize(
    ("change", "direction", "verdict"),
    [
        (-1.0, "max", "is worse than normal training"),
        (-1.0, "min", "beats normal training"),
        (0.0, "max", "is neither shown to beat normal training nor to be worse"),
    ],
)
def test_the_verdict_follows_sign_direction_and_interval(change, direction, verdict):
    normal, noise = noisy(0.5, 0), np.random.default_rng(5).normal(size=len(CODES))
    bench = table(rows(normal), rows(normal + change + 0.3 * (noise - noise.mean()), "distilled"), direction=direction)
    study = run_study("distillation", bench, quick=True)
    assert f"Distillation (distilled) {verdict}" in study.text
    assert "Too few of them have a second seed" in study.text
    assert "curves" not in study.tables


def test_too_few_networks_decide_nothing():
    """Of 19 networks the best quarter has 4 and no interval, though it gains and the worst loses."""
    normal, codes = 50 + np.arange(19.0), CODES[:19]
    change = np.where(np.arange(19) < 9, -0.1, 0.1)
    study = run_study(
        "distillation", table(rows(normal, codes=codes), rows(normal + change, "distilled", codes=codes)), quick=True
    )
    quarters = study.tables["difference"].set_index("networks")
    assert quarters["n_networks"].tolist() == [19, 5, 5, 5, 4]
    assert np.isnan(quarters.loc["best quarter", "difference_low"])
    assert "The worst or the best quarter has too few networks to tell who gains more." in study.text
    assert "overlap" not in study.text.split("\n\n")[1]


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_quarter_that_gains_more_is_named(direction):
    quality = (QUALITY - QUALITY.mean()) * (1 if direction == "max" else -1)
    bench = table(rows(50 + quality), rows(50 + 1.1 * quality, "distilled"), direction=direction)
    assert "The best quarter gains more" in run_study("distillation", bench, quick=True).text


def test_too_few_distilled_networks_are_not_said_to_rank_alike():
    first = noisy(0.8, 1)
    bench = table(rows(first), rows(noisy(0.8, 2), seed=1), rows(first[:4] + 1, "distilled", codes=CODES[:4]))
    study = run_study("distillation", bench, quick=True)
    assert "Too few of them have a second seed to say what tau two normal trainings have." in study.text
    assert "overlap" not in study.text


def test_two_seeds_are_those_of_the_networks_trained_both_ways():
    """On the 30 distilled networks seeds agree, on the others they are chance."""
    first, few = noisy(0.8, 1), CODES[:30]
    again = np.where(np.arange(144) < 30, first, np.random.default_rng(0).normal(50.0, 5.0, size=144))
    bench = table(rows(first), rows(again, seed=1), rows(first[:30] + 1, "distilled", codes=few))
    row = run_study("distillation", bench, quick=True).tables["ranking"].iloc[0]
    assert (row["n_reproduced"], row["reproducibility_tau"]) == (30, pytest.approx(1.0))


def test_seeds_of_one_network_are_one_value_of_a_curve():
    """Ten seeds of each of six networks: the interval is that of six values, not of sixty."""
    codes, rng = CODES[:6], np.random.default_rng(0)
    gain = rng.normal(size=6)
    parts = []
    for seed in range(10):
        normal = rng.normal(50.0, 1.0, size=6)
        curves = [[v] for v in normal], [[v] for v in normal + gain + rng.normal(scale=0.01, size=6)]
        parts.append(rows(normal, seed=seed, codes=codes, acc_curve=curves[0]))
        parts.append(rows(normal, "distilled", seed=seed, codes=codes, acc_curve=curves[1]))
    row = run_study("distillation", table(*parts), quick=True).tables["curves"].iloc[0]
    assert (row["n_networks"], row["n_trainings"]) == (6, 60)
    known = mean_of(gain)
    assert [row["difference_low"], row["difference_high"]] == pytest.approx([known.low, known.high], abs=0.02)


def test_regression_to_the_mean_is_not_taken_for_a_gain_of_the_worst():
    """Both trainings are the same value with independent noise, so that distillation gives nothing to anybody."""
    first, second = noisy(5.0, 1), noisy(5.0, 2)
    quarters = run_study("distillation", table(rows(first), rows(second, "distilled")), quick=True).tables["difference"]
    naive = (second - first)[np.argsort(first)]
    assert naive[:36].mean() - naive[-36:].mean() > 5
    assert abs(quarters["difference"].iloc[1] - quarters["difference"].iloc[4]) < 2.5


def test_several_teachers_are_several_variants():
    normal = noisy(0.5, 0)
    bench = table(
        rows(normal), rows(normal + 1, "distilled:1-1-s0"), rows(normal[:9] - 1, "distilled-topk", codes=CODES[:9])
    )
    study = run_study("distillation", bench, quick=True)
    whole = study.tables["difference"].query("networks == 'all'").set_index("variant")
    assert whole["difference"].to_dict() == pytest.approx({"distilled:1-1-s0": 1.0, "distilled-topk": -1.0})
    assert whole["n_networks"].to_dict() == {"distilled:1-1-s0": 144, "distilled-topk": 9}


@pytest.mark.parametrize(("direction", "verdict"), [("max", "better than"), ("min", "worse than")])
def test_teachers_are_compared_on_the_networks_and_seeds_of_both(direction, verdict):
    """A second seed of one teacher's networks, ten points away, changes nothing."""
    few = {"codes": CODES[:40]}
    noise = noisy(0.1, 1)[:40] - noisy(0.0, 1)[:40]
    bench = table(
        rows(noisy(0.5, 0)),
        *(rows(noisy(0.5, 2) + 10 * seed, "distilled:3-3-s0", seed=seed) for seed in (0, 1)),
        rows(noisy(0.5, 2)[:40] - 2 + noise - noise.mean(), "distilled:1-1-s0", **few),
        rows(noisy(0.5, 3)[40:], "distilled-topk", codes=CODES[40:]),
        direction=direction,
    )
    study = run_study("distillation", bench, quick=True)
    between = study.tables["between"].set_index(["variant", "than"])
    assert between["n_networks"].to_dict() == {
        ("distilled:3-3-s0", "distilled:1-1-s0"): 40,
        ("distilled:3-3-s0", "distilled-topk"): 104,
    }
    assert between["difference"].iloc[0] == pytest.approx(2.0)
    assert f"distilled:3-3-s0 is {verdict} distilled:1-1-s0 on the 40 networks of both: +2.00 (95 %" in study.text


def test_only_common_seeds_are_paired():
    bench = table(rows(noisy(0.5, 0), seed=0), rows(noisy(0.5, 1), "distilled", seed=1))
    with pytest.raises(
        TableError, match="no network of table 'known' has acc both of variant 'normal' and of 'distilled'"
    ):
        run_study("distillation", bench)


def test_distillation_trains_for_real(pictures, tmp_path):
    import tomllib

    lines = ["name = 'tiny'"]
    for section, values in TINY.items():
        if isinstance(values, dict):
            lines += [f"[{section}]", *(f"{k} = {v!r}" for k, v in values.items())]
    (tmp_path / "tiny.toml").write_text("\n".join(lines))
    assert tomllib.loads((tmp_path / "tiny.toml").read_text()) == TINY
    calls = []
    options = {"train": tmp_path / "tiny.toml", "data": pictures, "networks": 4, "store": tmp_path / "store"}
    study = run_study("distillation", quick=True, progress=lambda *call: calls.append(call), **options)
    assert study.tables["ranking"]["n_networks"].tolist() == [3]
    assert "tiny trained here" in study.data
    assert max(done for done, total, _ in calls if total == 7) == 7
    again = run_study("distillation", quick=True, workers=2, device="cpu", **options)  # nothing is trained twice
    assert again.to_json() == study.to_json()
    with pytest.raises(ValueError, match="--train needs images"):
        run_study("distillation", train="blox-mini")


# -- finetune ---------------------------------------------------------------------------------------


def test_finetuned_equal_to_normal_ranks_alike(studies):
    study = studies["finetune"]
    ranking = study.tables["ranking"].set_index("way")
    assert ranking.loc["finetuned-3", "kendall_tau"] == pytest.approx(1.0)
    assert abs(ranking.loc["finetuned-0", "kendall_tau"]) < 0.2
    assert ranking.index[:2].tolist() == ["finetuned-0", "finetuned-3"]  # by epochs, not in table order
    assert ranking.loc[f"sum of truth, {TEACHERS[0]}", "kendall_tau"] > 0.85
    assert set(study.tables["reference"]["what"]) == {"two seeds", "noise ceiling"}
    assert "finetuned-3 ranks better than finetuned-0" in study.text
    assert "has a higher tau than all of these" in study.text
    assert "of finetuned-3, is above the noise ceiling." in study.text  # it is the target itself
    assert "is better than another training" in study.text


def test_first_epochs_are_those_of_a_seed_that_normal_training_has():
    normal = noisy(0.5, 0)
    parts = [rows(normal, seed=seed, acc_curve=[[v - 2, v - 1, v] for v in normal]) for seed in (1, 2)]
    study = run_study("finetune", table(*parts, rows(noisy(0.5, 1), "finetuned-1", acc_curve=None)), quick=True)
    ways = study.tables["ranking"].query("kind == 'from scratch'")["way"]
    assert ways.tolist() == ["from scratch, epoch 1 of 3", "from scratch, epoch 2 of 3"]


def test_early_epochs_are_powers_of_two(studies):
    ways = studies["finetune"].tables["ranking"].query("kind == 'from scratch'")
    assert ways["epochs"].tolist() == [1, 2]  # of 3
    normal = noisy(0.5, 0)
    curve = [[v, v, v, v, v] for v in normal]
    bench = table(rows(normal, acc_curve=curve), rows(normal, "finetuned-1"))
    ways = run_study("finetune", bench, quick=True).tables["ranking"].query("kind == 'from scratch'")
    assert ways["epochs"].tolist() == [1, 2, 4]


def test_more_epochs_are_compared_for_the_same_teacher_only():
    normal = noisy(0.5, 0)
    variants = ("finetuned-0:a", "finetuned-0:b", "finetuned-3:a", "finetuned-3:b")
    tuned = [rows(noisy(1.0, seed), variant) for seed, variant in enumerate(variants, 1)]
    gains = run_study("finetune", table(rows(normal), *tuned), quick=True).tables["gains"]
    assert gains[["way", "less"]].to_numpy().tolist() == [
        ["finetuned-3:a", "finetuned-0:a"],
        ["finetuned-3:b", "finetuned-0:b"],
    ]
    alone = run_study("finetune", table(rows(normal), *tuned[:2]), quick=True)
    assert alone.tables["gains"].empty
    assert "ranks better" not in alone.text


def test_levels_are_compared_for_the_same_seeds():
    """A second seed that is ten points lower, for some of the networks, changes nothing; nor does a seed alone."""
    normal, few = noisy(0.5, 0), CODES[:40]
    parts = rows(normal), rows(normal[:40] - 10, seed=1, codes=few)
    bench = table(*parts, rows(normal + 1, "finetuned-0"), rows(noisy(0.5, 1), "finetuned-2", seed=7))
    study = run_study("finetune", bench, quick=True)
    level = study.tables["level"].set_index("variant")["above_normal"]
    assert level["finetuned-0"] == pytest.approx(1.0)
    assert np.isnan(level["finetuned-2"])
    assert "scratch with the same seeds: finetuned-0 59.84 (+1.00 points); finetuned-2 58.76 (no seed in" in study.text


def test_sums_of_all_teachers_of_fine_tuned_networks_stand_beside_them():
    one, other, _ = TEACHERS
    by_one = rows(noisy(1.0, 0), f"finetuned-1:{one}", teacher=one)
    bench = table(rows(noisy(0.5, 1), teacher=""), by_one, rows(noisy(1.0, 2), f"finetuned-1:{other}", teacher=other))
    cheaper = run_study("finetune", bench, quick=True).tables["ranking"].query("kind == 'signatures'")
    assert cheaper["way"].tolist() == [f"sum of truth, {one}", f"sum of truth, {other}"]
    assert cheaper["kendall_tau"].iloc[0] > cheaper["kendall_tau"].iloc[1]


def test_a_cheaper_way_that_is_left_out_is_named():
    normal = noisy(0.5, 0)
    curve = [[np.nan if i < 2 else v, v, v] for i, v in enumerate(normal)]
    bench = table(rows(normal, acc_curve=curve), rows(normal, "finetuned-1"))
    study = run_study("finetune", bench, quick=True)
    assert study.tables["left_out"].to_numpy().tolist() == [["from scratch, epoch 1 of 3", 2]]
    assert "from scratch, epoch 1 of 3" not in study.tables["ranking"]["way"].tolist()
    assert "values of some of the 144 networks are missing (how many): from scratch, epoch 1 of 3 (2)." in study.text


def test_references_are_those_of_the_finetuned_networks():
    """Seeds agree on the 40 fine-tuned networks alone; one network has no value."""
    first = noisy(0.5, 0)
    again = np.where(np.arange(144) < 40, first, np.random.default_rng(0).normal(50.0, 5.0, size=144))
    first[-1] = again[-1] = np.nan
    tuned = rows(first[:40] + np.random.default_rng(1).normal(size=40), "finetuned-1", codes=CODES[:40])
    bench = table(rows(first), rows(again, seed=1), tuned)
    found = run_study("finetune", bench, quick=True).tables["reference"].set_index("what")
    assert found.loc["two seeds", ["n_networks", "kendall_tau"]].tolist() == [40, pytest.approx(1.0)]
    assert found.loc["noise ceiling", "n_networks"] == 40
    alone = table(rows(first), rows(again[40:], seed=1, codes=CODES[40:]), tuned)
    study = run_study("finetune", alone, quick=True)
    assert study.tables["reference"]["what"].tolist() == ["noise ceiling"]
    whole = reference(bench, "acc", 0, 19).set_index("what")
    assert whole["n_networks"].tolist() == [143, 143]
    assert "two seeds 0." in reference_text(whole.reset_index())
    assert "), 143 networks; noise ceiling 0." in reference_text(whole.reset_index())


@pytest.mark.parametrize(
    ("tau", "verdict"),
    [
        ((0.7, 0.6, 0.78), "below"),
        ((0.7, 0.6, 0.82), "not shown to be below"),
        ((0.9, 0.86, 0.92), "above"),
        ((0.7, np.nan, np.nan), "not shown to be below"),
    ],
)
@pytest.mark.parametrize(
    ("gain", "beside"),
    [
        ((-0.1, -0.2, -0.01), "worse than another training"),
        ((-0.1, -0.2, 0.01), "not shown to differ from another training"),
        ((0.1, 0.01, 0.2), "better than another training"),
    ],
)
def test_what_is_below_a_reference_is_decided_by_intervals(tau, verdict, gain, beside):
    columns = ["kendall_tau", "kendall_tau_low", "kendall_tau_high"]
    known = pd.DataFrame([(0.8, 0.75, 0.85), (0.81, np.nan, np.nan)], columns=columns)
    known = known.assign(what=["two seeds", "noise ceiling"], n_networks=50)
    above = pd.DataFrame([gain, (9, 9, 9)], columns=["gain", "gain_low", "gain_high"])
    above = above.assign(way=["finetuned-1", "finetuned-0"], single_tau=0.7)
    text = _below(known, above, [{"way": "finetuned-1"} | dict(zip(columns, tau, strict=True))])
    assert f"of finetuned-1, is {verdict} the noise ceiling." in text
    assert f"finetuned-1 has 0.700 and is {beside}, {gain[0]:+.3f}" in text
    assert "finetuned-0 has 0.700 and is better than" in text
    alone = _below(known[1:], above[:0], [{"way": "finetuned-1"} | dict(zip(columns, tau, strict=True))])
    assert "another training" not in alone


def test_a_ranking_is_compared_with_seeds_as_a_seed_is():
    """What is a third seed, in truth, stands where two seeds stand, though its tau with their mean is higher."""
    first, second, third = (noisy(3.0, seed) for seed in (1, 2, 3))
    bench = table(rows(first), rows(second, seed=1), rows(third, "other"))
    among = np.arange(len(CODES)) < 100
    single, gain = tau_above_seeds(bench, "acc", "other", among, resamples=199)
    taus = [kendall(third[among], other[among]) for other in (first, second)]
    assert single == pytest.approx(np.mean(taus))
    assert gain.n == 100
    assert gain.value == pytest.approx(single - kendall(first[among], second[among]))
    assert gain.low < 0 < gain.high
    assert kendall(third[among], (first + second)[among]) > single
    worse = table(rows(-first), rows(-second, seed=1), rows(-third, "other"), direction="min")  # as a loss
    assert tau_above_seeds(worse, "acc", "other", among, resamples=19)[0] == pytest.approx(single)
    assert tau_above_seeds(bench, "acc", "other", np.arange(len(CODES)) < 9, resamples=19) is None


@pytest.mark.parametrize("study", ["distillation", "finetune"])
def test_several_seeds_of_another_way_give_it_no_merit(study):
    """The other way is normal training again, in truth. Means of three seeds agree better with anything."""
    variant = {"distillation": "distilled", "finetune": "finetuned-1"}[study]
    values = [noisy(4.0, 10 + seed) for seed in range(6)]
    parts = [rows(v, way, seed=i % 3) for i, v in enumerate(values) for way in [("normal", variant)[i // 3]]]
    text = run_study(study, table(*parts, signatures=None), quick=True).text
    expected = {
        "distillation": "no change of ranking beyond that of another seed is shown",
        "finetune": "is not shown to differ from another training",
    }
    assert expected[study] in text


@pytest.mark.parametrize("few", [1, 2, 8])
def test_a_seed_that_few_networks_have_undoes_no_verdict(few):
    """As in a campaign that is under way."""
    third = rows(noisy(1.0, 3)[:few], seed=2, codes=CODES[:few])
    bench = table(rows(noisy(1.0, 1)), rows(noisy(1.0, 2), seed=1), third, rows(noisy(1.0, 4), "other"))
    single, gain = tau_above_seeds(bench, "acc", "other", np.ones(len(CODES), dtype=bool), resamples=99)
    assert np.isfinite([single, gain.value, gain.low, gain.high]).all()
    assert tau_between_seeds(bench, "acc", resamples=99).known


def test_finetune_without_common_networks():
    bench = table(rows(noisy(0.5, 0)[:9], codes=CODES[:9]), rows(noisy(0.5, 0)[9:], "finetuned-1", codes=CODES[9:]))
    with pytest.raises(TableError, match="has 0 networks with acc both from scratch and in each of finetuned-1"):
        run_study("finetune", bench)


# -- signatures and teacher -------------------------------------------------------------------------


def test_a_signature_that_is_the_truth_ranks_first(studies):
    study = studies["signatures"]
    sums = study.tables["networks"].query("teacher == @TEACHERS[0]").set_index("column")
    assert sums.loc["truth", "kendall_tau"] > 0.85 > 0.3 > abs(sums.loc["chance", "kendall_tau"])
    blocks = study.tables["blocks"].set_index(["stage", "column"])
    assert blocks.loc[(0, "truth"), "kendall_tau"] > 0.9
    assert study.tables["sets"]["columns"][0] == "truth"
    assert set(study.tables["sets"]["columns"]) == {"truth", "chance", "truth+chance"}
    assert study.tables["choice"]["most_chosen"].unique().tolist() == ["truth"]
    assert "truth is the best" in study.text
    assert "use 11-11-s0" in study.data


def test_without_noise_the_truth_has_tau_one():
    study = run_study("signatures", table(rows(50 + QUALITY)), quick=True, predictors=["hant"])
    sums = study.tables["networks"].query("teacher == @TEACHERS[0] and column == 'truth'").iloc[0]
    assert sums["kendall_tau"] == pytest.approx(1.0)
    assert study.tables["blocks"].query("column == 'truth'")["kendall_tau"].to_numpy() == pytest.approx(np.ones(2))
    predicted = study.tables["predictors"].query("columns == 'truth'")
    assert (predicted["kendall_tau"] > 0.99).all()  # encodings are single precision, which breaks and makes ties


def test_the_sum_is_that_of_hant(known):
    for columns in (["truth"], ["chance"], ["truth", "chance"]):
        hant = make_predictor("hant", known, columns=columns, teacher=TEACHERS[1])
        ours = known.signatures.scores(known.codes, columns, TEACHERS[1])
        assert ours == pytest.approx(hant.predict(known.codes), rel=1e-5)


def test_quality_of_teachers(studies):
    study = studies["teacher"]
    teachers = study.tables["teachers"]
    assert teachers["teacher"].tolist() == list(TEACHERS)
    assert teachers["training"].tolist() == ["trained", "trained", "untrained"]
    assert teachers["kendall_tau"].is_monotonic_decreasing
    differences = study.tables["differences"].set_index(["ranking", "teacher"])
    assert differences.loc[("sum of truth", TEACHERS[2]), "difference_high"] < 0
    assert differences.loc[("donna, 50 networks", TEACHERS[2]), "difference_high"] < 0
    assert "The 2 trained teachers rank networks in the order of their own values" in study.text
    assert f"{TEACHERS[2]}, against {TEACHERS[0]}, loses with sum of truth" in study.text


def test_untrained_teachers_alone_are_compared_with_the_first_of_them(tmp_path):
    two = ("untrained-11-11-s0", "untrained-11-11-s1")
    study = run_study("teacher", table(rows(noisy(0.5, 0)), signatures=signatures(two)), quick=True, trials=2)
    check_study(study, tmp_path)
    assert f"No trained teacher is there: {two[0]}, to which the others are compared, is untrained too." in study.text
    assert f"{two[1]}, against {two[0]}, loses with sum of truth" in study.text


def test_teachers_are_described_by_their_networks(known):
    names = ["foreign", *reversed(TEACHERS)]
    seed, mean = describe_teachers(known, names, "acc"), describe_teachers(known, names, "acc", mean=True)
    row = CODES.tolist().index([3, 3])
    for found, values in ((seed, known.values(seed=0)), (mean, known.values())):
        assert found["teacher"].tolist() == [TEACHERS[0], TEACHERS[1], "foreign", TEACHERS[2]]
        assert found["own"][1] == values[row]
        assert found["rank"].tolist()[1] == 1 + (values > values[row]).sum()
        assert found["training"].tolist() == ["trained", "trained", "unknown", "untrained"]
        assert pd.isna(found["own"][2])
    other, unknown = (describe_teachers(known, [f"3-3-s{n}"], "acc")["own"][0] for n in (1, 7))
    assert (other, unknown) == (known.values(seed=1)[row], known.values()[row])


def test_half_distilled_teachers_are_left_out():
    whole = signatures()
    frame = whole.frame[(whole.frame["teacher"] != TEACHERS[1]) | (whole.frame["stage"] == 0)]
    bench = table(rows(noisy(0.5, 0)), signatures=type(whole)(frame, whole.metrics))
    assert list(complete_columns(bench, "signatures")) == [TEACHERS[0], TEACHERS[2]]
    frame = whole.frame[whole.frame["stage"] == 0]
    bench = table(rows(noisy(0.5, 0)), signatures=type(whole)(frame, whole.metrics))
    with pytest.raises(TableError, match="signatures of every block from 1 or more teachers"):
        run_study("signatures", bench)
    bench = table(rows(noisy(0.5, 0)), signatures=signatures(TEACHERS[:1]))
    with pytest.raises(TableError, match=r"from 2 or more teachers.*untrained:ARCH"):
        run_study("teacher", bench)


def test_too_few_networks_for_predictors():
    bench = table(rows(noisy(0.5, 0)[:24], codes=CODES[:24]))
    with pytest.raises(TableError, match="on 20 networks or more, and table 'known' has 24, of which 16 can train"):
        run_study("signatures", bench)
    with pytest.raises(TableError, match=r"no teacher 'nobody'.*there are 11-11-s0"):
        run_study("signatures", table(rows(noisy(0.5, 0))), teacher="nobody")


def _report(**taus):
    """Of trials with 50 networks, None for a failed one."""
    rows = [
        {"predictor": name, "encoding": "", "n_train": 50, "trial": trial, "kendall_tau": tau}
        | {"status": "failed" if tau is None else "ok"}
        for name, found in taus.items()
        for trial, tau in enumerate(found)
    ]
    frame = pd.DataFrame(rows).astype({"kendall_tau": float})
    return Report("known", Metric("acc"), 144, 48, 100, None, frame, pd.DataFrame(), pd.DataFrame(), {})


def test_the_best_predictor_is_that_of_the_shared_splits():
    """`half` ran on the five easy splits only, where `whole` beats it, though the mean of `whole` is lower."""
    report = _report(whole=[0.8] * 5 + [0.4] * 5, half=[0.7] * 5, lost=[0.9] + [None] * 9)
    assert shared(report, 50).mean().to_dict() == pytest.approx({"whole": 0.8, "half": 0.7})
    (row,) = lead(report, 50).to_dict("records")
    assert (row["best"], row["other"], row["trials"]) == ("whole", "half", 5)
    assert row["lead"] == pytest.approx(0.1)
    assert "whole is ahead of half, their tau differs by +0.100 (95 % +0.100 to +0.100); all" in _ahead(
        lead(report, 50)
    )
    assert lead(_report(a=[0.8, 0.8, None, None], b=[None, None, 0.7, 0.7]), 50).empty


def test_a_lead_over_one_with_more_splits_may_be_negative():
    report = _report(first=[0.8] * 5 + [0.2] * 5, second=[0.7] * 5 + [0.6] * 5, half=[0.1] * 5)
    rows = lead(report, 50).set_index("other")
    assert rows["best"].unique().tolist() == ["first"]
    assert rows.loc["second", ["trials", "lead"]].tolist() == pytest.approx([10, -0.15])
    sentence = _ahead(lead(report, 50))
    assert "first is behind second, their tau differs by -0.150 (95 % -0.339 to +0.039)" in sentence
    assert "not shown to be ahead of second." in sentence


def test_few_shared_splits_decide_no_lead():
    report = _report(first=[0.8] * 10, second=[0.7] * 10, half=[0.1] * 4)
    sentence = _ahead(lead(report, 50))
    assert np.isnan(lead(report, 50).set_index("other").loc["half", "lead_low"])
    assert sentence.endswith("by +0.100 (95 % +0.100 to +0.100); not shown to be ahead of half.")


# -- estimates --------------------------------------------------------------------------------------


def test_estimates():
    rng = np.random.default_rng(0)
    mean = mean_of(rng.normal(1.0, 1.0, size=400))
    assert mean.low < 1.0 < mean.high
    assert mean.high - mean.low == pytest.approx(2 * 1.96 / 20, rel=0.15)  # as the normal approximation has it
    assert mean.decided == 1
    assert mean_of(-np.ones(9)).decided == -1
    assert tau_of(np.arange(30.0), np.arange(30.0), resamples=9).value == pytest.approx(1.0)
    chance = tau_of(*rng.normal(size=(2, 100)), resamples=199)
    assert chance.low < 0 < chance.high
    assert chance.decided == 0
    gain = tau_gain(np.arange(50.0), rng.normal(size=50), np.arange(50.0), resamples=199)
    assert gain.decided == 1
    assert not mean_of(np.array([])).known
    few = mean_of(np.ones(4))
    assert (few.value, few.decided) == (1.0, 0)
    assert f"{few:.1f}" == "1.0 (interval unknown)"
    assert f"{Estimate(0.1, -0.2, 0.3):+.1f}" == "+0.1 (95 % -0.2 to +0.3)"


@pytest.mark.parametrize("n", [3, 5, 10])
def test_of_means_that_are_zero_one_in_twenty_is_decided(n):
    """The share is 5 % but for three of its standard errors; fewer than five values decide nothing."""
    values = np.random.default_rng(n).normal(size=(4000, n))
    share = np.mean([mean_of(row).decided != 0 for row in values])
    assert abs(share - (0.05 if n >= 5 else 0.0)) < 3 * np.sqrt(0.05 * 0.95 / len(values))


def test_of_many_networks_only_the_interval_is_resampled(monkeypatch):
    """The value is that of all, and the interval as wide as if all had been resampled."""
    a, noise = np.random.default_rng(0).normal(size=(2, 8000))
    whole, gain = tau_of(a, a + noise, resamples=199), tau_gain(a, noise, a + noise, resamples=19)
    assert (whole.value, whole.n) == (kendall(a, a + noise), 8000)
    assert (gain.value, gain.n) == (kendall(a, a + noise) - kendall(noise, a + noise), 8000)
    monkeypatch.setattr("archrank.studies.statistics._MOST", 8000)
    slow = tau_of(a, a + noise, resamples=199)
    assert whole.high - whole.low == pytest.approx(slow.high - slow.low, rel=0.2)
    assert whole.low < whole.value < whole.high


def test_tau_between_seeds_needs_ten_networks(known):
    assert tau_between_seeds(known, "acc").n == 144
    few = table(rows(noisy(0.5, 0)), rows(noisy(0.5, 1)[:9], seed=1, codes=CODES[:9]))
    assert tau_between_seeds(few, "acc") is None


def test_tau_between_seeds_is_a_mean_over_pairs_of_seeds():
    """Three seeds, not all of which every network has."""
    third = rows(noisy(0.5, 2)[:20], seed=2, codes=CODES[:20])
    bench = table(rows(noisy(0.8, 0)), rows(noisy(0.8, 1)[:40], seed=1, codes=CODES[:40]), third)
    a, b, c = (noisy(0.8, 0), noisy(0.8, 1), noisy(0.5, 2))
    by_hand = (40 * kendall(a[:40], b[:40]) + 20 * kendall(a[:20], c[:20]) + 20 * kendall(b[:20], c[:20])) / 80
    found, noise = tau_between_seeds(bench, "acc", resamples=199), measure_noise(bench, "acc")
    assert (found.value, found.n) == (pytest.approx(by_hand), 40)
    assert noise.reproducibility_tau == pytest.approx(by_hand)
    assert found.low < found.value < found.high
    one_pair = tau_between_seeds(bench, "acc", resamples=199, among=np.arange(len(CODES)) >= 20)
    assert (one_pair.value, one_pair.n) == (pytest.approx(kendall(a[20:40], b[20:40])), 20)


def test_seeds_that_no_two_networks_share_leave_the_ceiling_unknown(known):
    """As where every run has a number of its own."""
    values = noisy(0.5, 0)
    parts = [rows(values[[i]] + j, seed=2 * i + j, codes=CODES[[i]]) for i in range(len(CODES)) for j in (0, 1)]
    bench = table(*parts, signatures=None)
    noise = measure_noise(bench, "acc")
    assert (noise.reproducibility_tau, noise.ceiling_tau, noise.repeated) == (None, None, 144)
    assert "no two of the 144 networks with a second seed have the same two; number the seeds" in noise.why_unknown
    assert tau_between_seeds(bench, "acc") is None
    assert compare({"ridge": lambda seed: Ridge()}, bench, n_train=[20], trials=2).noise == noise
