"""Questions after many prefixes of one text: read together where the model runs in this process, else one by one."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from latentese.lm.protocol import ForkRequest, Marker, MarkReply
from latentese.lm.together import reply_all
from latentese.records import Usage


@runtime_checkable
class ForkReader(Protocol):
    """A language model that is given all of a text's forks together."""

    async def forked_logprobs(self, request: ForkRequest) -> MarkReply:
        """Read a text and its forks: one row of log-probabilities per fork."""
        ...


async def forked_logprobs(marker: Marker, request: ForkRequest) -> MarkReply:
    """Ask what follows at each fork, in the way that the model has for it."""
    if isinstance(marker, ForkReader):
        return await marker.forked_logprobs(request)
    return await logprobs_one_by_one(marker, request)


async def logprobs_one_by_one(marker: Marker, request: ForkRequest) -> MarkReply:
    """Ask about each fork alone; one without an answer fails them all, yet a cached model keeps the others' answers."""
    replies = await reply_all(marker.next_token_logprobs(one) for one in request.alone)
    rows = tuple(row for reply in replies for row in reply.logprobs)
    return MarkReply(rows, sum((reply.usage for reply in replies), Usage()))
