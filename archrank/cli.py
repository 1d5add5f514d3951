"""The command line. Libraries that take long to import are imported inside the commands."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archrank._console import emit, progress, show
from archrank.benchmarks import commands as benchmark_commands
from archrank.benchmarks import export_command
from archrank.search import commands as search_commands
from archrank.studies import commands as study_commands
from archrank.train_ground_truth import commands, measure_commands

if TYPE_CHECKING:
    from archrank.ground_truth import GroundTruth
    from archrank.spaces import MacroSpace

DEFAULT_BENCHMARK = "blox-mini"
DEFAULT_PREDICTORS = "auto,gp,donna,hant,gcn,gbdt:one_hot,gbdt:signature"
DEFAULT_N_TRAIN = (20, 50, 100)
_INTERRUPTED = 130

app = typer.Typer(
    name="archrank",
    help="Rank neural architectures before you train them.\n\n"
    "Fits performance predictors on a few trained networks, or on signatures of single blocks, and says by "
    "Kendall's tau against ground truth how far to trust them.\n\n"
    "Start with [bold]archrank report[/bold], which needs nothing but the bundled table.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of tables.")]
Benchmark = Annotated[
    str,
    typer.Argument(
        help="A bundled name, a folder, a CSV or parquet file, or a published source such as nas-bench-macro:FILE.",
        metavar="BENCHMARK",
    ),
]
MetricOption = Annotated[str | None, typer.Option("--metric", help="Metric to predict; default: the benchmark's own.")]
SpaceOption = Annotated[
    str | None,
    typer.Option(
        "--space",
        help="For a file of your own: blox-N for N stages, nas-bench-macro, bossnas-nats, accel-nasbench.",
        metavar="NAME",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the first trial.")]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        import archrank

        typer.echo(f"archrank {archrank.__version__}")
        raise typer.Exit


@app.command()
def report(
    benchmark: Benchmark = DEFAULT_BENCHMARK,
    predictors: Annotated[
        str | None,
        typer.Option(help="Comma-separated; an encoding may follow a colon.", show_default=DEFAULT_PREDICTORS),
    ] = None,
    n_train: Annotated[str | None, typer.Option(help="Numbers of training networks.", show_default="20,50,100")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Random splits for each number.")] = 10,
    metric: MetricOption = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.json, trials.csv and PNG pictures.", metavar="DIR")
    ] = None,
    space: SpaceOption = None,
    jobs: Annotated[int, typer.Option(help="Fits at once; -1: all cores. Seconds of fits are best taken with 1.")] = 1,
    as_json: Json = False,
) -> None:
    """Fit predictors on a few networks and print how they rank others, beside the noise ceiling.

    Examples:

      archrank report

      archrank report my-table.csv --predictors gbdt,gcn --n-train 20,50 --out results

      archrank report nas-bench-macro:nas-bench-macro_cifar10.json --predictors gbdt:one_hot --json
    """
    from archrank.benchmarks.evaluate import compare
    from archrank.benchmarks.splits import n_test

    table = _load(benchmark, space)
    names = _default_predictors(table) if predictors is None else _split(predictors)
    if n_train is None:
        room = len(table) - n_test(len(table))
        sizes = [n for n in DEFAULT_N_TRAIN if n <= room] or [room]
    else:
        sizes = _whole_numbers(n_train, "--n-train")
    with progress() as advance:
        result = compare(names, table, sizes, trials, seed, metric, advance, jobs)
    if out is not None:
        result.save(out)
    if as_json:
        emit(result.to_json())
    else:
        show(result.table())
    for row in result.to_frame().query("status == 'failed'").drop_duplicates(["predictor", "error"]).itertuples():
        typer.echo(f"{row.predictor} failed with {row.n_train} networks: {row.error}", err=True)
    if out is not None:
        typer.echo(f"written to {out}", err=True)


@app.command()
def fit(
    benchmark: Benchmark,
    predictor: Annotated[str, typer.Option(help="Such as donna, gbdt:one_hot or gcn.", metavar="NAME")],
    out: Annotated[Path, typer.Option(help="Folder for the model.", metavar="MODEL_DIR")],
    n_train: Annotated[
        int | None, typer.Option(min=1, help="Number of training networks, drawn by --seed; default: all.")
    ] = None,
    metric: MetricOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Draws the training networks and seeds the predictor.")] = 0,
    conformal: Annotated[
        bool, typer.Option("--conformal", help="Add conformal intervals (CV+ of 10 folds), for predict --interval.")
    ] = False,
    space: SpaceOption = None,
    as_json: Json = False,
) -> None:
    """Fit one predictor and save it.

    Examples:

      archrank fit blox-mini --predictor donna --out my-model

      archrank fit my-table.csv --predictor gbdt --metric val_loss --n-train 50 --out my-model
    """
    from archrank.benchmarks.models import fit_model

    table = _load(benchmark, space)
    before = out.is_dir() and any(out.iterdir())
    result = fit_model(table, predictor, out, n_train=n_train, metric=metric, seed=seed, conformal=conformal)
    if as_json:
        emit(result)
        return
    tau = result["kendall_tau"]
    judged = "no network is left to test it" if tau is None else f"tau {tau:.3f} on {result['n_test']} others"
    show(
        f"{predictor} fitted to {result['metric']} of {result['n_train']} networks; {judged}. "
        f"Saved in {out}{', in place of the model that was there' if before else ''}."
    )


@app.command()
def predict(
    model_dir: Annotated[Path, typer.Argument(help="Folder that `archrank fit` wrote.", metavar="MODEL_DIR")],
    archs: Annotated[
        Path | None,
        typer.Option(help="CSV or parquet with one column per stage, or JSON architectures.", metavar="FILE"),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every network of the space.")] = False,
    top: Annotated[int | None, typer.Option(min=1, help="Only the K best, best first.", metavar="K")] = None,
    interval: Annotated[
        float | None, typer.Option(help="Also lo and hi of intervals of this coverage, such as 0.9.", metavar="SHARE")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file instead of stdout.", metavar="FILE")] = None,
    as_json: Json = False,
) -> None:
    """Predict the metric of architectures, as CSV.

    Examples:

      archrank predict my-model --all --top 10 --interval 0.9

      archrank predict my-model --archs candidates.csv --out predictions.csv
    """
    from archrank.benchmarks.models import predict_model

    if (archs is None) == (not everything):
        raise typer.BadParameter("give either --archs FILE or --all")
    frame, metric = predict_model(model_dir, archs, top, interval)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(frame.to_csv(index=False), encoding="utf-8")
    if as_json:
        emit({"metric": metric, "n": len(frame), "predictions": [] if out else frame.to_dict("records")})
    elif out is None:
        typer.echo(frame.to_csv(index=False), nl=False)


app.add_typer(benchmark_commands.app, name="benchmarks")
export_command.register(app)
search_commands.register(app)
study_commands.register(app)
commands.register(app)
measure_commands.register(app)


# -- helpers ----------------------------------------------------------------------------------


def _load(spec: str, space: str | None) -> GroundTruth:
    from archrank.benchmarks.catalogue import load_benchmark

    return load_benchmark(spec, space=None if space is None else _space(space))


def _space(name: str) -> MacroSpace:
    from archrank.spaces import accel_nasbench, blox, bossnas_nats, nas_bench_macro

    kind, _, stages = name.rpartition("-")
    if kind == "blox" and stages.isdecimal():
        return blox(stages=int(stages))
    named = {"nas-bench-macro": nas_bench_macro, "bossnas-nats": bossnas_nats, "accel-nasbench": accel_nasbench}
    if name not in named:
        raise typer.BadParameter(f"unknown space {name!r}; expected blox-N, {' or '.join(named)}")
    return named[name]()


def _default_predictors(table: GroundTruth) -> list[str]:
    """All of them, less those that need signatures where there are none."""
    names = _split(DEFAULT_PREDICTORS)
    if table.signatures is None:
        names = [n for n in names if n in ("auto", "gp", "gcn", "gbdt:one_hot")] + ["gbdt"]
    return names


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _whole_numbers(text: str, option: str) -> list[int]:
    parts = _split(text)
    if not parts or not all(p.isdecimal() for p in parts):
        raise typer.BadParameter(f"{option} takes whole numbers separated by commas, such as 20,50; got {text!r}")
    return [int(p) for p in parts]


def main() -> None:
    """Entry point: wrong input ends in one line and exit code 2, a campaign that lost jobs in 1, Ctrl-C in 130."""
    # A warning is one line as well, without the place in the code that raised it.
    warnings.formatwarning = lambda message, *_, **__: f"archrank: {message}\n"
    try:
        # A closed pipe ends it quietly with exit code 1, Ctrl-C inside a command gives 130.
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        message = _wrong_input(error)
        if message is None:
            raise
        print(f"archrank: {message}", file=sys.stderr)
        sys.exit(1 if _is_campaign_error(error) else 2)
    if code == _INTERRUPTED:
        print("archrank: interrupted; with a store, the same command goes on where it was", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _is_campaign_error(error: Exception) -> bool:
    from archrank.train_ground_truth.ledger import CampaignError

    return isinstance(error, CampaignError)


def _wrong_input(error: Exception) -> str | None:
    """One line for an error that the user can mend, None for a fault of ours."""
    if hasattr(error, "format_message"):  # the command line parser's own errors
        text = str(error.format_message())
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "archrank"
        text = f"{text} (see {command} --help)" if "--help" not in text else text
    elif isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    # Those of the operating system name a file, the others are our own text.
    elif isinstance(error, (ValueError, FileNotFoundError)) or _is_campaign_error(error):
        text = str(error)
    else:
        return None
    text = " ".join(text.split())
    return text if len(text) <= 2000 else f"{text[:1000]} ... {text[-900:]}"  # a damaged cell may be of any length
