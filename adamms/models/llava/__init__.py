"""LLaVA in its authors' own format: LLaVA-1.5 (arXiv:2310.03744), ShareGPT4V (arXiv:2311.12793), Yi-VL."""

from adamms.models.family import Family

FAMILY = Family(
    model_type="llava_llama",
    architectures=("LlavaLlamaForCausalLM", "Share4VLlamaForCausalLM"),
    configuration="adamms.models.llava.configuration.LlavaLlamaConfig",
    model="adamms.models.llava.modeling.LlavaLlamaForCausalLM",
    processor="adamms.models.llava.processing.LlavaLlamaProcessor",
    tokenizer="lmsys/vicuna-7b-v1.5",
)
