"""The dataset card of a table: a README and a picture, every number computed from the table.

What only its maker knows, its known limits, comes from a text beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import sem

from archrank._folder import verify_files
from archrank._swap import new_file
from archrank.benchmarks.again import commands, more_than_there_is
from archrank.benchmarks.facts import coverage, seed_counts, seeds_text
from archrank.benchmarks.lone import lone_taus
from archrank.benchmarks.noise import MIN_REPEATED, measure_noise
from archrank.ground_truth import GroundTruth, TableError

CARD, PICTURE = "README.md", "card.png"
_MARK = "<!-- Written by `archrank benchmarks card`; remarks belong into notes.md beside the table. -->"


def write_card(table: GroundTruth, out: Path, folder: Path | None = None, notes: str = "") -> tuple[Path, Path]:
    """Write ``README.md`` and ``card.png``, each whole or not at all.

    Parameters
    ----------
    table
        Any table.
    out
        Made if need be; may be the table's own folder.
    folder
        The table's folder, whose checksums the card lists; None for tables that have none.
    notes
        Markdown on known limits.

    Raises
    ------
    TableError
        If `out` holds a README.md that is no card.
    """
    text, picture = out / CARD, out / PICTURE
    if text.exists() and not text.read_text(encoding="utf-8").startswith(_MARK):
        raise TableError(f"{text} is no dataset card and would be lost; give another --out")
    out.mkdir(parents=True, exist_ok=True)
    content = card(table, None if folder is None else verify_files(folder), notes)
    with new_file(text) as part:
        part.write_text(content, encoding="utf-8")
    with new_file(picture) as part:
        plot_card(table, part)
    return text, picture


def card(table: GroundTruth, checksums: Mapping[str, str] | None = None, notes: str = "") -> str:
    """The card as Markdown."""
    parts = (
        [_MARK, f"# {table.name}", table.source, f"![{table.default_metric}]({PICTURE})"],
        ["## What it holds", _extent(table), _metrics(table)],
        ["## How it was made", *_making(table.provenance)],
        ["## How well it ranks", _noise(table), _lone_taus(table)],
        ["## Known limits", notes.strip() or "None were written down."],
        ["## Licence", table.licence or "Not stated."],
        ["## Make it again", *_again(table)],
        ["## Files", _markdown([("file", "sha256"), *checksums.items()])] if checksums else [],
    )
    return "\n\n".join(text for part in parts for text in part if text) + "\n"


# -- sections ---------------------------------------------------------------------------------------


def _extent(table: GroundTruth) -> str:
    space, variants = table.space, table.frame["variant"].value_counts(sort=False)
    rows = [
        ("", ""),
        ("space", f"{space.name}: {space.stages} stages of {', '.join(map(str, space.n_blocks))} blocks"),
        ("networks", str(coverage(table))),
        ("seeds per network", seeds_text(seed_counts(table))),
        ("records", ", ".join(f"{n:,} {v}" for v, n in variants.items())),
    ]
    if "status" in table.frame and (lost := int((table.frame["status"] != "ok").sum())):
        rows.append(("failed trainings", f"{lost:,}, without values"))
    if table.signatures is not None:
        of = f"{', '.join(table.signatures.columns)} of {sum(space.n_blocks)} blocks"
        rows.append(("signatures", f"{of}; teachers {', '.join(table.signatures.teachers)}"))
    return _markdown(rows)


def _metrics(table: GroundTruth) -> str:
    rows = [("metric", "better", "unit", "range", "what it is")]
    for m in table.metrics.values():
        values = table.frame[m.name].to_numpy(np.float64, na_value=np.nan)
        values = values[np.isfinite(values)]
        span = f"{values.min():.6g} to {values.max():.6g}" if len(values) else "no values"
        if len(values) < len(table.frame):
            span += f" ({len(values):,} records)"
        name = f"{m.name} (default)" if m.name == table.default_metric else m.name
        rows.append((name, "higher" if m.direction == "max" else "lower", m.unit, span, m.description))
    curves = f"\n\nPer epoch: {', '.join(table.curve_names)}." if table.curve_names else ""
    return _markdown(rows) + curves


def _making(provenance: Mapping[str, Any]) -> Iterator[str]:
    """Recipe, images, versions, machines, time; of other tables whatever their provenance says."""
    if "recipe" not in provenance:
        yield _markdown([("", ""), *((k, str(v)) for k, v in provenance.items())]) if provenance else "Not stated."
        return
    recipe = provenance["recipe"]
    yield f"Recipe `{recipe['name']}` ({provenance['recipe_hash']}): {recipe['description']}."
    settings = [
        (p, ", ".join(f"{k} {_plain(v)}" for k, v in keys.items()))
        for p, keys in recipe.items()
        if isinstance(keys, dict)
    ]
    yield _markdown([("part of the recipe", "settings"), *settings])
    yield f"Images: sha256 {provenance['images_sha256']} over pixels and labels."
    machines = [("device", "processor", "threads", "torch", "Python")]
    for h in provenance.get("hosts", ()):
        processor = h["processor"] or "not recorded"
        machines.append((h["device_name"], processor, str(h["threads"]), h["torch"], h["python"]))
    yield _markdown(machines) if len(machines) > 1 else ""
    yield (
        f"Made with archrank {provenance['archrank']} (commit {provenance['commit'] or 'unknown'}), finished "
        f"{provenance['finished']}. All records together took {provenance['cpu_hours']:g} CPU hours."
    )


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _noise(table: GroundTruth) -> str:
    noise, metric = measure_noise(table), table.metric()
    if noise.reproducibility_tau is None or noise.ceiling_tau is None or noise.spread is None:
        return f"The noise ceiling of {metric.name} is unknown: {noise.why_unknown}."
    return (
        f"Reproducibility, Kendall's tau between two seeds: {noise.reproducibility_tau:.3f} "
        f"({noise.repeated:,} networks). "
        f"Noise ceiling, the tau that a perfect predictor expects: {noise.ceiling_tau:.3f} ± {noise.ceiling_std:.3f}. "
        f"Standard deviation between seeds: {noise.spread:.3g} {metric.unit}".rstrip()
        + "."
        + _seed_levels(table)
    )


def _seed_levels(table: GroundTruth) -> str:
    """A seed decides the order of images for all networks alike, so that seeds differ in level."""
    values, metric = table.seed_values(), table.metric()
    there = np.isfinite(values)
    used = np.flatnonzero(there.any(axis=0))  # other seeds are those of other variants
    first = table.seeds[used[0]]
    each = []
    for position in used[1:]:
        seed, difference = table.seeds[position], values[:, position] - values[:, used[0]]
        difference = difference[np.isfinite(difference)]
        if len(difference) >= MIN_REPEATED:
            each.append(f"seed {seed} {difference.mean():+.3g} ± {sem(difference):.2g} {metric.unit}".rstrip())
    if not each:
        return ""
    unlike = len(np.unique(there[there.any(axis=1)], axis=0)) > 1
    return (
        f" Mean difference to seed {first}, on the networks that have both, with its standard error: {'; '.join(each)}."
        + f" Means over unlike seeds may differ by that too; `values(seed={first})` compares like with like." * unlike
    )


def _lone_taus(table: GroundTruth) -> str:
    taus = lone_taus(table)
    if taus.empty:
        return ""
    rows = [("ranked by nothing but", "teacher", f"tau with {table.default_metric}")]
    rows += [(str(r.what), str(r.teacher), f"{r.tau:.3f}") for r in taus.itertuples()]
    return _markdown(rows)


def _again(table: GroundTruth) -> Iterator[str]:
    """The commands that train the same networks with the same seeds, and what they leave to do."""
    recipe = table.provenance.get("recipe", {}).get("name")
    if recipe is None:
        yield "The table does not say by which recipe of archrank it was trained."
        return
    yield "```\n" + "\n".join(lines := commands(table, recipe)) + "\n```"
    if more := more_than_there_is(table):
        others = "".join(f", and {n:,} records of {way}" for way, n in more.items() if way != "normal")
        yield f"This trains every network with each seed; the table has {seeds_text(seed_counts(table))}{others}."
    if any(line.startswith("archrank latency") for line in lines):
        yield "Latencies are those of the machine that measures them."
    yield f"`archrank benchmarks verify {table.name} --retrain 5 --data IMAGES` trains five records again and compares."


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    """A table whose first row is its heading."""
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


# -- picture ----------------------------------------------------------------------------------------


def plot_card(table: GroundTruth, path: Path) -> None:
    """Distribution of the default metric, and one seed against another where there are two. PNG, small."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metric, mean, seeds = table.metric(), table.values(), table.seed_values()
    label = f"{metric.name} [{metric.unit}]" if metric.unit else metric.name
    pairs = list(combinations(range(len(table.seeds)), 2))
    both = [np.isfinite(seeds[:, pair]).all(axis=1) for pair in pairs]
    most = int(np.argmax([rows.sum() for rows in both])) if pairs else 0
    two = bool(pairs) and both[most].any()
    figure = Figure(figsize=(7.2 if two else 3.6, 3.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(1, 2 if two else 1, 1)
    axes.hist(mean[np.isfinite(mean)], bins=40)
    axes.set(xlabel=f"{label}, mean over seeds", ylabel="networks")
    if two:
        a, b = pairs[most]
        x, y = seeds[both[most]][:, [a, b]].T
        axes = figure.add_subplot(1, 2, 2)
        axes.scatter(x, y, s=6, alpha=0.5, linewidths=0)
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, color="grey", linewidth=1)
        axes.set(
            xlabel=f"{label}, seed {table.seeds[a]}", ylabel=f"seed {table.seeds[b]}", title=f"{len(x):,} networks"
        )
    figure.savefig(path, format="png", pil_kwargs={"optimize": True})
