"""Processes that work together, each on its own part, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Team:
    """The processes of torch's default group, as one of them sees them. Every member must make the same calls."""

    rank: int
    """Which of them this is, from 0."""
    size: int
    """How many there are."""
    device: str = "cpu"
    """Where tensors are that members hand to each other."""

    def gather(self, rows: Tensor) -> Tensor:
        """Put rows [n, ...] of every member together, [size * n, ...], in the order of members."""
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def gather_to_first(self, part: Tensor, dim: int) -> Tensor:
        """Put the parts of a tensor together along one dimension in the first member; the others get their own back."""
        part = part.detach().contiguous()
        parts = [torch.empty_like(part) for _ in range(self.size)] if self.rank == 0 else None
        dist.gather(part, parts)
        return part if parts is None else torch.cat(parts, dim)

    def add_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor, in memory without gaps, by its sum over members."""
        dist.all_reduce(in_memory_order(tensor))
        return tensor

    def share_first_(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by the first member's."""
        for tensor in tensors:
            dist.broadcast(in_memory_order(tensor.detach()), src=0)

    def told_by_first(self, text: str = "") -> str:
        """Return the text that the first member passes."""
        said = torch.tensor(list(text.encode()), dtype=torch.uint8, device=self.device)
        length = torch.tensor([len(said)], device=self.device)
        self.share_first_([length])
        heard = said if self.rank == 0 else said.new_empty(int(length))
        self.share_first_([heard])
        return bytes(heard.tolist()).decode()


def team_size() -> int:
    """How many processes were started to work together; 1 without `torchrun`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined_team(device: str) -> Iterator[Team]:
    """Join the processes that `torchrun` started: over gloo on a CPU, over nccl on GPUs, one of which each takes."""
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def in_memory_order(tensor: Tensor) -> Tensor:
    """View a tensor without gaps, transposed or not, as the vector that it is in memory."""
    return tensor.as_strided((tensor.numel(),), (1,))
