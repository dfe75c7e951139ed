"""What a network must say of itself to be compiled.

A supernet is an object with a space, a module for each choice at each slot, example inputs and
the tensors that its choices share. It needs no base class:

* ``space``: a :class:`hwnas.space.Space`.
* ``block(slot, choice)``: an ``nn.Module`` in eval mode that computes this choice at this slot.
  It is called with the values that the slot reads, as positional arguments, and returns the value
  that the slot writes, or a tuple of them. Called again, it gives an equal module.
* ``example_inputs()``: input name to tensor; they fix batch size, shapes and dtypes.
* ``state_dict()`` and ``load_state_dict(...)``: as in torch. A parameter or buffer of a block
  that is a view of one of these tensors is shared: a contiguous one (a prefix of rows, say)
  becomes an offset and a length into the stored tensor; anything else is stored once by content.

Where the space has dimensions, ``block`` gets the choice as it is written with their values
(``Space.read`` takes it apart), and ``example_inputs(at)`` a mapping of dimension to value.
``set_resolutions(values)`` is optional: it gives the space the dimension ``r`` with these values,
and lets a user choose them when compiling.

``block`` may be called from several processes, each with a supernet of its own loaded from the
same reference. Only the calling process's weights count, so random initialisation needs no seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from hwnas.space import Space, Subnet

__all__ = ["SubnetModule", "Supernet"]


@runtime_checkable
class Supernet(Protocol):
    """The protocol; see the module's docstring for what each member must do."""

    @property
    def space(self) -> Space:
        """Slots, choices and rules."""

    def block(self, slot: str, choice: str) -> nn.Module:
        """The module that computes ``choice`` at ``slot``."""

    def example_inputs(self) -> Mapping[str, torch.Tensor]:
        """One example of every network input."""

    def state_dict(self) -> Mapping[str, torch.Tensor]:
        """Every tensor of the supernet by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take the tensors of a state dict of the same names and shapes."""


class SubnetModule(nn.Module):
    """One subnet as an ordinary module, made of the supernet's blocks.

    Takes the network's inputs in the space's order and returns its outputs: one tensor, or a
    tuple where the space names several. It shares the supernet's weights.
    """

    def __init__(self, supernet: Supernet, subnet: Subnet) -> None:
        super().__init__()
        self._space = supernet.space
        self._slots = [self._space.slot(name) for name in subnet.choices]
        blocks = [supernet.block(slot, choice) for slot, choice in subnet.choices.items()]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Run the blocks in order; see the class."""
        values = dict(zip(self._space.inputs, inputs, strict=True))
        for slot, block in zip(self._slots, self.blocks, strict=True):
            result = block(*(values[name] for name in slot.reads))
            results = result if isinstance(result, tuple) else (result,)
            values.update(zip(slot.writes, results, strict=True))
        outputs = tuple(values[name] for name in self._space.outputs)
        return outputs[0] if len(outputs) == 1 else outputs
