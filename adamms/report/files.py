"""The names of what a run leaves in its output folder; what each holds: docs/running.md.

They never change: runs of before have them.
"""

from adamms.checkpoint.side_files import RECORD as RECORD  # in MODEL

LOG = "run.log"
SETTINGS = "config.yaml"  # the configuration of the run that wrote `model`, beside it
PLAN = "plan.json"
VERIFIED = "plan_verify.json"
SELECTION = "selection.json"
EVALUATION = "evaluation.json"
ANSWERS = "answers.jsonl"
EXTRACTION = "extract.json"
RESULT = "result.json"
REPORT = "report.html"
MODEL = "model"  # a folder
ADAPTER = "adapter"  # a folder
