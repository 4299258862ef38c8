"""Hard constraints while training: the mean of the fine values in a coarse cell is the coarse value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import nn

from xatmo.errors import DimensionError, OptionError

KINDS = ("additive", "multiplicative", "softmax")

EMPTY = 1e-6
"""A pattern whose mean is below this part of the value that it shall have counts as no pattern."""

# What log1p normalization multiplies by before it takes the logarithm (`xatmo.normalize`).
_LOG_AMPLITUDE = 0.2
# Coarse values nearer to zero than this, in units of the output's spread, are zero.
_ZERO = 1e-20
# exp() of more would overflow in float32.
_MOST = 60.0


def common_channels(inputs: Sequence[str], outputs: Sequence[str]) -> tuple[int, ...]:
    """For each output the input channel that holds the same variable, -1 where none does.

    Raises
    ------
    OptionError
        If no output is an input.

    Examples
    --------
    >>> common_channels(["tp", "z", "t2m"], ["t2m", "u10", "tp"])
    (2, -1, 0)
    """
    found = tuple(list(inputs).index(name) if name in inputs else -1 for name in outputs)
    if all(c < 0 for c in found):
        message = (
            f"a constraint ties each output to the coarse input of the same name, and the outputs {list(outputs)} have "
            f"none among the inputs {list(inputs)}; leave the constraint out, or give the coarse field of an output "
            "under its name"
        )
        raise OptionError(message)
    return found


def constrain_blocks(
    fine: torch.Tensor, coarse: torch.Tensor, kind: str, *, shared: bool = False, rows: torch.Tensor | None = None
) -> torch.Tensor:
    r"""Constrain fine values to coarse means, differentiably.

    ``"additive"``: :math:`y + (x - A y)`; ``"multiplicative"``: :math:`y x / A y`; ``"softmax"``:
    :math:`x e^{y/x} / A e^{y/x}`, with means :math:`A` over the coarse cells. `xatmo.regrid.constrain` says what holds
    for signs, zeros, and rows that lie in two cells.

    Parameters
    ----------
    fine : Tensor (..., I * factor, J * factor)
        Physical values, in any units.
    coarse : Tensor (..., I, J)
        In the same units.
    kind : {"additive", "multiplicative", "softmax"}
    shared : bool
        Whether the first fine row of every block but the first lies in the cell above, too, by half: rows that start on
        the pole. The last cell lacks its last half row, which is beyond the window.
    rows : Tensor (..., I * factor), optional
        Weights of the fine rows, such as the cosine of latitude; equal unless given.

    Returns
    -------
    Tensor (..., I * factor, J * factor)

    Examples
    --------
    >>> fine, coarse = torch.rand(2, 1, 6, 9), torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1).expand(2, 1, 2, 3)
    >>> made = constrain_blocks(fine, coarse, "multiplicative")
    >>> bool(torch.allclose(torch.nn.functional.avg_pool2d(made, 3), coarse))
    True
    """
    factor = fine.shape[-1] // coarse.shape[-1]
    blocks = torch.unflatten(torch.unflatten(fine, -1, (-1, factor)), -3, (-1, factor))  # (..., I, row, J, column)
    if rows is None:
        weight = blocks.new_ones(coarse.shape[-2], factor)
    else:
        weight = torch.unflatten(rows.to(fine.dtype), -1, (-1, factor))
    work = _Shares(blocks, coarse, weight / weight.mean(dim=(-2, -1), keepdim=True), shared)
    made = work.additive() if kind == "additive" else work.scaled(softmax=kind == "softmax")
    return made.flatten(-4, -3).flatten(-2, -1)


class _Shares:
    """The arithmetic on blocks ``(..., I, row, J, column)``, and on strips, their means along columns."""

    def __init__(self, blocks: torch.Tensor, coarse: torch.Tensor, weight: torch.Tensor, shared: bool) -> None:
        self.y, self.x, self.shared = blocks, coarse, shared
        self.own = weight[..., None]  # area of the rows of a block inside its cell, (..., I, row, 1)
        self.alone = self.own  # the same of the rows that lie in no other cell
        self.area = self.own.sum(dim=-2)
        if shared:
            half, none = torch.ones_like(self.own), torch.ones_like(self.own)
            half[..., 0, :] = 0.5
            none[..., 1:, 0, :] = 0.0
            self.own = self.own * half
            self.alone = self.own * none
            self.next = self.own[..., 1:, 0, :]  # of the rows that lie in the cell above, too; (..., I - 1, 1)
            self.area = self.own.sum(dim=-2) + _pad_last(self.next)

    def total(self, strips: torch.Tensor, above: torch.Tensor | None) -> torch.Tensor:
        """Integrate over cells, ``(..., I, J)``; ``above`` are the shared strips as the upper cell sees them."""
        out = (strips * self.own).sum(dim=-2)
        return out + _pad_last(above * self.next) if self.shared and above is not None else out

    def additive(self) -> torch.Tensor:
        strips = self.y.mean(dim=-1)
        lack = self.x - self.total(strips, strips[..., 1:, 0, :]) / self.area
        if not self.shared:
            return self.y + lack[..., None, :, None]
        between = (lack[..., 1:, :] + lack[..., :-1, :]) / 2
        rest = self._rest(self.area * lack, between)
        return self.y + self._rows(rest / self.alone.sum(dim=-2), between)[..., None]

    def _rest(self, budget: torch.Tensor, between: torch.Tensor) -> torch.Tensor:
        """Take off what shared rows with the values ``between`` hold: what is left to a cell's own rows."""
        taken = between * self.next
        return budget - _pad_first(taken) - _pad_last(taken)

    def _rows(self, values: torch.Tensor, between: torch.Tensor) -> torch.Tensor:
        """Lay out strips, ``(..., I, row, J)``: ``values``, but ``between`` in the first of all blocks but one."""
        first = torch.cat([values[..., :1, :], between], dim=-2)
        others = values[..., None, :].expand(*values.shape[:-1], self.y.shape[-3] - 1, values.shape[-1])
        return torch.cat([first[..., None, :], others], dim=-2)

    def scaled(self, *, softmax: bool) -> torch.Tensor:
        sign = torch.where(self.x < 0, -1.0, 1.0).to(self.x.dtype)
        size = self.x.abs()
        if softmax:
            size = torch.where(size > _ZERO, size, 0.0)
            unit = torch.where(size > 0, self.x, 1.0)
            steps = self.y / unit[..., None, :, None]
            # Softmax does not depend on the highest value, which keeps exp() in range, so no gradient goes through it.
            highest = steps[..., int(self.shared) :, :, :].amax(dim=(-3, -1)).detach()

            def pattern_of(y: torch.Tensor, at: slice) -> torch.Tensor:
                """Rows ``(..., I, row, J, column)`` as cells ``at`` see them."""
                cell = (..., at, None, slice(None), None)
                return (y / unit[cell] - highest[cell]).clamp(max=_MOST).exp() * size[cell]
        else:

            def pattern_of(y: torch.Tensor, at: slice) -> torch.Tensor:
                return (y * sign[..., at, None, :, None]).clamp(min=0)

        pattern = pattern_of(self.y, slice(None))
        strips = pattern.mean(dim=-1)
        if not self.shared:
            return _filled(pattern, self.total(strips, None) / self.area, size) * sign[..., None, :, None]
        above = pattern_of(self.y[..., 1:, :1, :, :], slice(None, -1))
        mean = self.total(strips, above.mean(dim=-1)[..., 0, :]) / self.area
        area, alone = self.alone.sum(dim=-2), (strips * self.alone).sum(dim=-2)
        lower = _filled(pattern, mean, size)[..., 1:, 0, :, :]
        upper = _filled(above, mean[..., :-1, :], size[..., :-1, :])[..., 0, :, :]
        # Their mean, but so little that half of what is due to a cell's own rows is left to them.
        empty = mean <= EMPTY * size
        part = 1 - torch.where(empty, area / self.area, alone / (self.area * torch.where(empty, 1.0, mean)))
        most = ((1 + part) / (2 * part.clamp(min=EMPTY)))[..., None]
        between = torch.minimum((lower + upper) / 2, lower * most[..., 1:, :, :])
        between = torch.minimum(between, upper * most[..., :-1, :, :])
        between = torch.where((sign[..., 1:, :] == sign[..., :-1, :])[..., None], between, 0.0)
        budget = self._rest(self.area * size, between.mean(dim=-1))
        made = _filled(pattern, alone / area, budget.clamp(min=0) / area)
        first = torch.cat([made[..., :1, 0, :, :], between], dim=-3)
        return torch.cat([first[..., None, :, :], made[..., 1:, :, :]], dim=-3) * sign[..., None, :, None]


