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

    @property
    def place(self) -> slice:
        """Where its orders are among those of their parity."""
        first = self.orders.start // 2
        return slice(first, first + self.tables[0].shape[0])

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
def analyse(plan: Plan, field: Tensor, *, weighted: bool, norm: str) -> Tensor:
    """Sum over longitudes, then over rows: (batch, nlat, nlon) -> (batch, order, degree), complex."""
    size, batch = plan.lmax + 1, field.shape[0]
    wide = torch.complex64 if field.dtype == torch.float32 else torch.complex128
    folds = _folds(plan, batch, wide, field.device)
    for rows in plan.chunks(batch, field.element_size()):
        for target, part in zip(folds, _fold(plan, field, rows, weighted=weighted), strict=True):
            waves = torch.fft.rfft(part, norm=norm)
            for parity in (0, 1):
                target[parity, rows, : (size + 1 - parity) // 2] = waves[..., parity:size:2].permute(1, 2, 0)
    folds *= 3 - len(folds)
    out = torch.empty(batch, size, size, dtype=wide, device=field.device)
    matrices = plan.weights if weighted and plan.weights is not None and plan.weights.ndim == 4 else None
    for block in plan.blocks:
        out[:, block.orders, : block.orders.start] = 0
        count = block.tables[0].shape[0]
        for odd, (waves, table) in enumerate(zip(folds, block.tables, strict=True)):
            if not table.shape[1]:
                continue
            real = torch.view_as_real(waves[block.parity, :, block.place])  # (row, order, batch, 2)
            inner = block.rows
            real = matrices[odd, block.parity, inner] @ real.flatten(1) if matrices is not None else real[inner]
            real = real.reshape(-1, count, 2 * batch)
            target = out[:, block.orders, block.degrees(odd)]
            if 2 * batch <= _NARROW[0]:
                sums = torch.bmm(real.permute(1, 2, 0).contiguous(), table.mT).view(count, batch, 2, -1)
                torch.view_as_real(target).copy_(sums.permute(1, 0, 3, 2))
            else:
                sums = torch.bmm(table, real.permute(1, 0, 2)).view(count, -1, batch, 2)
                target.copy_(torch.view_as_complex(sums).permute(2, 0, 1))
    return out


def synthesise(plan: Plan, coefficients: Tensor, *, weighted: bool) -> Tensor:
    """Sum over degrees, then over orders: (batch, order, degree) -> (batch, nlat, nlon); orders above 0 count twice."""
    batch = coefficients.shape[0]
    folds = _folds(plan, batch, coefficients.dtype, coefficients.device)
    if len(folds) == 1:  # sums of both kinds of degrees go to the same rows
        folds = [folds[0], torch.empty_like(folds[0])]
    matrices = plan.weights if weighted and plan.weights is not None and plan.weights.ndim == 4 else None
    for block in plan.blocks:
        rows = block.rows
        for odd, (waves, table) in enumerate(zip(folds, block.tables, strict=True)):
            target = torch.view_as_real(waves[block.parity, :, block.place]).flatten(2)  # (row, order, 2 batch)
            if not table.shape[1]:
                target.zero_()
                continue
            source = coefficients[:, block.orders, block.degrees(odd)].permute(1, 2, 0).contiguous()
            real = torch.view_as_real(source).flatten(2)  # (order, degree, 2 batch)
            if 2 * batch <= _NARROW[1]:
                sums = torch.bmm(real.mT, table).permute(2, 0, 1)
            else:
                sums = torch.bmm(table.mT, real).permute(1, 0, 2)
            if matrices is not None:
                transposed = matrices[odd, block.parity, rows].mT
                target.copy_((transposed @ sums.flatten(1)).view(target.shape))
            else:
                target[: rows.start] = 0
                target[rows] = sums
                target[rows.stop :] = 0
    return _unfold(plan, folds, weighted=weighted)


def _folds(plan: Plan, batch: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Space for waves: sums (and differences) of the hemispheres, (parity, row, order, batch) each."""
    shape = (2, plan.rows, (plan.lmax + 2) // 2, batch)
    return [torch.empty(shape, dtype=dtype, device=device) for _ in range(2 if plan.folded else 1)]


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
                lines[..., parity:size:2] = waves[parity, rows, : (size + 1 - parity) // 2].permute(2, 0, 1)
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


def _turned(coefficients: Tensor, phase: Tensor | None, factor: float | Tensor | None) -> Tensor:
    """Coefficients (batch, order, degree) times a factor for each order; themselves where there is nothing to do."""
    if phase is None and factor is None:
        return coefficients
    both: Any = 1 if factor is None else factor
    if phase is not None:
        both = both * phase
    return coefficients * (both[:, None] if isinstance(both, Tensor) else both)


def _once(plan: Plan, like: Tensor, *, above: float) -> Tensor:
    factor = torch.full((plan.lmax + 1,), above, dtype=like.real.dtype, device=like.device)
    factor[0] = 1
    return factor


def _forward(kind: str, x: Tensor, plan: Plan, phase: Tensor | None) -> Tensor:
    back = None if phase is None else phase.conj()
    if kind == "analysis":
        return _turned(analyse(plan, x, weighted=True, norm="forward"), back, None)
    if kind == "analysis, adjoint":
        scaled = _turned(x, phase, _once(plan, x, above=0.5) / plan.nlon)
        return synthesise(plan, scaled, weighted=True)
    if kind == "synthesis":
        return synthesise(plan, _turned(x, phase, None), weighted=False)
    raw = analyse(plan, x, weighted=False, norm="backward")
    return _turned(raw, back, _once(plan, raw, above=2.0))


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
    def forward(x: Tensor, kind: str, plan: Plan, phase: Tensor | None) -> Tensor:
        return _forward(kind, x, plan, phase)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.rest = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        kind, plan, phase = ctx.rest
        return FUSED(gradients[0].resolve_conj(), _ADJOINT[kind], plan, phase), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return FUSED(tangents[0], *ctx.rest)

    @staticmethod
    def vmap(info: Any, dims: Any, x: Tensor, kind: str, plan: Plan, phase: Tensor | None) -> Any:
        x = x.movedim(dims[0], 0)
        out = FUSED(x.flatten(0, 1), kind, plan, phase)
        return out.unflatten(0, x.shape[:2]), 0


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
