"""The header of a torch zip archive (.bin, .pth, .pt): what its pickle says of tensors, checked."""

import pickle
from pathlib import Path

from adamms.checkpoint.tensor_entry import DTYPES, TensorEntry, brief, span, with_texts
from adamms.checkpoint.torch_zip.torch_archive import read_archive, weights_in
from adamms.checkpoint.torch_zip.torch_headers import TensorHeader, Unread
from adamms.errors import AdammsError

# A tensor may repeat its values with strides of 0, but a small file cannot claim the memory.
MAX_REPEATED_BYTES = 1 << 30
# torch's name of a dtype -> safetensors'.
DTYPE_NAMES = {f"torch.{dtype.torch}": name for name, dtype in DTYPES.items()}


def read_torch_header(file: Path) -> dict[str, TensorEntry]:
    """Names and places of every tensor in `file`; errors as of `tensor_file.read_header`."""
    try:
        state = weights_in(read_archive(file))
    except pickle.UnpicklingError as error:
        raise AdammsError(
            f"{file}: refused, not executed: the pickle asks for more than tensors ({str(error)[:160]}). "
            "Save the model's state_dict() with torch.save, or as safetensors"
        ) from error
    except (AdammsError, OSError):
        raise
    except Exception as error:  # a malformed pickle raises whatever it likes
        raise AdammsError(
            f"{file}: not a readable torch zip archive (truncated, or written before torch 1.6): "
            f"{(str(error) or type(error).__name__).splitlines()[0][:200]}"
        ) from error
    if not isinstance(state, dict):
        kind = "Tensor" if isinstance(state, TensorHeader | Unread) else type(state).__name__
        raise AdammsError(f"{file}: holds a {kind}; expected a dict of named tensors")
    if numbers := [name for name in state if not isinstance(name, str)]:
        raise AdammsError(f"{file}: holds a dict with the key {numbers[0]}; expected one of named tensors")
    return with_texts(file, {name: _torch_entry(file, name, value) for name, value in state.items()})


def _torch_entry(file: Path, name: str, tensor: object) -> TensorEntry:
    where = f"{file}: tensor {brief(name)}"
    if isinstance(tensor, Unread):
        raise AdammsError(f"{where} is {tensor.reason}")
    if not isinstance(tensor, TensorHeader):
        raise AdammsError(
            f"{file}: {brief(name)} is a {type(tensor).__name__}; expected a flat dict of named tensors"
        )
    if not tensor.sound:
        numbers = (
            f"offset {brief(tensor.offset)}, shape {brief(tensor.shape)}, strides {brief(tensor.strides)}"
        )
        raise AdammsError(f"{file}: the pickle lies about {brief(name)}: {numbers}")
    if str(tensor.dtype) not in DTYPE_NAMES:
        raise AdammsError(f"{where} has dtype {tensor.dtype}, which cannot be merged")
    start = tensor.offset * tensor.dtype.itemsize
    offset = tensor.storage.start + start
    entry = TensorEntry(name, tensor.shape, DTYPE_NAMES[str(tensor.dtype)], file, offset, tensor.strides)
    if entry.elements and start + span(entry) * tensor.dtype.itemsize > tensor.storage.nbytes:
        raise AdammsError(
            f"{file}: the pickle lies about {brief(name)}: it is larger than its storage of "
            f"{tensor.storage.nbytes} bytes"
        )
    if entry.nbytes > max(tensor.storage.nbytes, MAX_REPEATED_BYTES):
        raise AdammsError(
            f"{where} repeats {tensor.storage.nbytes} stored bytes over {brief(tensor.shape)}; "
            "save it with tensor.contiguous()"
        )
    return entry
