"""What a dictionary is. A new one is one file here, one YAML in conf/dictionary/ and one test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn


class UnitActs(NamedTuple):
    """Unit activations of each token, sparse, with what undoes the input norm.

    Entries with value 0 are padding: their index says nothing.
    """

    values: Tensor  # [n_tokens, k]
    indices: Tensor  # [n_tokens, k] int64
    mean: Tensor  # [n_tokens, 1]
    norm: Tensor  # [n_tokens, 1]


class Loss(NamedTuple):
    """What one batch costs."""

    total: Tensor
    """What the optimiser minimises."""
    fvu: Tensor
    """Fraction of variance unexplained, in the space after the input norm: 0 is perfect, 1 is predicting the mean."""
    aux: Tensor
    """Auxiliary loss before its coefficient, such as that of dead latents at predicting the error; 0 without one."""
    l0: Tensor
    """Mean number of active units per token."""
    fired: Tensor
    """[n_units] bool: which units fired in this batch."""


class Dictionary(nn.Module, ABC):
    """Maps activations [n_tokens, d_model] to unit activations and back."""

    signed: bool = False
    """Whether activations below zero mean something: then a unit fires above a quantile, not above 0."""
    needs_training: ClassVar[bool] = False

    d_model: int
    n_units: int

    @property
    @abstractmethod
    def args(self) -> dict[str, Any]:
        """Constructor arguments, as plain values: with the weights, they make this dictionary again."""

    @abstractmethod
    def encode(self, acts: Tensor) -> UnitActs:
        """Map activations [n_tokens, d_model] (any float dtype) to their active units."""

    @abstractmethod
    def decode(self, unit_acts: UnitActs) -> Tensor:
        """Reconstruct activations [n_tokens, d_model], the input norm undone."""

    @abstractmethod
    def pre_acts(self, acts: Tensor) -> Tensor:
        """Every unit's activation before selection, [n_tokens, n_units]."""

    def encode_with_pre_acts(self, acts: Tensor) -> tuple[UnitActs, Tensor]:
        """`encode` and `pre_acts` of the same tokens; overridden where one product gives both."""
        return self.encode(acts), self.pre_acts(acts)


class Trainable(Dictionary):
    """A dictionary whose weights are fitted to activations."""

    needs_training: ClassVar[bool] = True

    @abstractmethod
    def prepare_(self, sample: Tensor) -> None:
        """Set data-dependent starting weights, and the constants of the loss, from a fixed sample of activations."""

    @abstractmethod
    def loss(self, acts: Tensor, dead: Tensor) -> Loss:
        """Loss of a batch [n_tokens, d_model]; dead [n_units] bool marks units that have long been silent."""

    def before_step_(self) -> None:
        """Change gradients before the optimiser's step."""

    def after_step_(self) -> None:
        """Restore constraints on the weights after the optimiser's step."""

    def clip_gradients_(self, limit: float) -> None:
        """Shrink all gradients together to this Euclidean norm, where they are larger."""
        nn.utils.clip_grad_norm_(self.parameters(), limit)


class Learner(Protocol):
    """What training needs of a dictionary, or of the part of one that a process trains (see `processes`)."""

    n_units: int
    """Units of the whole dictionary."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Weights that this process trains."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name them."""

    def state_dict(self) -> dict[str, Any]:
        """All tensors of this process by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Copy such tensors into this process's."""

    def prepare_(self, sample: Tensor) -> None:
        """See `Trainable`; every process starts alike."""

    def loss(self, acts: Tensor, dead: Tensor) -> Loss:
        """Loss of this process's tokens, with figures of the whole batch and of all units."""

    def before_step_(self) -> None:
        """See `Trainable`; gradients become those of the whole batch."""

    def clip_gradients_(self, limit: float) -> None:
        """See `Trainable`."""

    def after_step_(self) -> None:
        """See `Trainable`."""
