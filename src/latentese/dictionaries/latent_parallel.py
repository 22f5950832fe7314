"""Several processes train one TopK, each its own latents, on whole batches; the top k is exact over all of them.

For dictionaries that no process can hold with their optimiser. Each process encodes every token with its own latents
and keeps its k largest as candidates. Candidates of all processes are gathered, and the k largest of them are the k
largest of all latents: no process can have more than k of those. Of equal values the latent of lower index is kept, so
that there are always k. Each process then decodes its own among the chosen ones, and reconstructions are summed. So
every process knows the same error, and from there on needs its own latents only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from latentese.dictionaries.auxk import encode_some, spread
from latentese.dictionaries.base import Learner, Loss, Trainable
from latentese.dictionaries.kernels import decode_topk, encode_centred, keep_topk, mean_square, take_out_along_
from latentese.dictionaries.losses import normalised_error
from latentese.dictionaries.norm import apply_norm
from latentese.dictionaries.processes import Alone
from latentese.dictionaries.team import Team
from latentese.dictionaries.topk import MULTI, TopK
from latentese.dictionaries.train_state import TrainState, read_state, take_over_, tensors_of, write_state_in_pieces
from latentese.errors import SettingError
from latentese.store.tensors import TensorSpec

LATENT_DIMS: Mapping[str, int] = {"W_enc": 1, "W_dec": 0, "b_enc": 0}
"""Which dimension of a parameter is latents; every process has the others whole."""


@dataclass(frozen=True)
class LatentsDivided(Alone):
    """Every process has an equal run of latents, and reads whole batches.

    Each process makes the whole dictionary for its start, and lets go of it. Checkpoints hold it whole: the first
    process writes them, gathering one tensor at a time. Training may go on with another number of processes.
    """

    team: Team

    def learner(self, dictionary: Trainable) -> Learner:
        """Return this process's latents."""
        if type(dictionary) is not TopK:
            allowed = f"1: only a TopK's latents can be divided, not those of {type(dictionary).__name__}"
            raise SettingError("processes that divide latents", self.team.size, allowed)
        if dictionary.n_units % self.team.size:
            raise SettingError("dictionary.n_latents", dictionary.n_units, f"a multiple of {self.team.size} processes")
        return TopKPart(dictionary, self.team)

    def save(self, state: TrainState, path: Path) -> None:
        """Gather the state in the first process, one tensor at a time, and let it write."""
        specs = {name: self._whole_spec(name, part) for name, part in tensors_of(state)}
        pieces = ((name, self._gathered(name, part)) for name, part in tensors_of(state))
        if self.team.rank == 0:
            write_state_in_pieces(specs, pieces, state.made_from, path)
        else:
            for _ in pieces:
                pass

    def load_(self, state: TrainState, path: Path) -> None:
        """Take this process's latents from the file."""
        whole = read_state(path, state.made_from)
        take_over_(state, {name: _cut(name, tensor, self.team) for name, tensor in whole.items()})

    def finish_(self, dictionary: Trainable, state: TrainState) -> None:
        """Gather the weights in the first process's `dictionary`; the others' stays without any."""
        if self.team.rank == 0:
            dictionary.to_empty(device=state.silent_tokens.device)
        whole = dictionary.state_dict()
        for name, part in state.dictionary.state_dict().items():
            gathered = self._gathered(f"weights.{name}", part)
            if self.team.rank == 0:
                whole[name].copy_(gathered)

    def told_by_first(self, text: str = "") -> str:
        """See `Team`."""
        return self.team.told_by_first(text)

    def _gathered(self, name: str, part: Tensor) -> Tensor:
        dim = _latent_dim(name, part)
        return part if dim is None else self.team.gather_to_first(part, dim)

    def _whole_spec(self, name: str, part: Tensor) -> TensorSpec:
        dim = _latent_dim(name, part)
        shape = [size * self.team.size if i == dim else size for i, size in enumerate(part.shape)]
        return TensorSpec(part.dtype, tuple(shape))