def _filled(pattern: torch.Tensor, mean: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Scale a pattern with some mean so that it has another; constant where there is no pattern to speak of."""
    empty = mean <= EMPTY * wanted
    scale = torch.where(empty, 0.0, wanted / torch.where(empty, 1.0, mean))
    flat = torch.where(empty, wanted, 0.0)
    return pattern * scale[..., None, :, None] + flat[..., None, :, None]


def _pad_first(x: torch.Tensor) -> torch.Tensor:
    """Zeros for the first cell, ``(..., I - 1, J) -> (..., I, J)``."""
    return nn.functional.pad(x, (0, 0, 1, 0))


def _pad_last(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.pad(x, (0, 0, 0, 1))


class Constrained(nn.Module):
    """A network whose fine fields have the means of its coarse inputs, in physical units.

    Its outputs, and the inputs that they are tied to, are denormalized, constrained by `constrain_blocks`, and
    normalized again. A network does not know where a patch lies, so all rows of a cell count alike unless weights come
    with the call: on the sphere the means are then off by about the difference between a cell's rows times half its
    height in radians times the tangent of the latitude (a hundredth of that difference for 1 degree at latitude 50).
    `xatmo.regrid.constrain` puts that right in the fields that inference makes.

    Parameters
    ----------
    network : torch.nn.Module
        ``network(x, ...)``: ``(batch, n_in, [time,] lat, lon)`` -> ``(batch, n_out, [time,] lat * f, lon * f)``, any.
    kind : {"additive", "multiplicative", "softmax"}
    channels : sequence of int
        For each output the input that it is tied to, -1 for none; see `common_channels`.
    inputs, outputs : sequence of tuples, optional
        For each input and output the numbers of its normalization, as `xatmo.normalize.forward` takes them: centre,
        scale, and those of the logarithm where there is one. None: physical units.
    factor : int, optional
        Default: the network's.
    row_offset : float
        0 for blocks of fine rows, -0.5 for rows that start on the pole; see `xatmo.regrid.coarsening`.

    Attributes
    ----------
    network : torch.nn.Module
        Everything that this class lacks is asked of it: ``stochastic``, ``n_static``, ``n_noise``, ``config`` ...
        ``mean(x, ...)``, where it has one, is constrained, too.
    halo : int
        That of the network, and two cells more where rows lie in two cells.

    Raises
    ------
    OptionError
        If a setting cannot be used.

    Examples
    --------
    >>> net = Constrained(nn.Upsample(scale_factor=2), "softmax", channels=[0], factor=2)
    >>> coarse = torch.rand(3, 1, 4, 5)
    >>> bool(torch.allclose(nn.functional.avg_pool2d(net(coarse), 2), coarse))
    True
    """

    def __init__(
        self,
        network: nn.Module,
        kind: str,
        *,
        channels: Sequence[int] = (0,),
        inputs: Sequence[Sequence[float]] | None = None,
        outputs: Sequence[Sequence[float]] | None = None,
        factor: int | None = None,
        row_offset: float = 0.0,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            message = f"constraint={kind!r}; possible are {list(KINDS)}"
            raise OptionError(message)
        if row_offset not in (0.0, -0.5):
            message = f"row_offset={row_offset!r}; wanted 0, or -0.5 for rows that start on the pole"
            raise OptionError(message)
        found = getattr(network, "factor", None) if factor is None else factor
        if not isinstance(found, int) or isinstance(found, bool) or found < 2:
            message = f"factor={found!r}; a constraint needs at least 2 fine cells per coarse cell: pass factor="
            raise OptionError(message)
        if not channels or all(c < 0 for c in channels):
            message = f"channels={list(channels)!r}; wanted an input for one output at least"
            raise OptionError(message)
        for what, numbers, size in (
            ("inputs", inputs, max(channels) + 1), ("outputs", outputs, len(channels)),
        ):  # fmt: skip
            if numbers is not None and (len(numbers) < size or any(len(n) not in (2, 4) for n in numbers)):
                message = (
                    f"{what}={numbers!r}; wanted for each of {size} channels centre and scale, and for log1p those of "
                    "the logarithm"
                )
                raise OptionError(message)
        self.network = network
        self.kind, self.channels, self.factor, self.row_offset = kind, tuple(channels), found, float(row_offset)
        self.halo = int(getattr(network, "halo", 0)) + (2 if row_offset else 0)
        self._inputs, self._outputs = _plain(inputs), _plain(outputs)

    def settings(self) -> dict[str, Any]:
        """Give what JSON can hold, and `wrap` reads."""
        return {
            "kind": self.kind, "channels": list(self.channels), "factor": self.factor, "row_offset": self.row_offset,
            "inputs": None if self._inputs is None else [list(n) for n in self._inputs],
            "outputs": None if self._outputs is None else [list(n) for n in self._outputs],
        }  # fmt: skip

    @classmethod
    def wrap(cls, network: nn.Module, settings: Mapping[str, Any]) -> Self:
        """Constrain a network as `settings` says."""
        return cls(network, **settings)

    def __getattr__(self, name: str) -> Any:
        """Ask the network for what this class lacks."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            network = self.__dict__.get("_modules", {}).get("network")
            if network is None:
                raise
            found = getattr(network, name)
            if name != "mean":
                return found

        def mean(x: torch.Tensor, *args: Any, **more: Any) -> torch.Tensor:
            return self.constrain(found(x, *args, **more), x)

        return mean

    def forward(self, x: torch.Tensor, *args: Any, rows: torch.Tensor | None = None, **more: Any) -> torch.Tensor:
        """Refine, and constrain.

        Parameters
        ----------
        x : Tensor (batch, n_in, [time,] lat, lon)
        *args, **more
            For the network: static fields, noise.
        rows : Tensor (batch or nothing, lat * factor), optional
            Weights of the fine rows.

        Returns
        -------
        Tensor (batch, n_out, [time,] lat * factor, lon * factor)
            In float32 or what the network gives, if that is wider.
        """
        return self.constrain(self.network(x, *args, **more), x, rows=rows)

    def constrain(self, fine: torch.Tensor, x: torch.Tensor, *, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Constrain normalized fine fields to the normalized coarse ones ``x``.

        Raises
        ------
        DimensionError
            If their sizes do not belong together.
        """
        wanted = (len(self.channels), *x.shape[2:-2], *(n * self.factor for n in x.shape[-2:]))
        if tuple(fine.shape[1:]) != wanted:
            message = f"the network made {tuple(fine.shape)} of {tuple(x.shape)}; wanted {(x.shape[0], *wanted)}"
            raise DimensionError(message)
        with torch.autocast(x.device.type, enabled=False):
            wide = torch.promote_types(fine.dtype, torch.float32)
            fine, x = fine.to(wide), x.to(wide)
            if rows is not None and rows.ndim == 2:
                rows = rows.reshape(rows.shape[0], *(1,) * (fine.ndim - 4), rows.shape[1])
            made = []
            for c, source in enumerate(self.channels):
                if source < 0:
                    made.append(fine[:, c])
                    continue
                scaling = _Scaling.of(self._outputs, c)
                coarse = scaling.compared(_Scaling.of(self._inputs, source), x[:, source])
                one = constrain_blocks(
                    scaling.physical(fine[:, c]), coarse, self.kind, shared=self.row_offset != 0, rows=rows
                )
                made.append(scaling.normalized(one))
            return torch.stack(made, dim=1)


def unconstrained(network: nn.Module) -> nn.Module:
    """Give the network that is constrained, or any other as it is."""
    return network.network if isinstance(network, Constrained) else network


def _plain(numbers: Sequence[Sequence[float]] | None) -> tuple[tuple[float, ...], ...] | None:
    return None if numbers is None else tuple(tuple(float(v) for v in of) for of in numbers)


class _Scaling:
    """Normalization of one channel; "physical" values are in units of its spread, which no constraint minds."""

    def __init__(self, center: float, scale: float, log_center: float = 0.0, log_scale: float | None = None) -> None:
        self.center, self.scale, self.log_center, self.log_scale = center, scale, log_center, log_scale

    @classmethod
    def of(cls, numbers: tuple[tuple[float, ...], ...] | None, channel: int) -> Self:
        return cls(0.0, 1.0) if numbers is None else cls(*numbers[channel])

    def _linear(self, y: torch.Tensor) -> torch.Tensor:
        """``(physical - center) / scale``."""
        if self.log_scale is None:
            return y
        w = y * self.log_scale + self.log_center
        # By halves, so that the derivative is right at 0, too.
        positive, negative = torch.expm1(w.clamp(min=0)), torch.expm1((-w).clamp(min=0))
        return torch.where(w >= 0, positive, -negative) / _LOG_AMPLITUDE

    def physical(self, y: torch.Tensor) -> torch.Tensor:
        return self._linear(y) + self.center / self.scale

    def compared(self, other: _Scaling, x: torch.Tensor) -> torch.Tensor:
        """Values of another channel of the same quantity, in the units of this one."""
        if (other.center, other.scale) == (self.center, self.scale):
            return other.physical(x)
        return other._linear(x) * (other.scale / self.scale) + other.center / self.scale

    def normalized(self, y: torch.Tensor) -> torch.Tensor:
        z = y - self.center / self.scale
        if self.log_scale is None:
            return z
        a = _LOG_AMPLITUDE
        w = torch.where(z >= 0, torch.log1p(a * z.clamp(min=0)), -torch.log1p(a * (-z).clamp(min=0)))
        return (w - self.log_center) / self.log_scale


def scaled_numbers(numbers: Sequence[float], scale: float, offset: float) -> tuple[float, ...]:
    """Numbers of the same normalization for a quantity in other units, ``new = scale * old + offset``.

    Raises
    ------
    OptionError
        If the scale is not positive.

    Examples
    --------
    >>> scaled_numbers((15.0, 10.0), 1.0, 273.15)
    (288.15, 10.0)
    """
    if not (math.isfinite(scale) and scale > 0):
        message = f"scale={scale!r}; wanted a positive number"
        raise OptionError(message)
    return (numbers[0] * scale + offset, numbers[1] * scale, *numbers[2:])
