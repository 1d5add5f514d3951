"""The command ``archrank search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archrank._console import emit, progress, show

if TYPE_CHECKING:
    from rich.table import Table

    from archrank.search.table_search import TableSearch


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(search)


def search(
    benchmark: Annotated[
        str,
        typer.Argument(help="A bundled name, a folder, a CSV or parquet file, or PREFIX:PATH.", metavar="BENCHMARK"),
    ],
    method: Annotated[
        str,
        typer.Option(
            help="donna, evolution, hant, local, nsga2, predictor, random, reinforce, rerank, or one of your own.",
            metavar="NAME",
        ),
    ],
    budget: Annotated[int, typer.Option(min=1, help="Networks trained in each trial.", metavar="N")],
    predictor: Annotated[
        str | None, typer.Option(help="For predictor, rerank and donna, such as gp or gbdt:structure.", metavar="NAME")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Repetitions with seeds of their own.")] = 10,
    batch: Annotated[int, typer.Option(min=1, help="Networks asked for at once.")] = 1,
    metric: Annotated[str | None, typer.Option(help="Metric to search for; default: the benchmark's own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first trial.")] = 0,
    max_params: Annotated[
        float | None, typer.Option(help="Only networks of at most P parameters.", metavar="P")
    ] = None,
    max_flops: Annotated[float | None, typer.Option(help="Only networks of at most F FLOPs.", metavar="F")] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(
            help="Only networks of at most L in the table's latency, or DEVICE:L where it has several.", metavar="L"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for search.json, history.csv and search.png.", metavar="DIR")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout instead of a table.")
    ] = False,
) -> None:
    """Play a search method on a table and print how good its best network is after so many trainings.

    Examples:

      archrank search blox-mini --method evolution --budget 100

      archrank search blox-mini --method predictor --predictor gp --budget 30 --trials 5 --out found

      archrank search my-table --method local --budget 50 --max-params 1e6 --json
    """
    from archrank.benchmarks.catalogue import load_benchmark
    from archrank.search.table_search import not_measured, search_table

    limits = {"params": max_params, "flops": max_flops}
    given = {name: limit for name, limit in limits.items() if limit is not None}
    if max_latency is not None:
        given |= _latency_limit(max_latency)
    table = load_benchmark(benchmark)
    if unmeasured := not_measured(table, given):
        typer.echo(f"{unmeasured:,} networks whose latency was not measured are left out", err=True)
    with progress() as advance:
        result = search_table(
            table,
            method,
            budget,
            metric=metric,
            trials=trials,
            batch=batch,
            seed=seed,
            predictor=predictor,
            limits=given,
            progress=advance,
        )
    if out is not None:
        result.save(out)
    if as_json:
        emit(result.to_json())
    else:
        show(_table(result))
    if out is not None:
        typer.echo(f"written to {out}", err=True)


def _latency_limit(text: str) -> dict[str, float]:
    device, colon, limit = text.rpartition(":")
    try:
        return {f"latency:{device}" if colon else "latency": float(limit)}
    except ValueError:
        raise typer.BadParameter(f"--max-latency takes L or DEVICE:L with a number L, got {text!r}") from None


def _table(result: TableSearch) -> Table:
    from rich import box
    from rich.table import Table

    metric = result.metric
    unit = f" [{metric.unit}]" if metric.unit else ""
    better = "higher" if metric.direction == "max" else "lower"
    table = Table(
        title=f"{result.benchmark}: best {metric.name}{unit} that {result.method} finds ({better} is better), "
        f"{len(result.histories)} trials",
        caption=f"best of the {len(result.values)} networks: {result.best_of_table:.5g}",
        box=box.SIMPLE_HEAD,
    )
    for name in ("trained", "median", "5 % to 95 % of trials", "median rank"):
        table.add_column(name, justify="right")
    for row in result.summary().itertuples():
        band = f"{row.best_p05:.5g} to {row.best_p95:.5g}"
        table.add_row(str(row.trained), f"{row.best_median:.5g}", band, f"{row.rank_median:g}")
    return table
