"""mPLUG-Owl2 (Ye et al., arXiv:2311.04257)."""

from adamms.models.family import Family

FAMILY = Family(
    model_type="mplug_owl2",
    architectures=("MPLUGOwl2LlamaForCausalLM",),
    configuration="adamms.models.mplug_owl2.configuration.MPLUGOwl2Config",
    model="adamms.models.mplug_owl2.modeling.MPLUGOwl2LlamaForCausalLM",
    processor="adamms.models.mplug_owl2.processing.MPLUGOwl2Processor",
    tokenizer="MAGAer13/mplug-owl2-llama2-7b",
)
