"""Which command or flag was meant: by a near spelling, or by the name that other libraries give the same thing."""

import difflib
from collections.abc import Collection, Mapping

# Names that users of PyTorch, nanoGPT and Hugging Face type, by the flag here.
_OTHER_NAMES = {
    "--text": "train-file input input-file file data-path corpus",
    "--data": "data-dir train-data",
    "--dataset": "dataset-name",
    "--out": "output-dir output out-dir save-dir logging-dir",
    "--resume": "resume-from-checkpoint resume-from continue",
    "--init-from": "model-name-or-path init pretrained finetune fine-tune model",
    "--block-size": "context-length context seq-len seq-length sequence-length max-seq-len max-seq-length window "
    "max-position-embeddings n-positions n-ctx",
    "--n-layer": "num-hidden-layers num-layers n-layers layers depth blocks",
    "--n-head": "num-attention-heads num-heads n-heads heads",
    "--n-embd": "hidden-size d-model dim embed-dim embedding-size embedding-dim width n-embed hidden-dim",
    "--activation": "hidden-act act activation-function",
    "--tie-weights": "tie-word-embeddings tied-weights",
    "--dropout": "resid-pdrop embd-pdrop attn-pdrop hidden-dropout-prob",
    "--batch-size": "per-device-train-batch-size train-batch-size batch",
    "--grad-accum-steps": "gradient-accumulation-steps accumulation-steps accumulate-grad-batches grad-accum",
    "--max-steps": "steps max-iters iterations iters num-steps epochs num-epochs num-train-epochs max-epochs",
    "--minutes": "max-time max-minutes time-limit time hours seconds duration",
    "--optimizer": "optim optimiser",
    "--lr": "learning-rate max-lr",
    "--min-lr": "min-learning-rate lr-min end-lr",
    "--warmup-steps": "warmup warmup-iters warm-up warmup-ratio num-warmup-steps",
    "--schedule": "lr-scheduler-type lr-scheduler scheduler lr-schedule",
    "--beta1": "adam-beta1 momentum",
    "--beta2": "adam-beta2",
    "--weight-decay": "wd decay",
    "--grad-clip": "max-grad-norm gradient-clip-val clip clip-grad clip-grad-norm gradient-clipping max-norm",
    "--eval-interval": "eval-steps evaluation-steps eval-every val-interval val-check-interval",
    "--eval-batches": "eval-iters limit-val-batches",
    "--checkpoint-interval": "save-steps save-interval save-every checkpoint-every",
    "--keep": "save-total-limit save-top-k",
    "--log-interval": "logging-steps log-every log-every-n-steps print-every",
    "--replicas": "num-workers workers threads num-threads n-jobs dataloader-num-workers devices num-processes",
    "--seed": "random-seed manual-seed data-seed",
    "--tokens": "max-new-tokens num-tokens max-tokens length max-length num-chars",
    "--samples": "num-return-sequences num-samples n-samples",
    "--stop": "stop-strings stop-sequence stop-sequences",
    "--temperature": "temp",
    "--repetition-penalty": "repeat-penalty repetition-penality",
    "--logprobs": "log-probs logprob return-logprobs output-scores",
    "--prompt": "start text-prompt",
    "--vocab-size": "vocabulary-size max-vocab-size",
}
_FLAGS = {f"--{name}": flag for flag, names in _OTHER_NAMES.items() for name in names.split()}
_OF_GPUS = ("--device", "--cuda", "--gpu", "--gpus", "--n-gpu", "--accelerator")
_COUNTED_IN_EPOCHS = ("--epochs", "--num-epochs", "--num-train-epochs", "--max-epochs")
_COMMANDS = {
    "train": "fit finetune fine-tune resume pretrain learn",
    "sample": "generate write chat complete predict infer inference",
    "eval": "evaluate validate perplexity",
    "plot": "curves draw",
    "prepare": "preprocess",
    "tokenize": "encode tokenise",
    "bench": "benchmark profile time",
    "check": "gradcheck verify prove exercise exercises",
    "--help": "help",
    "--version": "version",
}
_OTHER_COMMANDS = {name: command for command, names in _COMMANDS.items() for name in names.split()}


def command_like(word: str, commands: Collection[str]) -> str | None:
    """The command that was probably meant."""
    return _OTHER_COMMANDS.get(word.lower()) or _nearest(word.lower(), commands)


def advice_on_flag(typed: str, command: str, flags: Collection[str], elsewhere: Mapping[str, Collection[str]]) -> str:
    """What to say of a flag that a command does not have.

    ``flags`` are those that it has, ``elsewhere`` those of the other commands.
    """
    flag = "--" + typed.lstrip("-").replace("_", "-").lower()
    meant = _FLAGS.get(flag, flag)
    if meant in flags:
        note = " (training is counted in steps, not epochs)" if flag in _COUNTED_IN_EPOCHS else ""
        return f"did you mean {meant}{note}?"
    for other, its_flags in elsewhere.items():
        if meant in its_flags:
            return f"{meant} is a flag of handgrad {other}"
    if flag in _OF_GPUS:
        return "handgrad computes on the CPU"
    near = _nearest(flag, flags)
    return f"did you mean {near}?" if near else f"see handgrad {command} --help"


def _nearest(word: str, known: Collection[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1)), None)
