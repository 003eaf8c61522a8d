"""Saves a W&B workspace that puts the variants of one group side by side.

pip install wandb-workspaces
python sweeps/workspace.py ENTITY PROJECT GROUP
"""

import sys

import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as workspaces

COLUMNS = ("all_score", "all_score_error", "all_gain", "all_probability", "all_alpha", "all_doubts")


def workspace(entity: str, project: str, group: str) -> workspaces.Workspace:
    """The workspace, not yet saved."""
    along = [panels.LinePlot(title=name, x="alpha", y=[f"{name}/all"]) for name in ("score", "D", "wins")]
    worth = [
        panels.ScatterPlot(title="How good, how much better", x="all_probability", y="all_gain"),
        panels.BarPlot(title="Mean score", metrics=["all_score"]),
        panels.BarPlot(title="Regret", metrics=["all_regret"]),
    ]
    running = [panels.LinePlot(title="answers", y=["progress/search_answers"])]
    sections = {
        "Variants": [*along, *worth, panels.RunComparer(diff_only="split")],
        "Reports": [panels.MediaBrowser(media_keys=["report"])],
        "While they run": running,
    }
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=f"Variants of {group}",
        sections=[
            workspaces.Section(name=name, panels=found, is_open=name != "While they run")
            for name, found in sections.items()
        ],
        runset_settings=workspaces.RunsetSettings(
            filters=f"Metric('Group') == '{group}'",
            order=[workspaces.Ordering(workspaces.Summary("all_score"), ascending=False)],
            pinned_columns=["run:displayName", *(f"summary:{name}" for name in COLUMNS)],
        ),
    )


if __name__ == "__main__":
    print(workspace(*sys.argv[1:4]).save().url)
