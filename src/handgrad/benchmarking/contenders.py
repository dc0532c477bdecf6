"""The contenders: handgrad, PyTorch, JAX and transformers, which do the same work, as callables."""

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from handgrad.benchmarking.cases import Case
from handgrad.generation import generate
from handgrad.nn.parameter import Role
from handgrad.optim.common_rate import CommonRate
from handgrad.runs import choose_shards
from handgrad.system.arrays import Array
from handgrad.system.backend_setting import current_backend
from handgrad.system.errors import InputError
from handgrad.system.processor import available_cores, has_bfloat16_products
from handgrad.training import evaluate
from handgrad.training.evaluation import TOKENS_PER_BATCH
from handgrad.training.replicas import Replicas, cores_for

Work = Literal["training", "evaluation", "generation"]
OURS, EAGER, JAX, TRANSFORMERS = "handgrad", "PyTorch eager", "JAX", "transformers"
BF16 = ", bf16"
"""Ends the names of contenders that multiply in bfloat16."""
_NEW_TOKENS, _NEW_TOKENS_OF_GPT2 = 500, 64  # a token of gpt2 takes long
_EVALUATED_TOKENS = 8192


@dataclass
class Contender:
    """A library that does one piece of work at each call, and returns its result: a loss, or the sum of the tokens."""

    name: str
    run: Callable[[], float]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    """The context of each call, which is not timed: it sets who may use the cores."""
    prepare: Callable[[], None] = field(default=lambda: None)
    """Compiles the code, if there is any to compile, and changes nothing else."""
    close: Callable[[], None] = field(default=lambda: None)
    model: Any = None
    """PyTorch's model; None for the others."""


def has_torch() -> bool:
    """Whether PyTorch can be imported."""
    return find_spec("torch") is not None


def has_jax() -> bool:
    """Whether JAX can be imported."""
    return find_spec("jax") is not None


def has_transformers() -> bool:
    """Whether Hugging Face's transformers can be imported."""
    return find_spec("transformers") is not None


def new_tokens(case: Case) -> int:
    """How many tokens a generation writes: as many as fit into block_size behind the prompt of one, at most 500."""
    most = _NEW_TOKENS_OF_GPT2 if case.name == "gpt2" else _NEW_TOKENS
    return min(most, case.model_config.block_size - 1)


def why_no_bfloat16() -> str | None:
    """Why handgrad is not timed in bfloat16 here, as the end of a sentence; None if it is."""
    if current_backend() != "numba":
        return "NumPy alone only imitates it, slowly"
    return None if has_bfloat16_products() else "the processor has no instructions for it (AVX512-BF16)"


def handgrad_contender(
    case: Case, work: Work = "training", shards: int = 0, threads: int = 0, *, bfloat16: bool = False
) -> Contender:
    """handgrad. A training step is the loss and gradient of a batch, clipping, and the optimizer, as in ``train``.

    ``shards`` and ``threads``: 0 chooses their number as ``train`` does. ``bfloat16`` multiplies in bfloat16, else in
    float32, whatever the preset says. Raises InputError if it is not timed here.
    """
    if bfloat16 and (why := why_no_bfloat16()) is not None:
        raise InputError(f"{OURS}{BF16} is left out, because {why}")
    case = case.in_precision("bfloat16" if bfloat16 else "float32")
    model = case.make_model()
    count = choose_shards(shards, case.batch_size)
    shared = Replicas(model, count, threads)
    optimizer = case.train.make_optimizer(model.decay_groups(case.train.weight_decay))
    schedule, rate = case.train.make_schedule(), CommonRate(optimizer, case.train.lr)
    step = 0

    def train() -> float:
        nonlocal step
        rate.set(schedule(step))
        loss, grad_norm = shared.loss_and_gradients([case.batch(step)], (case.train.seed, step))
        shared.update(optimizer, grad_norm, case.train.grad_clip)
        step += 1
        return loss

    tokens = _evaluated(case)
    prompt = _prompt(case)[0]
    runs: dict[Work, Callable[[], float]] = {
        "training": train,
        "evaluation": lambda: evaluate(model, tokens, shared.team),
        "generation": lambda: float(sum(generate(model, prompt, new_tokens(case), temperature=0))),
    }
    if work == "generation":
        model.eval()
    around = nullcontext if work == "generation" else lambda: cores_for(count)
    return Contender(f"{OURS}{BF16}" if bfloat16 else OURS, runs[work], around, close=shared.close)


