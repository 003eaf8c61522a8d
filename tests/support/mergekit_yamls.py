"""mergekit YAMLs as its users write them, small, for the tests; {base}, {a}, {b} and {c} are folders.

The models have four layers, and no two entries of a task vector have one magnitude.
"""

from collections.abc import Mapping
from pathlib import Path

import tiny
import torch
from safetensors.torch import load_file

LAYERS = 4
# mergekit then computes in float64, and rounds once.
EXACT = {"f32": "dtype: float64\nout_dtype: float32\n", "bf16": "dtype: float64\nout_dtype: bfloat16\n"}
TASK = """
merge_method: {method}
base_model: {{base}}
models:
  - model: {{a}}
    parameters: {{{{weight: 0.7, density: 0.5}}}}
  - model: {{b}}
    parameters: {{{{weight: 0.5, density: 0.5}}}}
"""

YAMLS = {
    "linear": """
merge_method: linear
models:
  - {{model: {a}, parameters: {{weight: 1.0}}}}
  - {{model: {b}, parameters: {{weight: [0, 0.3, 0.7, 1]}}}}
  - {{model: {c}, parameters: {{weight: [{{filter: mlp, value: 0.5}}, {{value: 0.25}}]}}}}
""",
    "linear_sum": """
merge_method: linear
base_model: {b}
models:
  - {{model: {a}, parameters: {{weight: 1.25}}}}
  - {{model: {b}, parameters: {{weight: -0.25}}}}
parameters: {{normalize: false}}
""",
    "slerp": """
slices:
  - sources:
      - {{model: {a}, layer_range: [0, 4]}}
      - {{model: {b}, layer_range: [0, 4]}}
merge_method: slerp
base_model: {a}
parameters:
  t:
    - {{filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}}
    - {{filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}}
    - value: 0.5
""",
    "slices": """
slices:
  - sources: [{{model: {a}, layer_range: [0, 1]}}, {{model: {b}, layer_range: [0, 1]}}]
    parameters: {{t: 0.2}}
  - sources: [{{model: {b}, layer_range: [1, 4]}}, {{model: {a}, layer_range: [1, 4]}}]
    parameters: {{t: [0.3, 0.9]}}
merge_method: slerp
base_model: {b}
""",
    "ties": """
models:
  - model: {a}
    parameters:
      density: [1, 0.7, 0.1]
      weight: 1.0
  - model: {b}
    parameters:
      density: 0.5
      weight: [0, 0.3, 0.7, 1]
  - model: {c}
    parameters:
      density: 0.33
      weight:
        - {{filter: mlp, value: 0.5}}
        - value: 0
merge_method: ties
base_model: {base}
parameters: {{normalize: true, int8_mask: true}}
""",
    "ties_sum": TASK.format(method="ties") + "parameters: {{normalize: false, lambda: [0.5, 1.5]}}\n",
    "task_arithmetic": """
merge_method: task_arithmetic
base_model: {base}
models:
  - model: {base}
  - {{model: {a}, parameters: {{weight: 1.0}}}}
  - {{model: {b}, parameters: {{weight: -0.4}}}}
parameters: {{lambda: 0.8}}
""",
    "task_arithmetic_mean": """
merge_method: task_arithmetic
base_model: {base}
models: [{{model: {a}}}, {{model: {b}}}]
parameters: {{normalize: true, weight: 3}}
""",
    "dare_ties": """
merge_method: dare_ties
base_model: {base}
models:
  - {{model: {a}, parameters: {{weight: 0.6}}}}
  - {{model: {b}, parameters: {{weight: 0.9}}}}
parameters: {{density: 1}}
""",
    "dare_linear": """
merge_method: dare_linear
base_model: {base}
models:
  - {{model: {a}, parameters: {{weight: 0.6}}}}
  - {{model: {b}, parameters: {{weight: [0.9, -0.2]}}}}
""",
    "breadcrumbs": TASK.format(method="breadcrumbs") + "parameters: {{gamma: 0.013}}\n",
    "breadcrumbs_ties": """
merge_method: breadcrumbs_ties
base_model: {base}
models:
  - {{model: {a}, parameters: {{weight: 0.7, density: 0.45, gamma: 0.1}}}}
  - {{model: {b}, parameters: {{weight: 0.5, density: [0.9, 1, 0.3]}}}}
parameters: {{normalize: true}}
""",
    "della": """
merge_method: della
base_model: {base}
models:
  - {{model: {a}, parameters: {{weight: 0.7}}}}
  - {{model: {b}, parameters: {{weight: [1, 0.25]}}}}
""",
    "della_linear": """
merge_method: della_linear
base_model: {base}
models:
  - {{model: {a}, parameters: {{weight: 0.7}}}}
  - {{model: {b}, parameters: {{weight: 0.2, density: 1.0, epsilon: 0.1}}}}
parameters: {{normalize: true, lambda: 1.1}}
""",
    "sce": """
merge_method: sce
base_model: {base}
models: [{{model: {a}}}, {{model: {b}}}, {{model: {c}}}]
parameters: {{select_topk: [0.37, 1]}}
""",
    "sce_near": """
merge_method: sce
base_model: {base}
models: [{{model: {near}}}, {{model: {nearer}}}]
""",
    "sce_alone": """
merge_method: sce
base_model: {base}
models: [{{model: {a}}}]
parameters: {{select_topk: [0.5, 1]}}
""",
    "linear_base": """
merge_method: linear
base_model: {base}
models: [{{model: {a}}}, {{model: {b}, parameters: {{weight: 2}}}}]
parameters: {{weight: 1}}
""",
    "karcher_base": """
merge_method: karcher
base_model: {base}
models: [{{model: {a}}}, {{model: {b}}}]
parameters: {{max_iter: 100, tol: 1e-12}}
""",
    "ram": """
merge_method: ram
base_model: {base}
models: [{{model: {a}}}, {{model: {b}}}]
parameters: {{epsilon: [0.05, 0.2]}}
""",
    "ramplus_tl": """
merge_method: ramplus_tl
base_model: {base}
models: [{{model: {a}}}, {{model: {b}}}, {{model: {c}}}]
parameters: {{epsilon: 0.1, r: [0.1, 0.7], alpha: [{{filter: mlp, value: 5}}, {{value: 0.2}}]}}
""",
    "model_stock_near": """
merge_method: model_stock
base_model: {base}
models: [{{model: {near}}}, {{model: {nearer}}}]
parameters: {{filter_wise: [{{filter: mlp, value: true}}, {{value: false}}]}}
""",
    "model_stock": """
merge_method: model_stock
base_model: {base}
models: [{{model: {a}}}, {{model: {b}}}]
parameters: {{filter_wise: [{{filter: mlp, value: true}}, {{value: false}}]}}
""",
    "karcher": """
merge_method: karcher
models: [{{model: {a}}}, {{model: {b}}}, {{model: {c}}}]
parameters: {{max_iter: 100, tol: 1e-12}}
""",
    "karcher_default": """
merge_method: karcher
models: [{{model: {a}}}, {{model: {b}}}, {{model: {near}}}]
""",
    "nuslerp": """
merge_method: nuslerp
models:
  - {{model: {a}, parameters: {{weight: 3}}}}
  - {{model: {b}, parameters: {{weight: [1, 0, 5]}}}}
""",
    "nuslerp_task": """
merge_method: nuslerp
base_model: {base}
models:
  - {{model: {a}, parameters: {{weight: 0.5}}}}
  - {{model: {b}, parameters: {{weight: 0.5}}}}
parameters: {{nuslerp_flatten: [{{filter: mlp, value: false}}, {{value: true}}]}}
""",
    "multislerp": """
merge_method: multislerp
models:
  - {{model: {a}, parameters: {{weight: 1}}}}
  - {{model: {b}, parameters: {{weight: 0.3}}}}
  - {{model: {c}, parameters: {{weight: [0.2, 0.9]}}}}
""",
    "multislerp_task": """
merge_method: multislerp
base_model: {base}
models:
  - {{model: {a}, parameters: {{weight: 1}}}}
  - {{model: {b}, parameters: {{weight: 0.3}}}}
""",
    "arcee_fusion": """
merge_method: arcee_fusion
base_model: {base}
models: [{{model: {a}}}]
""",
    "arcee_fusion_example": """
models:
  - model: {a}
  - model: {b}
merge_method: arcee_fusion
base_model: {a}
""",
    "bio_merge_example": """
models:
  - model: {a}
    parameters:
      density: 0.5
      weight: 0.5
  - model: {b}
    parameters:
      density: 0.5
      weight: 0.5
merge_method: ties
base_model: {base}
parameters:
  normalize: false
  int8_mask: true
""",
    "linear_example": """
models:
  - model: {a}
    parameters:
      weight: 1.0
  - model: {b}
    parameters:
      weight: 0.3
  - model: {c}
    parameters:
      weight: 0.5
merge_method: linear
""",
    "passthrough": """
merge_method: passthrough
slices:
  - sources: [{{model: {a}, layer_range: [0, 3]}}]
  - sources: [{{model: {b}, layer_range: [3, 4]}}]
""",
    "copy": "merge_method: passthrough\nmodels: [{{model: {a}}}]\n",
}


# (name, dtype of the result)
CASES = [*((name, "f32") for name in YAMLS), ("ties", "bf16"), ("slices", "bf16")]


def yaml_of(name: str, folders: Mapping[str, Path], dtype: str = "f32") -> str:
    return YAMLS[name].format(**folders).lstrip() + EXACT[dtype]


def yaml_models(root: Path) -> dict[str, Path]:
    """Language models of one architecture in float32, in folders of these names; two near the base."""
    shapes = load_file(tiny.save_qwen2(root / "shapes", num_hidden_layers=LAYERS) / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    folders, base = {}, {key: torch.zeros_like(tensor) for key, tensor in shapes.items()}
    for name, scale in {"base": 1, "a": 1, "b": 1, "c": 1, "near": 2**-9, "nearer": 2**-10}.items():
        start = {key: tensor if scale < 1 else 0 for key, tensor in base.items()}
        state = {
            key: start[key] + torch.randn(tensor.shape, generator=generator) / 8 * scale
            for key, tensor in shapes.items()
        }
        base = state if name == "base" else base
        folders[name] = tiny.write_state(state, root / name)
        (folders[name] / "config.json").write_bytes((root / "shapes/config.json").read_bytes())
    return folders
