"""What a study found: tables, a text whose figures come from them, and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archrank._swap import new_file

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from archrank.ground_truth import GroundTruth

Progress = Callable[[int, int, str], None]
Draw = Callable[["Figure"], None]


@dataclass(frozen=True, eq=False)
class Study:
    """An answered question.

    Parameters
    ----------
    name, title, question
        The name of the command, a heading, and what is asked.
    data
        One line: the table, networks, seeds and variants that it ran on, see `data_line`.
    tables
        By name, the main one first.
    text
        Half a page, every figure of which is formatted from the tables. It goes behind `data`.
    figures
        By name: functions that draw into a matplotlib figure of 6.4 x 4.4 inches, which they may resize.
    environment
        Versions and machine type, for the record.
    """

    name: str
    title: str
    question: str
    data: str
    tables: Mapping[str, pd.DataFrame]
    text: str
    figures: Mapping[str, Draw]
    environment: Mapping[str, str] = field(default_factory=lambda: _environment())

    def to_json(self) -> dict[str, Any]:
        """The machine-readable result: JSON-ready, with None where there is no number."""
        # pandas knows how numpy's numbers and NaN become JSON; 15 digits are all that a double has.
        tables = {
            name: json.loads(table.to_json(orient="records", double_precision=15))
            for name, table in self.tables.items()
        }
        return {
            "study": self.name,
            "question": self.question,
            "data": self.data,
            "rows": next(iter(tables.values())),
            "tables": tables,
            "text": self.text,
            "environment": dict(self.environment),
        }

    def save(self, folder: str | Path) -> Path:
        """Write ``text.md`` (its first line is the data line), ``TABLE.csv``, ``FIGURE.png`` and ``study.json``.

        Each file is written whole or not at all, ``study.json`` last.
        """
        from matplotlib.figure import Figure

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with new_file(folder / "text.md") as part:
            part.write_text(f"{self.data}\n\n# {self.title}\n\n{self.question}\n\n{self.text}\n", encoding="utf-8")
        for name, table in self.tables.items():
            with new_file(folder / f"{name}.csv") as part:
                table.to_csv(part, index=False)
        for name, draw in self.figures.items():
            figure = Figure(figsize=(6.4, 4.4), dpi=150, layout="constrained")
            draw(figure)
            with new_file(folder / f"{name}.png") as part:
                figure.savefig(part)
        with new_file(folder / "study.json") as part:
            part.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return folder


def data_line(bench: GroundTruth, metric: str | None = None, more: str = "") -> str:
    """What a study ran on, in one line: table, space, metric, networks, seeds, and what `more` adds."""
    from archrank.benchmarks.facts import seed_counts, seeds_text

    target = bench.metric(metric)
    unit = f" [{target.unit}]" if target.unit else ""
    counts = seed_counts(bench, metric=target.name)
    line = (
        f"Run on {bench.name} ({bench.space.name}, {bench.space.size:,} networks): {target.name}{unit} of "
        f"{sum(counts.values()):,} networks trained normally, seeds per network {seeds_text(counts)}"
    )
    return f"{line}; {more}." if more else f"{line}."


def _environment() -> dict[str, str]:
    from archrank.benchmarks.report import environment

    return environment()
