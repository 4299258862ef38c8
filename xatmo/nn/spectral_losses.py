r"""Losses on spectra: what a network blurs, point by point errors hardly see.

A field that is right but slightly displaced costs a point by point error twice; a smooth one costs once, so training on
it alone smooths. The losses here compare prediction p and target t scale by scale: by degree on the sphere, by radial
wavenumber in boxes. With the powers :math:`P_k` and the co-spectrum :math:`C_k` of a scale k (on the sphere
:math:`C_n = \sum_m \Re\, p_{nm} \overline{t_{nm}}` over negative and positive orders, and :math:`P_n` the same of a
field with itself):

===============  ======================================================================================================
``"power"``      mean of :math:`2 (\sqrt{1 + L_k^2} - 1)`, :math:`L_k = \ln [(P^p_k + \epsilon) / (P^t_k + \epsilon)]`:
                 amplitudes only, phases are free; a square for small differences, the absolute value for large ones,
                 so that scales without power in the target do not rule
``"coherence"``  mean of :math:`1 - \gamma_k`, :math:`\gamma_k = (C_k + \epsilon) / (a^p_k a^t_k)`,
                 :math:`a_k = \sqrt{P_k + \epsilon}`: phases only, amplitudes are free
``"weighted"``   :math:`\sum_k w_k P^{p-t}_k / \overline w`: the squared error with weights by scale,
                 :math:`w_k = k^s`, or :math:`w_k = 1 / (P^t_k + \epsilon)` with ``slope="inverse"`` (mean over k)
``"adjusted"``   :math:`\sum_k (a^p_k - a^t_k)^2 + 2 \max(P^p_k + \epsilon, P^t_k + \epsilon) (1 - \gamma_k)`: the
                 squared error with amplitude and phase apart, so that smoothing does not pay [1]_
===============  ======================================================================================================

All are zero for equal fields; ``"power"`` is zero if and only if spectra are equal. :math:`\epsilon` is a fraction
(``floor``) of the two fields' power together: scales with less are taken as empty. Work is done in float32 at least,
under autocast too. Leading dimensions (batch, channel, time) are averaged over; channels should be normalized, as
``"weighted"`` and ``"adjusted"`` have the units of squares.

References
----------
.. [1] C. Subich, S. Z. Husain, L. Separovic and J. Yang: Fixing the double penalty in data-driven weather forecasting
   through a modified spherical harmonic loss function. Proceedings of ICML, 2025 (arXiv:2501.19374).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xatmo.errors import DimensionError, MissingValueError, OptionError

if TYPE_CHECKING:
    from xatmo.nn.sphere import SphericalHarmonics

KINDS = ("power", "coherence", "weighted", "adjusted")
"""Kinds of spectral losses."""


class SphericalSpectralLoss(nn.Module):
    """A loss by degree of spherical harmonics.

    Parameters
    ----------
    transform : SphericalHarmonics
        Of the fields' grid; several losses can share one.
    kind : {"power", "coherence", "weighted", "adjusted"}
        See `xatmo.nn.spectral_losses`.
    lmin, lmax : int, optional
        Degrees that count; from 1 for ``"power"`` and ``"coherence"``, from 0 for the others, to the transform's.
    slope : float or "inverse"
        Of the weights of ``"weighted"``: degree to this power (degree 0 counts like degree 1), or one over the
        target's power.
    floor : float
        Power that does not count, as a fraction of all. Below 1e-12, float32 compares rounding errors.

    Raises
    ------
    OptionError
        If an option is unknown or the degrees are not there.

    Examples
    --------
    >>> from xatmo.nn.sphere import SphericalHarmonics
    >>> transform = SphericalHarmonics.gaussian(16, 32, lmax=15)
    >>> target = torch.randn(2, 3, 16, 32)
    >>> SphericalSpectralLoss(transform, "power")(2 * target, target)  # amplitudes are doubled: ln 4 = 1.386
    tensor(1.42)
    >>> SphericalSpectralLoss(transform, "coherence")(2 * target, target).abs() < 1e-6  # in phase
    tensor(True)
    """

    def __init__(
        self,
        transform: SphericalHarmonics,
        kind: str = "adjusted",
        *,
        lmin: int | None = None,
        lmax: int | None = None,
        slope: float | Literal["inverse"] = 1.0,
        floor: float = 1e-10,
    ) -> None:
        super().__init__()
        _check_options(kind, slope, floor)
        self.transform, self.kind, self.slope, self.floor = transform, kind, slope, floor
        self.lmin = (1 if kind in ("power", "coherence") else 0) if lmin is None else lmin
        self.lmax = transform.lmax if lmax is None else lmax
        if not 0 <= self.lmin <= self.lmax <= transform.lmax:
            message = f"degrees {self.lmin} to {self.lmax} came; wanted some of 0 to {transform.lmax}, lowest first"
            raise OptionError(message)

    def forward(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """One number from fields (..., nlat, nlon).

        Raises
        ------
        DimensionError
            If the shapes differ or do not fit the transform.
        MissingValueError
            If the target is not complete, or the weight zero somewhere: a spectrum needs the whole sphere.
        """
        each = _complete(prediction, target, weight, "the whole sphere")
        with torch.autocast(prediction.device.type, enabled=False):
            p, t = (self._coefficients(x) for x in (prediction, target))
            spectra = self._by_degree(p, p), self._by_degree(t, t), self._by_degree(p, t)
            error = self._by_degree(p - t, p - t) if self.kind == "weighted" else None
            degree = torch.arange(self.lmin, self.lmax + 1, device=p.device)
            values = _compare(self.kind, *spectra, error, degree, self.slope, self.floor)
        return _mean(values, each)

    def _coefficients(self, field: Tensor) -> Tensor:
        return self.transform.analysis(field)[..., self.lmin : self.lmax + 1, :]

    @staticmethod
    def _by_degree(a: Tensor, b: Tensor) -> Tensor:
        product = torch.view_as_real(a.resolve_conj()) * torch.view_as_real(b.resolve_conj())
        return 2 * product.sum((-2, -1)) - product[..., 0, :].sum(-1)


class BoxSpectralLoss(nn.Module):
    """A loss by radial wavenumber of boxes, patches for instance.

    Fields are detrended (least-squares plane) and tapered (Hann window without its zero ends). Wavenumbers are rings as
    wide as the coarser of the two axes' resolutions, in cycles per cell: those of isotropic energy spectra. The mean
    (ring 0) does not count, so add a loss that sees it. Cells are taken as square.

    Parameters
    ----------
    kind : {"power", "coherence", "weighted", "adjusted"}
        See `xatmo.nn.spectral_losses`.
    periodic : bool
        For boxes that are periodic both ways: neither detrended nor tapered.
    slope : float or "inverse"
        Of the weights of ``"weighted"``: wavenumber to this power, or one over the target's power.
    floor : float
        Power that does not count, as a fraction of all.

    Raises
    ------
    OptionError
        If an option is unknown.

    Examples
    --------
    >>> target = torch.randn(2, 1, 32, 32)
    >>> BoxSpectralLoss("power")(2 * target, target)  # amplitudes are doubled: ln 4 = 1.386
    tensor(1.42)
    """

    def __init__(
        self,
        kind: str = "adjusted",
        *,
        periodic: bool = False,
        slope: float | Literal["inverse"] = 1.0,
        floor: float = 1e-8,
    ) -> None:
        super().__init__()
        _check_options(kind, slope, floor)
        self.kind, self.periodic, self.slope, self.floor = kind, periodic, slope, floor

    def forward(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """One number from fields (..., ny, nx). A box counts by the mean of its weights.

        Raises
        ------
        DimensionError
            If the shapes differ, or boxes have fewer than 4 cells along an axis.
        MissingValueError
            If the target is not complete, or the weight zero somewhere: a spectrum needs whole boxes.
        """
        each = _complete(prediction, target, weight, "whole boxes")
        if min(target.shape[-2:]) < 4:
            message = f"boxes of {tuple(target.shape[-2:])} cells came; wanted 4 or more each way, for a spectrum"
            raise DimensionError(message)
        with torch.autocast(prediction.device.type, enabled=False):
            p, t = (self._waves(x) for x in (prediction, target))
            rings = _Rings(target.shape[-2], target.shape[-1], p.device, p.real.dtype)
            spectra = rings.sums(p, p), rings.sums(t, t), rings.sums(p, t)
            error = rings.sums(p - t, p - t) if self.kind == "weighted" else None
            wavenumber = torch.arange(1, rings.count, device=p.device)
            values = _compare(self.kind, *spectra, error, wavenumber, self.slope, self.floor)
        return _mean(values, each)

    def _waves(self, field: Tensor) -> Tensor:
        """Fourier coefficients whose squares sum to the window-weighted mean square."""
        field = field if field.dtype == torch.float64 else field.float()
        ny, nx = field.shape[-2:]
        if self.periodic:
            out: Tensor = torch.fft.rfft2(field, norm="forward")
            return out
        y, x = (torch.arange(n, device=field.device, dtype=field.dtype) - (n - 1) / 2 for n in (ny, nx))
        slope_y = (field.mean(-1) * y).sum(-1)[..., None, None] / y.square().sum()
        slope_x = (field.mean(-2) * x).sum(-1)[..., None, None] / x.square().sum()
        flat = field - field.mean((-2, -1), keepdim=True) - slope_y * y[:, None] - slope_x * x
        window = torch.outer(*(torch.sin(math.pi * (z + n / 2) / n).square() for z, n in ((y, ny), (x, nx))))
        spectrum: Tensor = torch.fft.rfft2(flat * (window / window.square().mean().sqrt()), norm="forward")
        return spectrum


@lru_cache(maxsize=16)
def _rings(ny: int, nx: int) -> NDArray[np.int64]:
    length = np.hypot(np.fft.fftfreq(ny)[:, None], np.fft.rfftfreq(nx))
    rings: NDArray[np.int64] = np.rint(length / max(1 / ny, 1 / nx)).astype(np.int64)
    return rings


class _Rings:
    """Rings of wavenumbers, as in isotropic spectra."""

    def __init__(self, ny: int, nx: int, device: torch.device, dtype: torch.dtype) -> None:
        rings = _rings(ny, nx)
        self.index = torch.from_numpy(rings).to(device).flatten()
        self.count = int(rings.max()) + 1
        self.twice = torch.full((nx // 2 + 1,), 2.0, device=device, dtype=dtype)  # the half that is not held
        self.twice[0] = 1
        if nx % 2 == 0:
            self.twice[-1] = 1

    def sums(self, a: Tensor, b: Tensor) -> Tensor:
        """Co-spectrum (..., ring) without ring 0."""
        product = (torch.view_as_real(a) * torch.view_as_real(b)).sum(-1) * self.twice
        out = product.new_zeros(*product.shape[:-2], self.count)
        return out.index_add(-1, self.index, product.flatten(-2))[..., 1:]


def _compare(
    kind: str,
    prediction: Tensor,
    target: Tensor,
    both: Tensor,
    error: Tensor | None,
    scale: Tensor,
    slope: float | Literal["inverse"],
    fraction: float,
) -> Tensor:
    """Loss of each field (...,) from spectra (..., scale)."""
    limits = torch.finfo(target.dtype)
    total = (prediction + target).sum(-1, keepdim=True).detach()
    floor = (total * fraction).clamp_min(limits.tiny / limits.eps)
    if error is not None:
        if slope == "inverse":
            return (error / (target + floor)).mean(-1)
        weights = scale.clamp_min(1).to(target.dtype) ** slope
        return (error * (weights / weights.mean())).sum(-1)
    p, t = prediction + floor, target + floor
    if kind == "power":
        square = torch.log(p / t).square()
        return (2 * square / (torch.sqrt(1 + square) + 1)).mean(-1)  # 2 (sqrt(1 + square) - 1), exact for small ones
    amplitudes = p.sqrt(), t.sqrt()
    apart = 1 - (both + floor) / (amplitudes[0] * amplitudes[1])
    if kind == "coherence":
        return apart.mean(-1)
    return ((amplitudes[0] - amplitudes[1]).square() + 2 * torch.maximum(p, t) * apart).sum(-1)


def _complete(prediction: Tensor, target: Tensor, weight: Tensor | None, wanted: str) -> Tensor | None:
    """Check that nothing is missing; give the mean weight of each field."""
    if prediction.shape != target.shape:
        message = f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} came; wanted the same shape"
        raise DimensionError(message)
    missing = int((~target.isfinite()).sum())
    if weight is not None:
        weight = weight.to(target.device, torch.float64 if target.dtype == torch.float64 else torch.float32)
        masked = int((~(weight > 0)).expand(target.shape).sum())
    else:
        masked = 0
    if missing or masked:
        what = f"{missing} of {target.numel()} target values are missing" if missing else f"{masked} weights are zero"
        message = f"{what}, and a spectral loss needs {wanted}; fill or avoid them, or use 'mae', 'mse' or 'gradient'"
        raise MissingValueError(message)
    return None if weight is None else weight.expand(target.shape).mean((-2, -1))


def _mean(values: Tensor, each: Tensor | None) -> Tensor:
    return values.mean() if each is None else (values * each).sum() / each.sum()


def _check_options(kind: str, slope: Any, floor: float) -> None:
    if not 0 < floor < 1:
        message = f"floor={floor!r} came; wanted a fraction of the power, between 0 and 1"
        raise OptionError(message)
    if kind not in KINDS:
        message = f"kind={kind!r} came; wanted one of {KINDS}"
        raise OptionError(message)
    number = isinstance(slope, int | float) and not isinstance(slope, bool) and math.isfinite(slope)
    if slope != "inverse" and not number:
        message = f"slope={slope!r} came; wanted a number, the weights' power of the wavenumber, or 'inverse'"
        raise OptionError(message)


_BOXES = {kind: BoxSpectralLoss(kind) for kind in KINDS}


def power(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Log-power distance of boxes: `BoxSpectralLoss` of kind ``"power"``.

    Examples
    --------
    >>> target = torch.randn(1, 1, 16, 16)
    >>> power(target, target)
    tensor(0.)
    """
    value: Tensor = _BOXES["power"](prediction, target, weight)
    return value


def coherence(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """One minus the spectral coherence of boxes: `BoxSpectralLoss` of kind ``"coherence"``.

    Examples
    --------
    >>> target = torch.randn(1, 1, 16, 16)
    >>> coherence(-target, target).round()  # in opposite phase
    tensor(2.)
    """
    value: Tensor = _BOXES["coherence"](prediction, target, weight)
    return value


def weighted(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared error of boxes, weighted by wavenumber: `BoxSpectralLoss` of kind ``"weighted"``.

    Examples
    --------
    >>> target = torch.randn(1, 1, 16, 16)
    >>> weighted(target, target)
    tensor(0.)
    """
    value: Tensor = _BOXES["weighted"](prediction, target, weight)
    return value


def adjusted(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared error of boxes with amplitude and phase apart: `BoxSpectralLoss` of kind ``"adjusted"``.

    Examples
    --------
    >>> target = torch.randn(1, 1, 16, 16)
    >>> bool(adjusted(0.5 * target, target) < adjusted(torch.zeros_like(target), target))
    True
    """
    value: Tensor = _BOXES["adjusted"](prediction, target, weight)
    return value