def pytorch_contender(
    case: Case, work: Work = "training", *, compiled: bool = False, bfloat16: bool = False
) -> Contender:
    """PyTorch, from the same weights, on all cores, with its fused attention and its fused Adam. Its Muon rounds to
    bfloat16, and treats queries, keys and values as one matrix.

    ``compiled`` compiles with TorchInductor, ``bfloat16`` uses autocast. Raises InputError if PyTorch is not installed.
    """
    if not has_torch():
        raise InputError("PyTorch is not installed: pip install torch")
    import torch

    from handgrad.benchmarking.torch_gpt import torch_twin

    torch.set_num_threads(available_cores())
    same = case.make_model()
    model: Any = torch_twin(same).train(work == "training")
    optimizer = _torch_optimizer(case, model, {name: p.role for name, p in same.named_parameters()})
    schedule = case.train.make_schedule()
    shares = [group["lr"] / case.train.lr for group in optimizer.param_groups]  # Muon has a rate of its own
    call = torch.compile(model.loss) if compiled else model.loss
    logits = torch.compile(model) if compiled else model
    step = 0

    def precision() -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)

    def train() -> float:
        nonlocal step
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = schedule(step) * share
        x, y = (torch.from_numpy(array) for array in case.batch(step))
        with precision():
            loss = call(x, y)
        optimizer.zero_grad()
        loss.backward()
        if case.train.grad_clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), case.train.grad_clip)
        optimizer.step()
        step += 1
        return float(loss.detach())

    def prepare() -> None:
        x, y = (torch.from_numpy(array) for array in case.batch(0))
        with precision():
            call(x, y).backward()
        optimizer.zero_grad()

    stream = torch.from_numpy(_evaluated(case))

    def evaluate_all() -> float:
        block_size = case.model_config.block_size
        x, y = stream[:-1].view(-1, block_size), stream[1:].view(-1, block_size)
        with torch.no_grad(), precision():
            each = max(1, TOKENS_PER_BATCH // block_size)
            losses = [float(call(a, b)) * len(a) for a, b in zip(x.split(each), y.split(each), strict=True)]
        return sum(losses) / len(x)

    def write() -> float:
        ids = torch.from_numpy(_prompt(case))
        with torch.no_grad(), precision():
            for _ in range(new_tokens(case)):
                ids = torch.cat([ids, logits(ids[:, -case.model_config.block_size :])[:, -1:].argmax(-1)], dim=1)
        return float(ids[0, 1:].sum())

    runs: dict[Work, Callable[[], float]] = {"training": train, "evaluation": evaluate_all, "generation": write}
    name = f"{'PyTorch compiled' if compiled else EAGER}{BF16 if bfloat16 else ''}"
    return Contender(name, runs[work], prepare=prepare, model=model)


def jax_contender(case: Case, work: Work = "training") -> Contender:
    """JAX on the processor, from the same weights, on all cores, compiled, in float32.

    Raises InputError if it is not installed, if it lacks something that the run has, or for a generation, for which it
    would be compiled anew for each length of the text.
    """
    if not has_jax():
        raise InputError("JAX is not installed: pip install jax")
    if work == "generation":
        raise InputError("JAX is left out, because it would be compiled anew for each length of the text")
    import jax

    from handgrad.benchmarking.jax_gpt import jax_twin, loss_of
    from handgrad.benchmarking.jax_training import corrections_of, new_state, step_of, why_not_jax

    if (lacking := why_not_jax(case.train)) is not None:
        raise InputError(f"JAX is left out, because its GPT does not have {lacking}")
    model, config, processor = case.make_model(), case.model_config, jax.devices("cpu")[0]
    with jax.default_device(processor):
        parameters = jax_twin(model)
        state = new_state(parameters)
    schedule, step_in_jax = case.train.make_schedule(), step_of(case.train, config, model)
    step = 0

    def arguments(number: int) -> tuple[Any, ...]:
        x, y = (array.astype(np.int32) for array in case.batch(number))
        return parameters, state, x, y, schedule(number), corrections_of(case.train, number + 1)

    def train() -> float:
        nonlocal parameters, state, step
        with jax.default_device(processor):
            parameters, state, loss = step_in_jax(*arguments(step))
        step += 1
        return float(jax.block_until_ready((parameters, loss))[1])

    stream, block_size = _evaluated(case).astype(np.int32), config.block_size
    x, y = stream[:-1].reshape(-1, block_size), stream[1:].reshape(-1, block_size)
    each = max(1, TOKENS_PER_BATCH // block_size)
    mean = jax.jit(lambda parameters, ids, targets: loss_of(parameters, config, ids, targets))

    def evaluate_all() -> float:
        with jax.default_device(processor):
            starts = range(0, len(x), each)
            losses = [float(mean(parameters, x[i : i + each], y[i : i + each])) * len(x[i : i + each]) for i in starts]
        return sum(losses) / len(x)

    def prepare() -> None:
        nonlocal step_in_jax
        with jax.default_device(processor):
            if work == "training":
                step_in_jax = step_in_jax.lower(*arguments(0)).compile()
            else:
                evaluate_all()

    return Contender(JAX, train if work == "training" else evaluate_all, prepare=prepare)


def transformers_contender(case: Case) -> Contender:
    """Generation by GPT-2 of Hugging Face's transformers, from the same weights, on all cores, in float32, with its
    cache of keys and values.

    Raises InputError if it or PyTorch is not installed, or if GPT-2 lacks something that the model has.
    """
    if not (has_torch() and has_transformers()):
        raise InputError("transformers is not installed: pip install torch transformers")
    import torch

    from handgrad.benchmarking.transformers_gpt2 import gpt2_twin, why_not_gpt2, write_greedily

    if (lacking := why_not_gpt2(case.model_config)) is not None:
        raise InputError(f"transformers is left out, because its GPT-2 does not have {lacking}")
    torch.set_num_threads(available_cores())
    model, prompt = gpt2_twin(case.make_model()), torch.from_numpy(_prompt(case))
    return Contender(TRANSFORMERS, lambda: float(sum(write_greedily(model, prompt, new_tokens(case)))))


def _torch_optimizer(case: Case, model: Any, roles: dict[str, Role]) -> Any:
    import torch

    train = case.train
    decayed = [p for name, p in model.named_parameters() if roles[name] != "vector"]
    others = [p for name, p in model.named_parameters() if roles[name] == "vector"]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": train.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if train.optimizer == "muon":
        matrices = [p for name, p in model.named_parameters() if roles[name] == "matrix"]
        for group in groups:
            group["params"] = [p for p in group["params"] if all(p is not matrix for matrix in matrices)]
        decay = {"weight_decay": train.weight_decay}
        muon = torch.optim.Muon(matrices, lr=train.muon_lr, momentum=train.muon_momentum, **decay)
        return _Both(muon, torch.optim.AdamW(groups, lr=train.lr, betas=(train.beta1, train.beta2), fused=True))
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=train.lr, betas=(train.beta1, train.beta2), fused=True)


class _Both:
    """Two optimizers of PyTorch as one."""

    def __init__(self, first: Any, second: Any) -> None:
        self.both = first, second
        self.param_groups = [*first.param_groups, *second.param_groups]

    def step(self) -> None:
        for each in self.both:
            each.step()

    def zero_grad(self) -> None:
        for each in self.both:
            each.zero_grad()


def _prompt(case: Case) -> Array:
    """One token, (1, 1), that a generation continues."""
    return case.batch(0)[0][:1, :1].copy()


def _evaluated(case: Case) -> Array:
    """Whole windows of block_size, and the token after them."""
    block_size = case.model_config.block_size
    return case.stream(max(_EVALUATED_TOKENS // block_size, 2) * block_size + 1)


@contextmanager
def closing(contenders: list[Contender]):  # type: ignore[no-untyped-def]
    """Closes all contenders at the end."""
    try:
        yield contenders
    finally:
        for contender in contenders:
            contender.close()
