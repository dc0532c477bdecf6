"""The headings under which ``--help`` lists the settings of a run, for ``train`` and ``compare``."""

from handgrad.runs.config import MODEL_FIELDS

GROUPS = {
    "text": (
        *("text", "data", "dataset", "tokenizer", "tokenizers", "vocab_size", "byte_fallback", "documents", "val_text"),
        *("val_fraction", "shuffle_documents", "include", "exclude", "encoding", "line_ends"),
    ),
    "model": ("preset", "config", "n_layer", "n_head", "n_embd", "block_size", *MODEL_FIELDS),
    "training": (
        *(
            "recipes",
            "seeds",
            "budget",
            "max_steps",
            "minutes",
            "batch_size",
            "boundaries",
            "sampling",
            "grad_accum_steps",
            "optimizer",
            "lr",
            "muon_lr",
            "muon_momentum",
            "min_lr",
            "warmup_steps",
        ),
        *("schedule", "decay_fraction", "decay_shape", "step_size", "step_gamma", "beta1", "beta2", "nesterov"),
        *("weight_decay", "cautious", "ema", "grad_clip"),
    ),
    "saving and resuming": ("out", "resume", "allow_inexact", "init_from", "checkpoint_interval", "keep"),
    "more": (),
}
"""The fields in order. A field that is not named here is listed at the end, under "more"."""
