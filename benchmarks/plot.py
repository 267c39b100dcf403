"""Draw results/NAME.json as bars in results/NAME.png. Runs in an environment that has matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def draw(path: Path) -> None:
    plot = json.loads(path.read_text())["plot"]
    names, values = list(plot["bars"]), list(plot["bars"].values())
    figure, axes = pyplot.subplots(figsize=(7, 0.6 * len(names) + 1.3), layout="constrained")
    bars = axes.barh(names[::-1], values[::-1], color=["#5b7c99"] * (len(names) - 1) + ["#e07a2f"])
    axes.bar_label(bars, fmt="{:,.0f}", padding=4)
    axes.set(xlabel=plot["label"], title=plot["title"])
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
