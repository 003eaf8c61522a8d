"""CogVLM (Wang et al., arXiv:2311.03079): chat, base-490 and grounding-generalist."""

from adamms.models.family import Family

FAMILY = Family(
    model_type="cogvlm",
    architectures=("CogVLMForCausalLM",),
    configuration="adamms.models.cogvlm.configuration.CogVLMConfig",
    model="adamms.models.cogvlm.modeling.CogVLMForCausalLM",
    processor="adamms.models.cogvlm.processing.CogVLMProcessor",
    tokenizer="lmsys/vicuna-7b-v1.5",
)
