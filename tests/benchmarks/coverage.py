"""Which multimodal types of the installed transformers merge, with tiny models of each.

    python tests/benchmarks/coverage.py                        all; about 15 minutes on two cores
    python tests/benchmarks/coverage.py --types qwen3_vl gemma4    some
    python tests/benchmarks/coverage.py --write                all, and their table in docs/models.md

A type's default configuration is shrunk, and two models are drawn around one ancestor: the target, and a
donor of another family with the same language model where there is one. `mode=plan` and `mode=merge` run as
the command line does; transformers loads the result, and every tensor of the language model is compared with
its mix in float64, every other one with the target's.

right            all tensors are as they should be
wrong, half      some are not; or are the target's although they should be merged
crashed          with a traceback
refused          with a message
cannot be built  this transformers cannot make, save and load a tiny one

The exit status is 1 if a type is wrong, half or crashed.
"""

import argparse
import importlib
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
sys.path.insert(0, str(HERE.parents[1]))

import torch  # noqa: E402
import transformers  # noqa: E402
from coverage_case import Pair, Verdict, judged, not_generated, pairs  # noqa: E402
from coverage_table import PAGE, table, written  # noqa: E402

FAILURES = 400  # characters of a reason on the console


def prepare() -> None:
    """In each process: one thread, no warnings of transformers on the console, a cache of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    importlib.import_module("adamms.app.settings")  # so that the first plan does not pay for it
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    os.environ["ADAMMS_CACHE"] = tempfile.mkdtemp(prefix="coverage_cache_")


def judge(pair: Pair) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="coverage_") as folder:
        verdict = judged(pair, Path(folder))
        if verdict.verdict == "right":
            verdict.generates = not_generated(Path(folder) / "merge/model")
        return verdict


def line(verdict: Verdict) -> str:
    pair, seconds = verdict.pair, verdict.seconds
    times = "".join(f"{seconds[mode]:8.1f}" if mode in seconds else f"{'':8}" for mode in ("plan", "merge"))
    words = f"{pair.name:32}{pair.text:26}{pair.donor:26}{times}  {verdict.verdict}"
    return words if verdict.verdict == "right" else f"{words}: {' '.join(verdict.reason.split())[:FAILURES]}"


def totals(verdicts: Sequence[Verdict]) -> str:
    counted = Counter(verdict.verdict for verdict in verdicts).most_common()
    plans = [verdict.seconds["plan"] for verdict in verdicts if "plan" in verdict.seconds]
    words = ", ".join(f"{count} {word}" for word, count in counted)
    slowest = f"; a plan takes {statistics.median(plans):.1f} s, at most {max(plans):.1f} s" if plans else ""
    return f"{words}, of {len(verdicts)} pairs of {len({v.pair.target for v in verdicts})} types{slowest}"


def failures(verdicts: Sequence[Verdict]) -> str:
    return f"{totals(verdicts)}\n" + "".join(
        f"\n## {v.pair.name} (LM {v.pair.text}, donor {v.pair.donor}): {v.verdict}\n{v.reason}\n"
        for v in verdicts
        if v.verdict != "right"
    )


def write(verdicts: Sequence[Verdict]) -> None:
    """The table of docs/models.md anew."""
    import vllm
    from vllm.model_executor.models.registry import ModelRegistry

    versions = f"transformers {transformers.__version__} and vLLM {vllm.__version__}"
    part = table(verdicts, versions, ModelRegistry.get_supported_archs())
    PAGE.write_text(written(PAGE.read_text(), part))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--types", nargs="+", default=[], metavar="TYPE")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--failures", type=Path, help="write what is not right to this file, with the whole reason"
    )
    parser.add_argument("--write", action="store_true", help="needs vLLM, and timm for two types")
    given = parser.parse_args(arguments)
    transformers.logging.set_verbosity_error()
    chosen = pairs(given.types)
    if unknown := set(given.types).difference(pair.target for pair in chosen):
        parser.error(f"not a multimodal type of this transformers: {', '.join(sorted(unknown))}")
    if given.write and given.types:
        parser.error("--write makes the table of all types")
    print(f"{'type':32}{'language model':26}{'donor':26}{'plan s':>8}{'merge s':>8}  verdict", flush=True)
    verdicts = []
    with multiprocessing.get_context("spawn").Pool(given.processes, prepare) as pool:
        for verdict in pool.imap(judge, chosen):
            verdicts.append(verdict)
            print(line(verdict), flush=True)
            if given.failures:
                given.failures.write_text(failures(verdicts))
    print(totals(verdicts))
    if given.write:
        write(verdicts)
    return int(any(verdict.failed for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