def _latent_dim(name: str, tensor: Tensor) -> int | None:
    """Dimension of latents of a saved tensor, None where it has none; see `train_state.tensors_of` for names."""
    owner = name.split(".")[1] if "." in name else ""
    return LATENT_DIMS.get(owner) if tensor.dim() else None


def _cut(name: str, tensor: Tensor, team: Team) -> Tensor:
    """Take one process's latents of a saved tensor."""
    dim = _latent_dim(name, tensor)
    return tensor if dim is None else tensor.chunk(team.size, dim)[team.rank]


class TopKPart(nn.Module):
    """One process's latents of a TopK: the `Learner` of a dictionary that is nowhere whole while it is trained.

    Shapes: W_enc [d_model, n_mine], b_enc [n_mine], W_dec [n_mine, d_model], with n_mine = n_latents / processes.
    """

    def __init__(self, whole: TopK, team: Team) -> None:
        super().__init__()
        self._team, self._whole = team, [whole]  # in a list: it is no part of this module
        self.n_units, self.k, self.norm, self.aux, self.multi_coef = (
            whole.n_units, whole.k, whole.norm, whole.aux, whole.multi_coef
        )  # fmt: skip
        n_mine = whole.n_units // team.size
        self.mine = slice(team.rank * n_mine, (team.rank + 1) * n_mine)
        self.W_enc = nn.Parameter(torch.empty(n_mine, whole.d_model).t())  # by latent, as the whole has it
        self.b_enc = nn.Parameter(torch.empty(n_mine))
        self.W_dec = nn.Parameter(torch.empty(n_mine, whole.d_model))
        self.b_dec = nn.Parameter(torch.empty(whole.d_model))
        self.register_buffer("variance", torch.empty(()))
        self.variance: Tensor
        self.to(whole.W_dec.device)

    def prepare_(self, sample: Tensor) -> None:
        """Start as the whole dictionary does in the first process."""
        (whole,) = self._whole
        whole.prepare_(sample)
        tensors = whole.state_dict()
        self._team.share_first_(tensors.values())
        self.load_state_dict({name: _cut(f"weights.{name}", tensor, self._team) for name, tensor in tensors.items()})

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy this process's latents; the whole dictionary is not needed any more, and its memory is freed."""
        loaded = super().load_state_dict(state_dict, strict, assign)
        for whole in self._whole:
            whole.to("meta")
        self._whole.clear()
        return loaded

    def loss(self, acts: Tensor, dead: Tensor) -> Loss:
        """Loss of a batch [n_tokens, d_model], the same in every process; dead [n_latents] bool."""
        x = apply_norm(acts, self.norm).acts
        b_dec: Tensor = _SameInAll.apply(self.b_dec, self._team)  # type: ignore[no-untyped-call]
        k = self.k * MULTI if self.multi_coef > 0 else self.k
        candidates = encode_centred(x - self.b_dec.detach(), self.W_enc, self.b_enc, b_dec, min(k, len(self.b_enc)))
        values, more = (candidates[0] * chosen for chosen in self._chosen(candidates, [self.k, k]))
        error = self._recon((values, candidates[1])) + self.b_dec - x
        fvu = mean_square(error) / self.variance
        aux = self._aux_loss(x - b_dec, -error.detach(), dead)
        total = fvu + self.aux.coef * aux
        if self.multi_coef > 0:
            at_more = self._recon((more, candidates[1])) + self.b_dec - x
            total = total + self.multi_coef * mean_square(at_more) / self.variance
        active = values.detach() > 0
        fired = torch.zeros_like(self.b_enc, dtype=torch.uint8).index_fill_(0, candidates[1][active], 1)
        l0 = self._team.add_(active.sum()) / len(x)
        return Loss(total, fvu.detach(), aux.detach(), l0, self._team.gather(fired).bool())

    def _recon(self, latents: tuple[Tensor, Tensor]) -> Tensor:
        """Sum what all processes' latents reconstruct, without b_dec."""
        recon: Tensor = _SumOverAll.apply(decode_topk(*latents, self.W_dec), self._team)  # type: ignore[no-untyped-call]
        return recon

    def _chosen(self, candidates: tuple[Tensor, Tensor], ks: list[int]) -> list[Tensor]:
        """For each k, which candidates [n_tokens, n] are among the k largest of all processes', as bool.

        Of equal values the one of lower index is chosen, and every process has its own n candidates.
        """
        values, indices = candidates
        order = indices.argsort(dim=1)  # by latent; runs of latents are in the order of processes
        of_all = self._team.gather(values.detach().gather(1, order).t()).t()
        ranked = of_all.sort(dim=1, descending=True, stable=True).indices
        first = self._team.rank * values.shape[1]
        chosen = []
        for k in ks:
            among = torch.zeros_like(of_all, dtype=torch.bool).scatter_(1, ranked[:, :k], True)
            mine = among[:, first : first + values.shape[1]]
            chosen.append(torch.zeros_like(mine).scatter_(1, order, mine))
        return chosen

    def _aux_loss(self, centred: Tensor, error: Tensor, dead: Tensor) -> Tensor:
        """How badly all processes' dead latents predict the error; see `TopK`."""
        k = min(self.aux.k, int(dead.sum()))
        if k == 0 or self.aux.coef == 0:
            return error.new_zeros(())
        (idx,) = dead[self.mine].nonzero(as_tuple=True)
        pre_acts = encode_some(centred, self.W_enc, self.b_enc, idx)
        values, indices = keep_topk(pre_acts, min(k, len(idx)))
        # Everyone gathers k candidates, be they nothing: 0 behind all real ones.
        missing = (0, k - values.shape[1])
        (chosen,) = self._chosen((F.pad(values, missing), F.pad(indices, missing, value=self.n_units)), [k])
        acts = spread(values * chosen[:, : values.shape[1]], indices, pre_acts)
        recon: Tensor = _SumOverAll.apply(acts @ self.W_dec[idx], self._team)  # type: ignore[no-untyped-call]
        return normalised_error(error, recon)

    @torch.no_grad()
    def before_step_(self) -> None:
        """Keep each decoder row's gradient from changing the row's norm."""
        if self.W_dec.grad is not None:
            take_out_along_(self.W_dec.grad, self.W_dec)

    @torch.no_grad()
    def clip_gradients_(self, limit: float) -> None:
        """Shrink all processes' gradients together to this Euclidean norm, where they are larger."""
        gradients = {name: parameter.grad for name, parameter in self.named_parameters() if parameter.grad is not None}
        squares = {name: gradient.square().sum() for name, gradient in gradients.items()}
        mine = torch.stack([square for name, square in squares.items() if name in LATENT_DIMS]).sum()
        norm = torch.sqrt(self._team.add_(mine) + squares["b_dec"])
        for gradient in gradients.values():
            gradient.mul_((limit / (norm + 1e-6)).clamp_max(1.0))

    @torch.no_grad()
    def after_step_(self) -> None:
        """Bring decoder rows back to unit norm."""
        self.W_dec.div_(torch.linalg.vector_norm(self.W_dec, dim=1, keepdim=True))


class _SumOverAll(torch.autograd.Function):
    """Sum over processes; as all go on from it alike, the gradient that each has is that of its own part already."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, team: Team) -> Tensor:
        """Sum the parts."""
        return team.add_(part.clone(memory_format=torch.contiguous_format))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Hand the gradient down."""
        return grad, None


class _SameInAll(torch.autograd.Function):
    """A tensor that all processes have and each uses for its own latents: its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, team: Team) -> Tensor:
        """Hand the tensor up."""
        ctx.team = team
        return tensor.view_as(tensor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Sum the gradients."""
        team: Team = ctx.team
        return team.add_(grad.clone(memory_format=torch.contiguous_format)), None
