"""The number of CPU threads of torch, for the length of a block or a call.

torch has one setting for the whole process, which calve must not change for its caller.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["inference", "torch_threads"]

AnyMethod = TypeVar("AnyMethod", bound=Callable[..., Any])


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Give torch ``count`` CPU threads in the ``with`` block; None leaves the number as it is."""
    import torch

    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def inference(method: AnyMethod) -> AnyMethod:
    """Let a method compute without gradients, on ``self.num_threads`` threads of torch."""
    import torch

    @functools.wraps(method)
    def computed(self: Any, *args: Any, **kwargs: Any) -> Any:
        with torch_threads(self.num_threads), torch.inference_mode():
            return method(self, *args, **kwargs)

    return computed  # type: ignore[return-value]
