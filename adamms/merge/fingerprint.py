"""The fingerprint of a merged model: a digest of everything that decides its values.

Part of stored answers and of adamms_recipe.json, so it must not change.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.plan import Plan
from adamms.merge.method import Method
from adamms.merge.rows_to_merge import row_digests

# Part of every fingerprint: the version since which merged values are the same; a method may say another.
ARITHMETIC = "0.2.0"


def merge_fingerprint(
    checkpoints: Mapping[str, Checkpoint],
    plan: Plan,
    method: Method,
    coefficients: Mapping[str, float],
    more: Mapping[str, Any],
) -> str:
    """The digest.

    Args:
        checkpoints: operand -> what it is read from.
        more: what else a recipe has; nothing of it counts where it is empty.
    """
    content: dict[str, Any] = {
        "adamms": ARITHMETIC,
        "checkpoints": {name: checkpoint.fingerprint for name, checkpoint in checkpoints.items()},
        "slots": [slot.to_json() | {"rows": row_digests(slot)} for slot in plan.slots],
        "method": repr(method),
        "coefficients": dict(coefficients),
    }
    content |= {key: value for key, value in {"since": method.since, **more}.items() if value}
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
