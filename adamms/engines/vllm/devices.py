"""Which GPUs, or which processors, each of several vLLM processes may use, as environment variables."""

import os
from collections.abc import Iterator, Sequence

import torch

from adamms.errors import AdammsError

VISIBLE = "CUDA_VISIBLE_DEVICES"
PROCESSORS = "VLLM_CPU_OMP_THREADS_BIND"


def shares(replicas: int, devices: int) -> list[dict[str, str]]:
    """The variables of each of `replicas` models, spread over `devices` GPUs or groups of processors.

    Leaves one model on one device to vLLM, and keeps what the user has set.

    Raises:
        AdammsError: more are needed than are there.
    """
    if torch.cuda.is_available():
        visible = os.environ.get(VISIBLE) or ",".join(map(str, range(torch.cuda.device_count())))
        dealt = _deal(visible.split(",")[: replicas * devices], replicas, devices, "GPUs")
        if replicas == 1:
            return [{}]
        return [{VISIBLE: ",".join(group)} for group in dealt]
    if replicas * devices == 1 or (replicas == 1 and PROCESSORS in os.environ):
        return [{}]
    # vLLM would want a NUMA node for each.
    dealt = _deal([str(cpu) for cpu in sorted(os.sched_getaffinity(0))], replicas, devices, "processors")
    return [{PROCESSORS: "|".join(",".join(part) for part in _parts(group, devices))} for group in dealt]


def _deal(items: Sequence[str], replicas: int, devices: int, what: str) -> list[Sequence[str]]:
    if len(items) < replicas * devices:
        raise AdammsError(
            f"engine.data_parallel_size={replicas} with {devices} {what} for each model "
            f"(engine.tensor_parallel_size x engine.pipeline_parallel_size) needs {replicas * devices}, "
            f"not {len(items)}. engine.distributed_executor_backend=ray spreads it over machines"
        )
    return list(_parts(items, replicas))


def _parts(items: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    """`items` in `count` runs of the same length; what is left over is not used."""
    size = len(items) // count
    return (items[index * size : (index + 1) * size] for index in range(count))
