"""Recipes of every kind that the engine trains, and each of them as its reader would write it in plain PyTorch."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from droplab.config import RunSettings
from droplab.model.initialise import initial_layers
from droplab.model.network import Layer, pieces_of
from droplab.model.noise import Noise
from droplab.model.regularizers import INPUT
from droplab.study.packs import kind_of
from droplab.train.examples import Examples
from droplab.train.state import State
from toy import toy_examples

EXAMPLES = toy_examples()
BASE = {"widths": [10, 6], "learning_rate": 0.1, "epochs": 2, "batch_size": 64, "seed": 3}
ADAM = {"optimizer": "adam", "learning_rate": 0.01}
RECIPES = {
    "sgd": {},
    "linear": {"widths": [], "schedule": "linear", "schedule_final": 0.2},
    "momentum, inverse time": {"momentum": 0.9, "schedule": "inverse_time", "schedule_epochs": 1},
    "classical, exponential": {"optimizer": "classical", "momentum": 0.9, "schedule": "exponential"},
    "nesterov, moving": {"optimizer": "nesterov", "momentum": 0.5, "momentum_schedule": "linear"},
    "adam, cosine, warmup": ADAM | {"schedule": "cosine", "warmup_epochs": 0.5, "beta_1": 0.8, "beta_2": 0.99},
    "adamw": ADAM | {"optimizer": "adamw", "regularizers": {"weight_decay": 0.3}},
    "dropout": {"dropout": 0.5, "momentum": 0.5, "activation": "gelu"},
    "masks, scaled at inference": {
        "dropout": [0.2, 0.5], "dropout_scaling": "inference", "regularizers": {"input_dropout": 0.1},
    },
    "gaussian": {"dropout": 0.25, "regularizers": {"gaussian_dropout": [0.3, 0.5], "input_gaussian_dropout": 0.2}},
    "noise": {"activation": "tanh", "dropout": 0.25, "regularizers": {"input_noise": 0.3, "hidden_noise": 0.2}},
    "penalties": {
        "activation": "logistic", "initial_weights": "glorot",
        "regularizers": {"l2": [0.1, 0.0, 0.3], "l1": 0.01, "kl_sparsity": 0.1},
    },
    "bounds": {"initial_weights": "he", "regularizers": {"max_norm": 1.1, "label_smoothing": 0.2, "weight_decay": 0.1}},
    "batch_norm": {"momentum": 0.9, "regularizers": {"batch_norm": 1}},
    "clipped": {"momentum": 0.5, "regularizers": {"gradient_clipping": 0.3, "l2": 0.1}},
    "maxout": {"activation": "maxout", "pieces": 3, "dropout": 0.3},
    "early stopping": {"learning_rate": 2.0, "epochs": 4, "regularizers": {"early_stopping": 1}},
    "all": ADAM | {
        "activation": "maxout", "pieces": 2, "dropout": 1 / 3, "schedule": "linear",
        "regularizers": {
            "input_dropout": 0.1, "gaussian_dropout": 0.2, "input_noise": 0.1, "hidden_noise": 0.05, "l2": 1e-3,
            "l1": 1e-4, "max_norm": 1.5, "kl_sparsity": 1e-2, "label_smoothing": 0.1, "batch_norm": 1,
            "weight_decay": 0.01, "early_stopping": 9,
        },
    },
}  # fmt: skip


def run_of(kind: str, **changed: object) -> RunSettings:
    """A run of that recipe."""
    return RunSettings.parse(BASE | RECIPES[kind] | changed)


def kin_of(kind: str) -> list[RunSettings]:
    """Runs that share its pack: of other seeds, rates and strengths, the first without dropout where others have it."""
    run = run_of(kind)
    strengths = {
        name: value if name in ("batch_norm", "early_stopping") or isinstance(value, tuple) else value / 2
        for name, value in run.regularizers
    }
    dropout = {"dropout": run.dropout / 2} if isinstance(run.dropout, float) else {}
    without = run_of(kind, seed=6, dropout=0.0)
    return [
        *([without] if run.dropout and kind_of(without) == kind_of(run) else []),
        run,
        run_of(kind, seed=4),
        run_of(kind, seed=5, learning_rate=run.learning_rate / 2, regularizers=strengths, **dropout),
    ]


def state_of(*runs: RunSettings, examples: Examples = EXAMPLES, precision: str = "fp32") -> State:
    """Where the training of a pack begins."""
    return State(runs, examples, examples.train.rows.device, precision)


def initial_of(run: RunSettings) -> list[Layer]:
    """The layers that a run begins with."""
    sizes = (EXAMPLES.features, run.widths, EXAMPLES.classes)
    return initial_layers(*sizes, [run.seed], scheme=run.initial_weights, pieces=pieces_of(run))


class Plain(nn.Module):
    """A run's network and training of PyTorch's own modules, losses and optimizers; only random numbers are droplab's.

    N examples, F features, C classes.
    """

    def __init__(self, run: RunSettings, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.run, self.used, last = run, dict(run.regularizers), len(layers) - 1
        self.linears = nn.ModuleList()
        for k, (weight, bias) in enumerate(layers):
            linear = nn.Linear(weight.shape[2], weight.shape[1], bias=k == last or "batch_norm" not in self.used)
            linear.load_state_dict({"weight": weight[0]} | ({} if linear.bias is None else {"bias": bias[0]}))
            self.linears.append(linear)
        hidden = [linear.out_features for linear in self.linears[:-1]] if "batch_norm" in self.used else []
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in hidden)
        self.double()
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        run, weights = self.run, [linear.weight for linear in self.linears]
        others = [part for part in self.parameters() if not any(part is weight for weight in weights)]
        if run.optimizer in ("adam", "adamw"):
            decay = self.strength("weight_decay", 0) if run.optimizer == "adamw" else 0.0
            groups = [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
            return torch.optim.AdamW(groups, run.learning_rate, (run.beta_1, run.beta_2))
        if run.optimizer == "classical":
            return Classical(self.parameters(), {"lr": run.learning_rate, "momentum": run.momentum})
        return torch.optim.SGD(self.parameters(), run.learning_rate, run.momentum, nesterov=run.optimizer == "nesterov")

    def strength(self, name: str, k: int) -> float:
        """Of a regularizer at a layer; 0 for none."""
        value = self.used.get(name, 0.0)
        return value[k] if isinstance(value, tuple) else value

    def forward(self, x: Tensor, noise: Noise | None = None) -> tuple[Tensor, list[Tensor]]:
        """Logits (N, C) and undisturbed activations of features (N, F)."""
        hidden, here = [], self.disturbed(x, INPUT, 0, "input_", self.strength("input_dropout", 0), noise)
        for k, linear in enumerate(self.linears[:-1]):
            z = self.norms[k](linear(here)) if self.norms else linear(here)
            match self.run.activation:
                case "maxout":
                    here = z.unflatten(1, (-1, self.run.pieces)).max(dim=2).values
                case "logistic":
                    here = torch.sigmoid(z)
                case name:
                    here = getattr(nn.functional, name)(z)
            hidden.append(here)
            here = self.disturbed(here, k, k, "", self.run.rates[k], noise)
        return self.linears[-1](here), hidden

    def disturbed(self, h: Tensor, place: int, k: int, prefix: str, rate: float, noise: Noise | None) -> Tensor:
        """With dropout, Gaussian dropout and noise, in this order."""
        late = self.run.dropout_scaling == "inference"
        if noise is None:
            return h * (1 - round(rate * 2**16) / 2**16) if late else h
        if rate:
            kept = noise.of(f"{prefix}dropout").kept(place, torch.tensor(rate), *h.shape)[0]
            h = h * kept if late else h * kept / (1 - round(rate * 2**16) / 2**16)
        if rate := self.strength(f"{prefix}gaussian_dropout", k):
            normal = noise.of(f"{prefix}gaussian_dropout").normal(place, *h.shape)[0]
            h = h * (1 + math.sqrt(rate / (1 - rate)) * normal)
        name = "input_noise" if prefix else "hidden_noise"
        return h + self.strength(name, k) * noise.of(name).normal(place, *h.shape)[0] if name in self.used else h

    def step(self, x: Tensor, y: Tensor, noise: Noise, update: int, updates_an_epoch: int) -> float:
        """One update by a batch; the loss before it."""
        rate = self.run.learning_rate * self.factor(update, updates_an_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            if self.run.momentum_schedule == "linear":
                way = update / updates_an_epoch / self.run.epochs
                group["momentum"] = self.run.momentum + (self.run.momentum_final - self.run.momentum) * way
        logits, hidden = self(x, noise)
        aim = nn.functional.cross_entropy(logits, y, label_smoothing=self.strength("label_smoothing", 0))
        for k, linear in enumerate(self.linears):
            aim = aim + self.strength("l2", k) / 2 * linear.weight.square().sum()
            aim = aim + self.strength("l1", k) * linear.weight.abs().sum()
        for k, h in enumerate(hidden):
            mean = (h / (1 + h.abs())).mean(dim=0).clamp(1e-4, 1 - 1e-4)
            one, other = (torch.distributions.Bernoulli(probs=p) for p in (torch.tensor(0.05).double(), mean))
            aim = aim + self.strength("kl_sparsity", k) * torch.distributions.kl_divergence(one, other).sum()
        self.optimizer.zero_grad()
        aim.backward()
        if bound := self.strength("gradient_clipping", 0):
            nn.utils.clip_grad_norm_(self.parameters(), bound)
        with torch.no_grad():
            weights = [linear.weight for linear in self.linears]
            if self.run.optimizer != "adamw":
                for k, weight in enumerate(weights):
                    weight.mul_(1 - rate * self.strength("weight_decay", k))
            self.optimizer.step()
            for k, weight in enumerate(weights):
                if bound := self.strength("max_norm", k):
                    weight.copy_(torch.renorm(weight, 2, 0, bound))
        return nn.functional.cross_entropy(logits, y).item()

    def factor(self, update: int, updates_an_epoch: int) -> float:
        """What the schedule makes of the learning rate."""
        run, time = self.run, update / updates_an_epoch / (self.run.schedule_epochs or self.run.epochs)
        done, final = min(time, 1), run.schedule_final
        warm = min((update + 1) / (run.warmup_epochs * updates_an_epoch), 1) if run.warmup_epochs else 1
        match run.schedule:
            case "linear":
                return warm * (1 + (final - 1) * done)
            case "exponential":
                return warm * math.exp(math.log(final) * done)
            case "inverse_time":
                return warm / (1 + time)
            case "cosine":
                return warm * (final + (1 - final) * math.cos(math.pi * done / 2) ** 2)
        return warm


class Classical(torch.optim.Optimizer):
    """v ← m·v − rate·g, w ← w + v (Polyak 1964; Sutskever et al. 2013)."""

    @torch.no_grad()
    def step(self) -> None:
        """One update."""
        for group in self.param_groups:
            for w in group["params"]:
                v = self.state[w].setdefault("v", torch.zeros_like(w))
                v.mul_(group["momentum"]).sub_(group["lr"] * w.grad)
                w.add_(v)
