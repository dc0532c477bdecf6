"""The names of our GPT's parameters in GPT-2's published checkpoints."""

_GPT2 = {
    "token_embedding": "wte",
    "position_embedding": "wpe",
    "blocks": "h",
    "norm_1": "ln_1",
    "norm_2": "ln_2",
    "attention": "attn",
    "project_in": "c_attn",
    "project_out": "c_proj",
    "feed_forward": "mlp",
    "expand": "c_fc",
    "contract": "c_proj",
    "norm": "ln_f",
    "head": "lm_head",
}


def gpt2_name(name: str) -> str:
    """GPT-2's name for one of our parameters: blocks.0.attention.project_in.weight is h.0.attn.c_attn.weight."""
    return ".".join(_GPT2.get(part, part) for part in name.split("."))
