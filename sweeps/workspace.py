"""Saves a W&B workspace that puts the variants of one group side by side, with a chart of its own.

python sweeps/workspace.py ENTITY PROJECT GROUP
python sweeps/workspace.py                        prints the chart, to be pasted into W&B's editor
"""

import json
import sys
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as workspaces

CHART = "adamms-score-and-D"
TABLE = "score_and_D_along_alpha_table"
COLUMNS = ("all_score", "all_score_error", "all_gain", "all_probability", "all_alpha", "all_doubts")
FIELDS = {"along": "alpha", "what": "what", "value": "value", "error": "error"}  # the chart's -> the table's


def field(name: str, **more: Any) -> dict[str, Any]:
    return {"field": f"${{field:{name}}}", "type": "quantitative"} | more


def chart() -> dict[str, Any]:
    """Vega-Lite: mean score and D along alpha, a line per run, each quantity below the other on its own axis.

    W&B gives every row the run's `name` and `color`.
    """
    colour = {"field": "name", "type": "nominal", "scale": {"range": {"field": "color"}}, "title": None}
    along = {"x": field("along"), "color": colour}
    value, own = field("value", title=None, scale={"zero": False}), "datum['${field:value}']"
    ends = {"low": f"{own} - datum['${{field:error}}']", "high": f"{own} + datum['${{field:error}}']"}
    line = {
        "mark": {"type": "line", "point": True, "tooltip": {"content": "data"}},
        "encoding": along | {"y": value},
    }
    # D has no error: its bar has no length.
    error = {"mark": "rule", "encoding": along | {"y": value | {"field": "low"}, "y2": {"field": "high"}}}
    what = field("what", type="nominal", title=None, sort="descending")
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"name": "wandb"},
        "transform": [
            {"filter": {"field": "${field:value}", "valid": True}},
            *({"calculate": formula, "as": name} for name, formula in ends.items()),
        ],
        "facet": {"row": what | {"header": {"orient": "top"}}},
        "spec": {"width": 480, "height": 180, "layer": [line, error]},
        "resolve": {"scale": {"y": "independent", "color": "independent"}},
    }


def workspace(entity: str, project: str, group: str) -> workspaces.Workspace:
    """The workspace, not yet saved."""
    both = panels.CustomChart(
        query=dict.fromkeys(("id", "name", "_defaultColorIndex")) | {"summaryTable": {"tableKey": TABLE}},
        chart_name=f"{entity}/{CHART}",
        chart_fields=FIELDS,
        layout=panels.Layout(w=16, h=12),
    )
    worth = [
        panels.ScatterPlot(
            title="How probably good, how much better",
            x=panels.SummaryMetric("all_probability"),
            y=panels.SummaryMetric("all_gain"),
        ),
        panels.BarPlot(title="Mean score", metrics=["all_score"]),
        panels.BarPlot(title="Regret", metrics=["all_regret"]),
    ]
    running = [
        panels.LinePlot(title="answers", y=["progress/search_answers"]),
        panels.LinePlot(title="score", x="alpha", y=["score/all"]),
        panels.LinePlot(title="score of what the search asks", x="alpha", y=["searched_score/all"]),
    ]
    sections = {
        "Variants": [both, *worth, panels.RunComparer(diff_only="split")],
        "Reports": [panels.MediaBrowser(media_keys=["report"])],
        "While they run": running,
    }
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=f"Variants of {group}",
        sections=[
            workspaces.Section(name=name, panels=found, is_open=True) for name, found in sections.items()
        ],
        runset_settings=workspaces.RunsetSettings(
            filters=f"Metric('Group') == {group!r}",
            order=[workspaces.Ordering(workspaces.Summary("all_score"), ascending=False)],
            pinned_columns=["run:displayName", *(f"summary:{name}" for name in COLUMNS)],
        ),
        auto_generate_panels=True,  # among others, D of every signal while it runs
    )


def save_chart(entity: str) -> None:
    """Once per entity; one of this name that is there stays as it is."""
    try:
        wandb.Api().create_custom_chart(
            entity=entity,
            name=CHART,
            display_name="Score and D along alpha",
            spec_type="vega2",
            access="private",
            spec=chart(),
        )
    except wandb.Error as error:
        print(f"the chart {entity}/{CHART} was not made, which is well if it is there already: {error}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps(chart(), indent=2))
    else:
        entity, project, group = sys.argv[1:]
        save_chart(entity)
        print(workspace(entity, project, group).save().url)
