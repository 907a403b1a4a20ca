"""Losses of pairs (``config.training.loss_type`` of ``dpo``): one formula each, of one pair.

With c and r the log ratios log p(y|x) / r(y|x) of the chosen and the rejected answer (p the model,
r the reference, both summed over the answer's tokens), d = c - r, s the logistic function, b beta,
and e the share of pairs that are the wrong way round (``label_smoothing_factor``):

    sigmoid       -(1 - e) log s(b d) - e log s(-b d)
                  (Rafailov et al. 2023, arXiv:2305.18290, eq. 7; with e: Mitchell 2023, cDPO)
    sigmoid_norm  -log s(b (c/|chosen| - r/|rejected|)), the same of means over tokens
    hinge         max(0, 1 - b d) (Zhao et al. 2023, arXiv:2305.10425)
    ipo           (c/|chosen| - r/|rejected| - 1/(2b))^2
                  (Azar et al. 2023, arXiv:2310.12036, eq. 17; of means over tokens, as TRL)
    robust        (-(1 - e) log s(b d) + e log s(-b d)) / (1 - 2e)
                  (Chowdhury et al. 2024, arXiv:2403.00409, eq. 7)
    nca_pair      -log s(b c) - (log s(-b c) + log s(-b r))/2
                  (Chen et al. 2024, arXiv:2402.05369)
    sppo_hard     (c - 1/(2b))^2 + (r + 1/(2b))^2 (Wu et al. 2024, arXiv:2405.00675, eq. 4.7)
    apo_zero      1 - s(b c) + s(b r)
    apo_down      s(b c) + 1 - s(b d) (D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7 and 8)
    discopop      (1 - m) (-log s(b d)) + m exp(-b d), m = s(b d / 0.05)
                  (Lu et al. 2024, arXiv:2406.08414, eq. 5)

Each is of one pair by itself. TRL's ``aot`` sorts the pairs of a micro-batch, and ``bco_pair``
lacks its paper's running mean: those are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

_DISCOPOP_TAU = 0.05


@dataclass(frozen=True)
class Pairs:
    """Log ratios of both answers of each pair, and the answers' tokens; as above."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor
    beta: float
    smoothing: float = 0.0

    @property
    def margin(self) -> torch.Tensor:
        """b d."""
        return self.beta * (self.chosen - self.rejected)

    @property
    def mean_margin(self) -> torch.Tensor:
        """d, of means over the tokens of each answer."""
        means = self.chosen / self.chosen_tokens.clamp(min=1)
        return means - self.rejected / self.rejected_tokens.clamp(min=1)


def _sigmoid(pairs: Pairs) -> torch.Tensor:
    right, wrong = logsigmoid(pairs.margin), logsigmoid(-pairs.margin)
    return -(1 - pairs.smoothing) * right - pairs.smoothing * wrong if pairs.smoothing else -right


def _robust(pairs: Pairs) -> torch.Tensor:
    right, wrong = logsigmoid(pairs.margin), logsigmoid(-pairs.margin)
    weighted = -(1 - pairs.smoothing) * right + pairs.smoothing * wrong
    return weighted / (1 - 2 * pairs.smoothing)


def _nca(pairs: Pairs) -> torch.Tensor:
    chosen, rejected = pairs.beta * pairs.chosen, pairs.beta * pairs.rejected
    return -logsigmoid(chosen) - (logsigmoid(-chosen) + logsigmoid(-rejected)) / 2


def _sppo(pairs: Pairs) -> torch.Tensor:
    half = 1 / (2 * pairs.beta)
    return (pairs.chosen - half) ** 2 + (pairs.rejected + half) ** 2


def _apo_zero(pairs: Pairs) -> torch.Tensor:
    chosen, rejected = pairs.beta * pairs.chosen, pairs.beta * pairs.rejected
    return 1 - chosen.sigmoid() + rejected.sigmoid()


def _apo_down(pairs: Pairs) -> torch.Tensor:
    return (pairs.beta * pairs.chosen).sigmoid() + 1 - pairs.margin.sigmoid()


def _discopop(pairs: Pairs) -> torch.Tensor:
    mixed = (pairs.margin / _DISCOPOP_TAU).sigmoid()
    return torch.lerp(-logsigmoid(pairs.margin), (-pairs.margin).exp(), mixed)


LOSSES: Mapping[str, Callable[[Pairs], torch.Tensor]] = {
    "sigmoid": _sigmoid,
    "sigmoid_norm": lambda pairs: -logsigmoid(pairs.beta * pairs.mean_margin),
    "hinge": lambda pairs: torch.relu(1 - pairs.margin),
    "ipo": lambda pairs: (pairs.mean_margin - 1 / (2 * pairs.beta)) ** 2,
    "robust": _robust,
    "nca_pair": _nca,
    "sppo_hard": _sppo,
    "apo_zero": _apo_zero,
    "apo_down": _apo_down,
    "discopop": _discopop,
}
"""The loss of each pair, by the ``losses`` of the methods' records."""
