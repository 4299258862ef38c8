"""The linear maps of `sphere` and their adjoints, without derivatives first, then as functions that autograd knows.

Work goes through memory once. A field's rows are folded at the equator and transformed along longitude some rows at a
time, while they are in cache; waves lie as (parity of the order, row, order, field), so that any block of orders is a
matrix for a GEMM as it stands: first with the quadrature, then with the block's functions. Each table is read once for
all fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xatmo.nn import _legendre

_WIDTH = 16  # orders in a block: more would pad more, fewer would make small products
_NARROW = 8, 32  # up to so many columns, products (analysis, synthesis) are faster with the columns first
_CACHE = 1_500_000  # bytes of rows transformed at a time on a CPU
_LAUNCH = 1 << 28  # the same elsewhere, where calls cost more than memory traffic
_NEGLIGIBLE = {torch.float32: 1e-11, torch.float64: 1e-20}


@dataclass(frozen=True)
class Block:
    """Functions of some orders: see `xatmo.nn._legendre.Block`."""

    orders: slice
    rows: slice
    tables: tuple[Tensor, Tensor]

    @property
    def parity(self) -> int:
        """Of its orders."""
        return int(self.orders.start) % 2

    def waves(self, shift: int) -> tuple[int, slice]:
        """Parity, and place among those of this parity (after one that is empty), of its orders plus a shift."""
        first = self.orders.start + shift
        return first % 2, slice(first // 2 + 1, first // 2 + 1 + self.tables[0].shape[0])

    def degrees(self, odd: int) -> slice:
        """Degrees of a table."""
        return slice(self.orders.start + odd, None, 2)


@dataclass(frozen=True)
class Plan:
    """All that the maps need.

    Attributes
    ----------
    nlat, nlon, lmax : int
    folded, upward : bool
        Rows are symmetric about the equator; rows run from south to north.
    weights : tensor (1, rows) or (2, 2, rows, rows), or None
        Quadrature: a weight for each row, or matrices by fold (sum, difference) and by parity of the order. They act on
        sums and differences of the hemispheres in which the equator counts twice.
    blocks : list of Block
    """

    nlat: int
    nlon: int
    lmax: int
    folded: bool
    upward: bool
    weights: Tensor | None
    blocks: list[Block]

    @property
    def rows(self) -> int:
        """Rows after folding."""
        return (self.nlat + 1) // 2 if self.folded else self.nlat

    @property
    def tensors(self) -> list[Tensor]:
        """Weights and tables."""
        weights = [] if self.weights is None else [self.weights]
        return weights + [t for b in self.blocks for t in b.tables]

    @property
    def device(self) -> torch.device:
        """Where the tables are."""
        return self.blocks[0].tables[0].device

    @property
    def equator(self) -> bool:
        """Whether the last folded row is its own mirror image."""
        return self.folded and self.nlat % 2 == 1

    def map(self, function: Callable[[Tensor], Tensor]) -> Plan:
        """Give a plan with a function of every tensor."""
        blocks = [Block(b.orders, b.rows, (function(b.tables[0]), function(b.tables[1]))) for b in self.blocks]
        weights = None if self.weights is None else function(self.weights)
        return Plan(self.nlat, self.nlon, self.lmax, self.folded, self.upward, weights, blocks)

    def chunks(self, batch: int, item: int) -> list[slice]:
        """Rows to transform along longitude at a time."""
        memory = _CACHE if self.device.type == "cpu" else _LAUNCH
        step = max(1, memory // max(1, batch * self.nlon * item))
        return [slice(r, min(r + step, self.rows)) for r in range(0, self.rows, step)]


def make_blocks(cosine: Any, sine: Any, lmax: int, dtype: torch.dtype) -> list[Block]:
    """Make the tables, each block in float64 before it is rounded."""
    made = _legendre.blocks(cosine, sine, lmax, _WIDTH, negligible=_NEGLIGIBLE[dtype])
    return [
        Block(b.orders, b.rows, (torch.from_numpy(b.even).to(dtype), torch.from_numpy(np.array(b.odd)).to(dtype)))
        for b in made
    ]


# ---------------------------------------------------------------------- fields <-> coefficients
def analyse(plan: Plan, field: Tensor, *, weighted: bool, norm: str, shifts: tuple[int, ...]) -> Tensor:
    """Sum over longitudes, then over rows: (batch, nlat, nlon) -> (shift, batch, order, degree), complex.

    Functions meet waves of their own order plus a shift: 0 for scalars, 1 and -1 for vectors.
    """
    size, batch = plan.lmax + 1, field.shape[0]
    wide = torch.complex64 if field.dtype == torch.float32 else torch.complex128
    folds = _folds(plan, batch, wide, field.device)
    for rows in plan.chunks(batch, field.element_size()):
        for target, part in zip(folds, _fold(plan, field, rows, weighted=weighted), strict=True):
            waves = torch.fft.rfft(part, norm=norm)
            for parity in (0, 1):
                target[parity, rows, 1 : _end(size, parity)] = waves[..., parity:size:2].permute(1, 2, 0)
    folds *= 3 - len(folds)
    out = torch.empty(len(shifts), batch, size, size, dtype=wide, device=field.device)
    matrices = plan.weights if weighted and plan.weights is not None and plan.weights.ndim == 4 else None
    for block in plan.blocks:
        out[:, :, block.orders, : block.orders.start] = 0
        count = block.tables[0].shape[0]
        for odd, (waves, table) in enumerate(zip(folds, block.tables, strict=True)):
            for shift, result in zip(shifts, out if table.shape[1] else (), strict=False):
                parity, place = block.waves(shift)
                real = torch.view_as_real(waves[parity, :, place])  # (row, order, batch, 2)
                inner = block.rows
                # The quadrature's parity is that of the functions.
                real = matrices[odd, block.parity, inner] @ real.flatten(1) if matrices is not None else real[inner]
                real = real.reshape(-1, count, 2 * batch)
                target = result[:, block.orders, block.degrees(odd)]
                if 2 * batch <= _NARROW[0]:
                    sums = torch.bmm(real.permute(1, 2, 0).contiguous(), table.mT).view(count, batch, 2, -1)
                    torch.view_as_real(target).copy_(sums.permute(1, 0, 3, 2))
                else:
                    sums = torch.bmm(table, real.permute(1, 0, 2)).view(count, -1, batch, 2)
                    target.copy_(torch.view_as_complex(sums).permute(2, 0, 1))
    return out


def synthesise(plan: Plan, coefficients: Tensor, *, weighted: bool, shifts: tuple[int, ...]) -> Tensor:
    """Sum over degrees, then over orders: (shift, batch, order, degree) -> (batch, nlat, nlon).

    Orders above 0 count twice. What functions give goes to waves of their own order plus a shift.
    """
    batch = coefficients.shape[1]
    folds = _folds(plan, batch, coefficients.dtype, coefficients.device)
    if len(folds) == 1:  # sums of both kinds of degrees go to the same rows
        folds = [folds[0], torch.empty_like(folds[0])]
    several = len(shifts) > 1
    if several:
        for waves in folds:
            waves.zero_()
    matrices = plan.weights if weighted and plan.weights is not None and plan.weights.ndim == 4 else None
    for block in plan.blocks:
        rows = block.rows
        for odd, (waves, table) in enumerate(zip(folds, block.tables, strict=True)):
            for shift, given in zip(shifts, coefficients, strict=True):
                parity, place = block.waves(shift)
                target = torch.view_as_real(waves[parity, :, place]).flatten(2)  # (row, order, 2 batch)
                if not table.shape[1]:
                    if not several:
                        target.zero_()
                    continue
                source = given[:, block.orders, block.degrees(odd)].permute(1, 2, 0).contiguous()
                real = torch.view_as_real(source).flatten(2)  # (order, degree, 2 batch)
                if 2 * batch <= _NARROW[1]:
                    sums = torch.bmm(real.mT, table).permute(2, 0, 1)
                else:
                    sums = torch.bmm(table.mT, real).permute(1, 0, 2)
                inner = rows
                if matrices is not None:
                    sums = (matrices[odd, block.parity, rows].mT @ sums.flatten(1)).view(target.shape)
                    inner = slice(0, plan.rows)
                if several:
                    target[inner] += sums
                    continue
                target[: inner.start] = 0
                target[inner] = sums
                target[inner.stop :] = 0
    return _unfold(plan, folds, weighted=weighted)


def _folds(plan: Plan, batch: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Space for waves: sums (and differences) of the hemispheres, (parity, row, order, batch) each.

    Orders -1 or -2 and beyond the highest are there, too, and zero, for functions that look for their neighbours.
    """
    length = (plan.lmax + 2) // 2
    folds = [
        torch.empty((2, plan.rows, length + 2, batch), dtype=dtype, device=device)
        for _ in range(2 if plan.folded else 1)
    ]
    for waves in folds:
        waves[:, :, 0] = 0
        waves[:, :, length:] = 0
    return folds


