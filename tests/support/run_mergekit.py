"""Run by mergekit's interpreter: merges as mergekit itself does them. `python run_mergekit.py JOBS.json`

The file is a list of {"config": what mergekit-yaml reads, "output": folder, "seed": of its random numbers}.
"""

import json
import sys
from pathlib import Path

from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

for job in json.loads(Path(sys.argv[1]).read_text()):
    options = MergeOptions(
        copy_tokenizer=False, write_model_card=False, quiet=True, num_threads=1, random_seed=job["seed"]
    )
    run_merge(MergeConfiguration.model_validate(job["config"]), job["output"], options)
