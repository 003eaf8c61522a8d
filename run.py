"""The one entry point: Hydra composes the configuration, it is read once, and the mode that it names runs.

python run.py                                   the demo: map, search, merge, evaluate, report
python run.py mode=plan model=custom model.target.path=A model.donors.a.path=B
"""

import gc
import sys

import hydra
from omegaconf import DictConfig

from adamms.app.messages import explain_errors
from adamms.app.multirun import compared


@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(config: DictConfig) -> None:
    from adamms.app.modes.common import start  # torch; --help answers without it
    from adamms.app.settings import read

    start(read(config))


if __name__ == "__main__":
    # Most of what is made at the start stays: looking for garbage among it took a fifth of the time.
    gc.set_threshold(100_000, 20, 20)
    with explain_errors(), compared():
        main()
    # Nor at the end, which took another half of a second. triton complains of what is left.
    if "triton" not in sys.modules:
        gc.freeze()