def _end(size: int, parity: int) -> int:
    """After the last order of a parity."""
    return 1 + (size + 1 - parity) // 2


def _fold(plan: Plan, field: Tensor, rows: slice, *, weighted: bool) -> list[Tensor]:
    """Sum and difference of the hemispheres in some rows, north to south, with what weights the rows have."""
    n = plan.nlat
    mirrored = slice(n - rows.stop, n - rows.start)
    if plan.folded:
        near, far = field[:, rows], field[:, mirrored].flip(1)
        parts = [near + far, far - near if plan.upward else near - far]
    else:
        parts = [field[:, mirrored].flip(1) if plan.upward else field[:, rows].clone()]
    if weighted and plan.weights is not None and plan.weights.ndim == 2:
        for part in parts:
            part *= plan.weights[0, rows, None]
    if not weighted and plan.equator and rows.stop == plan.rows:
        parts[0][:, -1] *= 0.5
    return parts


def _unfold(plan: Plan, folds: list[Tensor], *, weighted: bool) -> Tensor:
    size, n, batch = plan.lmax + 1, plan.nlat, folds[0].shape[-1]
    real = torch.float32 if folds[0].dtype == torch.complex64 else torch.float64
    out = torch.empty(batch, n, plan.nlon, dtype=real, device=folds[0].device)
    for rows in plan.chunks(batch, out.element_size()):
        parts = []
        for waves in folds:
            lines = torch.empty(batch, rows.stop - rows.start, plan.nlon // 2 + 1, dtype=waves.dtype, device=out.device)
            lines[..., size:] = 0
            for parity in (0, 1):
                lines[..., parity:size:2] = waves[parity, rows, 1 : _end(size, parity)].permute(2, 0, 1)
            part = torch.fft.irfft(lines, n=plan.nlon, norm="forward")
            if weighted and plan.weights is not None and plan.weights.ndim == 2:
                part *= plan.weights[0, rows, None]
            parts.append(part)
        if weighted and plan.equator and rows.stop == plan.rows:
            parts[0][:, -1] *= 2
        even, odd = parts
        mirrored = slice(n - rows.stop, n - rows.start)
        if not plan.folded:
            total = even.add_(odd)
            if plan.upward:
                out[:, mirrored] = total.flip(1)
            else:
                out[:, rows] = total
            continue
        near, far = (rows, mirrored) if not plan.upward else (mirrored, rows)
        if plan.upward:
            out[:, near] = (even + odd).flip(1)
            torch.sub(even, odd, out=out[:, far])
        else:
            out[:, far] = (even - odd).flip(1)
            torch.add(even, odd, out=out[:, near])
    return out


def _forward(kind: str, x: Tensor, plan: Plan, phase: Tensor | None, shifts: tuple[int, ...]) -> Tensor:
    order = torch.stack([torch.arange(shift, shift + plan.lmax + 1, device=x.device) for shift in shifts])
    turn = None if phase is None else phase[order.clamp(0, plan.lmax)]  # of the waves, (shift, order)
    back = None if turn is None else turn.conj()
    # A real field's orders above 0 stand for two.
    single = torch.where(order == 0, 1.0, 0.5).to(x.real.dtype)
    if kind == "analysis":
        return _times(analyse(plan, x, weighted=True, norm="forward", shifts=shifts), back)
    if kind == "analysis, adjoint":
        factor = single / plan.nlon if turn is None else turn * (single / plan.nlon)
        return synthesise(plan, _times(x, factor), weighted=True, shifts=shifts)
    if kind == "synthesis":
        return synthesise(plan, _times(x, turn), weighted=False, shifts=shifts)
    factor = 1 / single if back is None else back / single
    return _times(analyse(plan, x, weighted=False, norm="backward", shifts=shifts), factor)


def _times(coefficients: Tensor, factor: Tensor | None) -> Tensor:
    """Coefficients (shift, batch, order, degree) times factors (shift, order)."""
    return coefficients if factor is None else coefficients * factor[:, None, :, None]


_ADJOINT = {
    "analysis": "analysis, adjoint",
    "analysis, adjoint": "analysis",
    "synthesis": "synthesis, adjoint",
    "synthesis, adjoint": "synthesis",
}


FUSED: Any
PROJECT: Any
EVALUATE: Any


def _outside_graphs(function: Any) -> Any:
    """Let torch.compile run a function as it is: its loops over views would only be slow to trace."""

    def call(*arguments: Any) -> Any:
        if torch.compiler.is_compiling():
            # Not sooner: it loads the compiler, which takes as long as loading torch.
            return torch.compiler.disable(function)(*arguments)  # type: ignore[no-untyped-call]
        return function(*arguments)

    return call


class _Map(torch.autograd.Function):
    """A linear map by its name; its derivative is its adjoint, so nothing has to be kept."""

    @staticmethod
    def forward(x: Tensor, kind: str, plan: Plan, phase: Tensor | None, shifts: tuple[int, ...]) -> Tensor:
        return _forward(kind, x, plan, phase, shifts)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.rest = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        kind, *rest = ctx.rest
        return FUSED(gradients[0].resolve_conj(), _ADJOINT[kind], *rest), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return FUSED(tangents[0], *ctx.rest)

    @staticmethod
    def vmap(info: Any, dims: Any, x: Tensor, kind: str, *rest: Any) -> Any:
        fields_come = kind in ("analysis", "synthesis, adjoint")
        axis, other = (0, 1) if fields_come else (1, 0)  # of the batch, before and after
        x = x.movedim(dims[0], axis)
        out = FUSED(x.flatten(axis, axis + 1), kind, *rest)
        return out.unflatten(other, x.shape[axis : axis + 2]), other


# ---------------------------------------------------------------------- rows <-> coefficients
def project(plan: Plan, even: Tensor, odd: Tensor) -> Tensor:
    """Sum over rows: sums and differences (order, row, c) -> (order, degree, c)."""
    size = plan.lmax + 1
    out = even.new_zeros(size, size, even.shape[-1])
    for block in plan.blocks:
        for parity, (waves, table) in enumerate(zip((even, odd), block.tables, strict=True)):
            if table.shape[1]:
                out[block.orders, block.degrees(parity)] = torch.bmm(table, waves[block.orders, block.rows])
    return out


def evaluate(plan: Plan, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over degrees: (order, degree, c) -> sums and differences (order, row, c)."""
    even = dense.new_zeros(dense.shape[0], plan.rows, dense.shape[-1])
    odd = torch.zeros_like(even)
    for block in plan.blocks:
        for parity, (waves, table) in enumerate(zip((even, odd), block.tables, strict=True)):
            if table.shape[1]:
                waves[block.orders, block.rows] = torch.bmm(table.mT, dense[block.orders, block.degrees(parity)])
    return even, odd


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(even: Tensor, odd: Tensor, plan: Plan) -> Tensor:
        return project(plan, even, odd)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.plan = inputs[2]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return *EVALUATE(gradients[0], ctx.plan), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return PROJECT(tangents[0], tangents[1], ctx.plan)


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(dense: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        return evaluate(plan, dense)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.plan = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return PROJECT(gradients[0], gradients[1], ctx.plan), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return EVALUATE(tangents[0], ctx.plan)


FUSED, PROJECT, EVALUATE = (_outside_graphs(function.apply) for function in (_Map, _Down, _Up))
