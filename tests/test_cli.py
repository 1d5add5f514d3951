import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from test_benchmarks import BAD_TABLES

import archrank
from archrank._console import progress
from archrank.cli import main


@pytest.fixture
def folder(toy, tmp_path):
    return toy.save(tmp_path / "toy")


def test_imports_are_light():
    code = (
        "import sys, archrank; archrank.MacroSpace; archrank.blox(); import archrank.cli;"
        "print([m for m in ('torch', 'pandas', 'sklearn', 'lightgbm', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_public_names():
    assert set(archrank.__all__) <= set(dir(archrank))
    for name in archrank.__all__:
        assert getattr(archrank, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        archrank.nothing  # noqa: B018


def test_help_and_version(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "report" in out
    assert run("report", "--help")[1].count("archrank report") >= 3
    assert run("--version") == (0, f"archrank {archrank.__version__}\n", "")


def test_benchmarks(run, folder):
    code, out, _ = run("benchmarks", "show", folder, "--json")
    data = json.loads(out)
    assert code == 0
    assert data["benchmarks"][0]["n_networks"] == 90
    assert data["benchmarks"][0]["networks_by_seeds"] == {"2": 90}
    assert data["benchmarks"][0]["metrics"][1] == {"name": "loss", "direction": "min", "unit": ""}
    assert 0.8 < data["benchmarks"][0]["ceiling_tau"] < 1
    code, out, _ = run("benchmarks", "show", folder)
    assert code == 0
    assert "nas-bench-macro:FILE" in out
    code, out, _ = run("benchmarks", "--json")
    assert code == 0
    assert [b["name"] for b in json.loads(out)["benchmarks"]] == archrank.list_benchmarks()


def test_report(run, folder, tmp_path):
    arguments = ("report", folder, "--predictors", "hant,gbdt:one_hot", "--n-train", "20,40", "--trials", "2")
    code, out, err = run(*arguments, "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)["rows"]
    assert [(r["predictor"], r["n_train"]) for r in rows] == [
        ("hant", 20), ("hant", 40), ("gbdt:one_hot", 20), ("gbdt:one_hot", 40),
    ]  # fmt: skip
    code, out, err = run(*arguments, "--out", tmp_path / "out")
    assert code == 0
    assert "noise ceiling" in out
    assert (tmp_path / "out" / "tau_by_training_networks.png").exists()


def test_report_of_a_small_table_of_ones_own(run, tmp_path):
    rng = np.random.default_rng(0)
    space = archrank.blox(stages=2)
    codes = space.sample(24, seed=0)
    names = pd.DataFrame(space.names(codes), columns=["stage_0", "stage_1"])
    names.assign(acc=codes.sum(1) + rng.normal(size=24)).to_csv(tmp_path / "own.csv", index=False)
    code, out, err = run("report", tmp_path / "own.csv", "--predictors", "gbdt", "--trials", "2", "--json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert data["rows"][0]["n_train"] == 16  # what is left of 24 for the default of 20
    assert data["noise"]["ceiling_tau"] is None
    code, _, err = run("report", tmp_path / "own.csv", "--predictors", "gbdt", "--space", "blox-3")
    assert code == 2
    assert "has 3 stages" in err


def test_fit_and_predict(run, folder, toy, tmp_path):
    model = tmp_path / "model"
    code, out, _ = run("fit", folder, "--predictor", "gbdt:one_hot", "--n-train", 50, "--out", model, "--json")
    assert code == 0
    assert json.loads(out)["kendall_tau"] > 0.5
    code, out, _ = run("predict", model, "--all", "--top", 5, "--json")
    data = json.loads(out)
    assert (code, data["metric"], len(data["predictions"])) == (0, "acc", 5)
    scores = [p["acc"] for p in data["predictions"]]
    assert scores == sorted(scores, reverse=True)
    pd.DataFrame(toy.codes[:4], columns=["stage_0", "stage_1", "stage_2"]).to_csv(tmp_path / "a.csv", index=False)
    code, _, _ = run("predict", model, "--archs", tmp_path / "a.csv", "--out", tmp_path / "new" / "p.csv")
    assert code == 0
    predicted = pd.read_csv(tmp_path / "new" / "p.csv")
    assert predicted.stage_0.tolist() == toy.space.names(toy.codes[:4])[:, 0].tolist()
    loaded = archrank.load(model)
    np.testing.assert_allclose(predicted.acc, loaded.predict(toy.codes[:4]), rtol=1e-9)
    code, out, _ = run("predict", model, "--archs", tmp_path / "a.csv")
    assert out.splitlines()[0] == "stage_0,stage_1,stage_2,acc"
    again = ("fit", folder, "--predictor", "hant", "--metric", "loss", "--out", tmp_path / "m2")
    first, second = run(*again)[1], run(*again)[1]
    assert "in place of the model that was there" in " ".join(second.split())
    assert "in place of" not in first
    best = json.loads(run("predict", tmp_path / "m2", "--all", "--top", 2, "--json")[1])["predictions"]
    assert best[0]["loss"] <= best[1]["loss"]


def test_predict_with_intervals(run, folder, tmp_path):
    run("fit", folder, "--predictor", "gbdt:one_hot", "--out", tmp_path / "m")
    rows = {}
    for share in (0.5, 0.9):
        code, out, _ = run("predict", tmp_path / "m", "--all", "--top", 3, "--interval", share, "--json")
        rows[share] = json.loads(out)["predictions"]
        assert (code, len(rows[share])) == (0, 3)
    for half, most in zip(rows[0.5], rows[0.9], strict=True):
        assert most["lo"] < half["lo"] < half["acc"] < half["hi"] < most["hi"] <= 100
    assert run("predict", tmp_path / "m", "--all", "--interval", 0.9)[1].startswith(
        "stage_0,stage_1,stage_2,acc,lo,hi\n"
    )
    code, _, err = run("predict", tmp_path / "m", "--all", "--interval", 90)
    assert code == 2
    assert "coverage must lie between 0 and 1" in err


def test_intervals_need_a_predictor_that_knows_them(run, folder, tmp_path, monkeypatch):
    run("fit", folder, "--predictor", "gbdt:one_hot", "--out", tmp_path / "m")
    unknowing = archrank.load(tmp_path / "m").set_params(regressor__std_folds=0)
    monkeypatch.setattr("archrank.predictors.persistence.load", lambda folder: unknowing)
    code, _, err = run("predict", tmp_path / "m", "--all", "--interval", 0.9)
    assert code == 2
    assert "'gbdt:one_hot' of" in err
    assert "does not know its uncertainty; fit it with --conformal" in err


def test_conformal_intervals(run, folder, toy, tmp_path):
    model, archs = tmp_path / "m", tmp_path / "a.csv"
    assert run("fit", folder, "--predictor", "hant", "--n-train", 60, "--conformal", "--out", model)[0] == 0
    test = toy.codes[np.random.default_rng(0).permutation(90)[60:]]
    pd.DataFrame(test, columns=["stage_0", "stage_1", "stage_2"]).to_csv(archs, index=False)
    predicted = pd.DataFrame(
        json.loads(run("predict", model, "--archs", archs, "--interval", 0.8, "--json")[1])["predictions"]
    )
    true = toy.values("acc")[toy.lookup(test)]
    assert 0.6 <= ((predicted.lo <= true) & (true <= predicted.hi)).mean() < 1


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_end_in_one_line(run, tmp_path, case):
    (tmp_path / "own.csv").write_text(BAD_TABLES[case][0])
    code, out, err = run("report", tmp_path / "own.csv", "--predictors", "gbdt")
    assert (code, out) == (2, "")
    assert err.startswith("archrank: ")
    assert "own.csv" in err
    assert err.count("\n") == 1


def test_wrong_input_ends_in_one_line(run, folder, tmp_path):
    (tmp_path / "a.csv").write_text("stage_0,stage_1,stage_2\na,u,zz\n")
    run("fit", folder, "--predictor", "hant", "--out", tmp_path / "model")
    for arguments, text in (
        (("report", "nowhere"), "no benchmark 'nowhere'"),
        (("report", folder, "--predictors", "oracle"), "unknown predictor 'oracle'"),
        (("report", folder, "--n-train", "20,x"), "--n-train takes whole numbers"),
        (("report", folder, "--n-train", "200"), "at most 60 can train"),
        (("report", folder, "--metric", "f1"), "no metric 'f1'; there are acc, loss"),
        (("report", folder, "--space", "mars"), "unknown space 'mars'"),
        (("report", folder, "--space", "blox-2"), "are for CSV and parquet files"),
        (("report", folder, "--trials", "0"), "trials"),
        (("report", "--wrong"), "--wrong"),
        (("fit", folder), "--predictor"),
        (("fit", folder, "--predictor", "hant", "--out", tmp_path / "m", "--n-train", "91"), "90 networks"),
        (("predict", tmp_path / "model"), "give either --archs FILE or --all"),
        (("predict", tmp_path / "none", "--all"), "fit.json"),
        (("predict", tmp_path / "model", "--archs", tmp_path / "a.csv"), "unknown block 'zz'"),
        (("predict", tmp_path / "model", "--archs", tmp_path / "b.csv"), "no such file"),
        (("predict", tmp_path / "model", "--all", "--out", tmp_path), "Is a directory"),
        (("benchmarks", "verify", "nowhere"), "no benchmark 'nowhere'"),
        (("benchmarks", "verify", folder, "--retrain", "1"), "no recorded recipe; only tables of packaged recipes"),
        (("benchmarks", "card", folder, "--out", tmp_path / "card", "--notes", tmp_path / "n.md"), "No such file"),
        (("benchmarks", "--json", "show", folder), "--json belongs behind show"),
        (("nonsense",), "nonsense"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith("archrank: "), arguments
        assert text in err
        assert err.count("\n") == 1, err


def test_our_own_faults_are_not_hidden(run, folder, monkeypatch):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("archrank.benchmarks.evaluate.compare", broken)
    monkeypatch.setattr(sys, "argv", ["archrank", "report", str(folder)])
    with pytest.raises(ZeroDivisionError):
        main()


def test_ctrl_c_and_closed_pipes(folder, tmp_path):
    # A shell starts background jobs with Ctrl-C ignored, and the tests may run in one.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{heard}; from archrank.cli import main; main()"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "report", folder, "--predictors", "gbdt", "--trials", "5000"], **quiet) as process:
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, b"")
    assert err == b"archrank: interrupted; with a store, the same command goes on where it was\n"
    subprocess.run([*command, "fit", folder, "--predictor", "hant", "--out", tmp_path / "m"], check=True, **quiet)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*command, "predict", tmp_path / "m", "--all"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr("archrank._console._LINE_SECONDS", 0.0)
    with progress() as advance:
        advance(3, 7, "donna")
    monkeypatch.setattr("archrank._console._LINE_SECONDS", 1000.0)
    with progress() as advance:
        advance(4, 7, "donna")
    assert capsys.readouterr().err == "3 of 7: donna\n"


def test_a_long_run_says_in_a_log_how_long_it_will_take(monkeypatch, capsys):
    seconds = iter([0.0, 1.0, 61.0, 121.0])
    monkeypatch.setattr("archrank._console.time.monotonic", lambda: next(seconds))
    with progress("training") as advance:
        advance(10, 30, "")  # done by an earlier run
        advance(11, 30, "normal-3-4-s0")
        advance(12, 30, "normal-3-5-s0")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("training 11 of 30: normal-3-4-s0, about 0:19:19 left")
    assert lines[1].startswith("training 12 of 30: normal-3-5-s0, about 0:18:09 left")
