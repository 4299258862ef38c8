"""Spherical-harmonic transforms in torch: exact, differentiable, for one hemisphere's tables in both directions.

Conventions are those of `xatmo.spectral`: X(n, m) for m >= 0, half the integral of P^2 over mu = sin(latitude) equal
to 1, no Condon-Shortley phase, axes (degree, order).

Three things keep the tables small: rows of the two hemispheres are folded at the equator (a function is even or odd in
mu as degree - order is), only degrees >= order are held, in blocks of orders, and vector transforms use the scalar
tables (m P / cos(lat) and dP / dlat of order m are combinations of functions of orders m - 1 and m + 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xatmo import _quadrature
from xatmo.errors import DimensionError, OptionError
from xatmo.nn import _legendre, _products, points
from xatmo.nn._vectors import vector_factors


class SphericalHarmonics(nn.Module):
    """Analysis and synthesis of scalar and vector fields on one grid.

    Parameters
    ----------
    colatitude : array (nlat,)
        Radians, increasing (rows from north to south) or decreasing.
    longitude : array (nlon,), or None
        Radians, increasing. Analysis needs them to go once around in equal steps; synthesis takes any. None for rows
        alone: `legendre_synthesis`, `legendre_analysis` and `at_points` work, the four transforms do not.
    lmax : int
        Highest degree.
    weights : array (nlat,), optional
        Quadrature weights by row that sum to 1. Not needed for Gauss-Legendre rows, nor for equally spaced ones with or
        without poles, whose exact rule is used: degree nlat - 2 with poles, nlat - 1 without. On other rows without
        weights only synthesis works.
    dtype : torch.dtype
        float32 or float64; tables are computed in float64 in any case.

    Notes
    -----
    Tables hold about ``lmax**2 * nlat / 5`` numbers: 0.32 GB in float32 for lmax 719 on 721 rows, 1.7 GB for lmax 1279
    on 1280 Gaussian rows; they are made in some 3 and 12 seconds, a block at a time in float64. They are neither
    parameters nor buffers: not in ``state_dict``, not broadcast between processes. They follow the module to another
    device; ``.double()`` computes them anew, ``.half()`` and ``.bfloat16()`` leave them in float32. Every method is
    linear, can be differentiated (any number of times), and works on any leading dimensions.

    Fields and coefficients of any precision are taken; work is done, and results come, in the transform's own
    precision, also under autocast: a bfloat16 field gives complex64 coefficients and those a float32 field.

    Raises
    ------
    OptionError
        If ``lmax`` or ``dtype`` cannot be used.
    DimensionError
        If the shapes do not fit.

    Examples
    --------
    >>> transform = SphericalHarmonics.gaussian(8, 16, lmax=7, dtype=torch.float64)
    >>> x = torch.cos(transform.colatitude)[:, None].expand(8, 16)
    >>> (transform.analysis(x)[1, 0].real * 3**0.5).item()
    1.0
    >>> torch.allclose(transform.synthesis(transform.analysis(x)), x)
    True
    """

    def __init__(
        self,
        colatitude: Any,
        longitude: Any,
        lmax: int,
        *,
        weights: Any = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if dtype not in (torch.float32, torch.float64):
            message = f"dtype={dtype} came; wanted torch.float32 or torch.float64"
            raise OptionError(message)
        if lmax < 0:
            message = f"lmax={lmax} came; wanted 0 or more, the highest degree kept"
            raise OptionError(message)
        rows = _numbers(colatitude)
        columns = _numbers([] if longitude is None else longitude)
        if rows.ndim != 1 or columns.ndim != 1:
            message = f"colatitude {rows.shape} and longitude {columns.shape} came; wanted one dimension each"
            raise DimensionError(message)
        self.lmax = lmax
        self.dtype = dtype
        self.nlat, self.nlon = rows.size, columns.size
        self.upward = bool(rows[0] > rows[-1])
        self._rows, self._columns = rows, columns
        self._rule: str | None = None
        self._weights = self._quadrature(rows[::-1] if self.upward else rows, weights)
        self._companion: SphericalHarmonics | None = None
        with torch.inference_mode(False):  # what is made here must serve training, too
            self._build(dtype)

    @classmethod
    def gaussian(cls, nlat: int, nlon: int, lmax: int, *, dtype: torch.dtype = torch.float32) -> SphericalHarmonics:
        """Make the transform of a Gaussian grid, north to south, from 0 degrees east; exact to ``lmax = nlat - 1``."""
        colatitude, _ = _quadrature.gauss_legendre(nlat)
        return cls(colatitude, 2 * np.pi * np.arange(nlon) / nlon, lmax, dtype=dtype)

    @classmethod
    def regular(
        cls, nlat: int, nlon: int, lmax: int, *, poles: bool = True, dtype: torch.dtype = torch.float32
    ) -> SphericalHarmonics:
        """Make the transform of an equally spaced grid, north to south, from 0 degrees east.

        Exact to ``lmax = nlat - 2`` with rows on the poles (ERA5: 721 x 1440), to ``nlat - 1`` without.
        """
        colatitude, _ = (_quadrature.clenshaw_curtis if poles else _quadrature.fejer1)(nlat)
        return cls(colatitude, 2 * np.pi * np.arange(nlon) / nlon, lmax, dtype=dtype)

    # ------------------------------------------------------------------ construction
    def _quadrature(self, down: NDArray[np.float64], weights: Any) -> tuple[NDArray[np.float64], ...] | None:
        """Choose the rule, rows from north to south: nothing, a weight for each row, or matrices by parity of order."""
        n = self.nlat
        self.folded = bool(np.allclose(down + down[::-1], np.pi, rtol=0, atol=1e-9))
        if n > 2 and _legendre.is_clenshaw_curtis(down):
            self._rule = "poles"
        elif _legendre.is_fejer(down):
            self._rule = "no poles"
        if weights is not None:
            given = _numbers(weights)
            if given.shape != (n,):
                message = f"weights of shape {given.shape} came; wanted one for each of the {n} rows"
                raise DimensionError(message)
            self.folded = self.folded and bool(np.allclose(given, given[::-1], rtol=1e-9, atol=0))
            return (given[::-1] if self.upward else given,)
        if self._rule is not None:
            return _legendre.exact_rule(n, poles=self.poles)
        nodes, given = _quadrature.gauss_legendre(n)
        return (given,) if np.allclose(down, nodes, rtol=0, atol=1e-9) else None

    def _build(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.colatitude = torch.tensor(self._rows, dtype=dtype)
        order = np.arange(self.lmax + 1)
        complex_type = torch.complex64 if dtype == torch.float32 else torch.complex128
        self.phase: Tensor | None = None
        self.waves: Tensor | None = None  # real and imaginary parts of the waves, (2 orders, nlon), where no FFT serves
        self.around = False
        if self.nlon:
            first = self._columns[0]
            even = first + 2 * np.pi * np.arange(self.nlon) / self.nlon
            self.around = bool(np.allclose(self._columns, even, rtol=0, atol=0.1 * np.pi / self.nlon))
            if self.around and first % (2 * np.pi) != 0:
                self.phase = torch.tensor(np.exp(1j * order * first), dtype=complex_type)
            if not self.around:
                waves = np.exp(1j * np.outer(order, self._columns)) * np.where(order == 0, 1, 2)[:, None]
                self.waves = torch.tensor(np.concatenate([waves.real, -waves.imag]), dtype=dtype)
        down = self._rows[::-1] if self.upward else self._rows
        rows = down[: (self.nlat + 1) // 2] if self.folded else down
        cosine, sine = np.cos(rows), np.sin(rows)
        if self.folded and self.nlat % 2:
            cosine[-1], sine[-1] = 0, 1
        sine[np.abs(sine) < 1e-15] = 0  # sin(pi) is not quite zero
        weights = None
        if self._weights is not None:
            folds = [_legendre.fold(w) if self.folded else (w, w) for w in self._weights]
            numbers = np.array([[f[k] for f in folds] for k in (0, 1)])
            weights = torch.tensor(numbers if numbers.ndim == 4 else numbers[0], dtype=dtype)
        blocks = _products.make_blocks(cosine, sine, self.lmax, dtype)
        self._plan = _products.Plan(self.nlat, self.nlon, self.lmax, self.folded, self.upward, weights, blocks)
        self._factors: tuple[Tensor, ...] | None = None
        self._series: tuple[Tensor, Tensor] | None = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SphericalHarmonics:
        """Move or convert the tables with the module.

        They are no buffers: nothing of them is saved, broadcast or averaged. Half precision leaves them in float32;
        what goes from float32 to float64 is computed anew.
        """
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        probe = fn(torch.zeros(1, dtype=self.dtype, device=self.device))
        target = probe.dtype if probe.dtype in (torch.float32, torch.float64) else self.dtype
        with torch.inference_mode(False):
            if target == torch.float64 and self.dtype == torch.float32:
                self._build(target)
            wide = torch.complex64 if target == torch.float32 else torch.complex128

            def move(tensor: Tensor) -> Tensor:
                if probe.dtype == tensor.dtype:
                    return fn(tensor)  # also what shares or pins memory
                return tensor.to(probe.device, wide if tensor.is_complex() else target)

            self.dtype = target
            self._plan = self._plan.map(move)
            self.colatitude = move(self.colatitude)
            self.phase = None if self.phase is None else move(self.phase)
            self.waves = None if self.waves is None else move(self.waves)
            self._factors = None
            self._series = None
        return self

    @property
    def device(self) -> torch.device:
        """Where the tables are."""
        return self._plan.device

    @property
    def table_bytes(self) -> int:
        """Memory that the tables and weights take."""
        return sum(t.numel() * t.element_size() for t in self._plan.tensors)

    # ------------------------------------------------------------------ the four transforms
    def analysis(self, field: Tensor) -> Tensor:
        """Coefficients of a scalar field.

        Parameters
        ----------
        field : tensor (..., nlat, nlon)

        Returns
        -------
        tensor (..., lmax + 1, lmax + 1)
            Complex, (degree, order), zero where order > degree.
        """
        with torch.autocast(field.device.type, enabled=False):
            self._check_field(field)
            flat = field.reshape(-1, self.nlat, self.nlon).to(self.dtype)
            dense: Tensor = _products.FUSED(flat, "analysis", self._plan, self.phase, (0,))[0]
            return dense.reshape(*field.shape[:-2], *dense.shape[1:]).mT

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Field values, (..., nlat, nlon), from coefficients (..., lmax + 1, lmax + 1): inverse of `analysis`."""
        with torch.autocast(coefficients.device.type, enabled=False):
            dense, lead = self._by_order(coefficients)  # (batch, order, degree)
            if self.around and 2 * self.lmax < self.nlon:
                field: Tensor = _products.FUSED(dense[None], "synthesis", self._plan, self.phase, (0,))
            else:
                field = self._zonal_sum(self.legendre_synthesis(coefficients).mT)
            return field.reshape(*lead, self.nlat, self.nlon)

    def analysis_vector(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Rotational and divergent coefficients (spin 1) of a vector field, in its own units.

        With ``s = sqrt(n (n + 1)) / a``, vorticity is ``s * rotational`` and divergence ``s * divergent``.

        Parameters
        ----------
        u, v : tensor (..., nlat, nlon)
            Eastward and northward component.

        Returns
        -------
        rotational, divergent : tensor (..., lmax + 1, lmax + 1)
        """
        if u.shape != v.shape:
            message = f"u of shape {tuple(u.shape)} and v of shape {tuple(v.shape)} came; wanted the same"
            raise DimensionError(message)
        with torch.autocast(u.device.type, enabled=False):
            self._check_field(u)
            lead = u.shape[:-2]
            flat = torch.stack([x.reshape(-1, self.nlat, self.nlon).to(self.dtype) for x in (u, v)])
            # Functions of order k serve the waves of orders k + 1 ("above") and k - 1 ("below").
            dense = _products.FUSED(flat.flatten(0, 1), "analysis", self._plan, self.phase, (1, -1))
            above, below = dense.unflatten(1, flat.shape[:2])  # (component, batch, order of the function, degree)
            zero = torch.zeros_like(above[..., :1, :])
            from_above = torch.cat([zero, above[..., :-1, :]], -2)  # at the wave's own order
            from_below = torch.cat([below[..., 1:, :], zero], -2)
            slope_above, slope_below, ratio_above, ratio_below = self._vector_factors(u.device)
            slope = slope_above * from_above + slope_below * from_below
            zero = torch.zeros_like(from_above[..., :1])
            ratio = torch.cat([zero, ratio_above * from_above[..., :-1] + ratio_below * from_below[..., :-1]], -1)
            rotational = slope[0] + 1j * ratio[1]
            divergent = 1j * ratio[0] - slope[1]
            return tuple(x.reshape(*lead, *x.shape[1:]).mT for x in (rotational, divergent))  # type: ignore[return-value]

    def synthesis_vector(self, rotational: Tensor, divergent: Tensor) -> tuple[Tensor, Tensor]:
        """Eastward and northward components, (..., nlat, nlon) each: inverse of `analysis_vector`."""
        with torch.autocast(rotational.device.type, enabled=False):
            if self.around and 2 * self.lmax < self.nlon:
                both, lead = self._vector_functions(rotational, divergent)
                fields = _products.FUSED(both.flatten(1, 2), "synthesis", self._plan, self.phase, (1, -1))
                u, v = fields.reshape(2, *lead, self.nlat, self.nlon)
            else:
                u, v = (self._zonal_sum(x) for x in self._vector_waves(rotational, divergent))
            return u, v

    def _vector_functions(self, rotational: Tensor, divergent: Tensor) -> tuple[Tensor, torch.Size]:
        """Coefficients of scalar functions in a vector field's waves, and the leading shape.

        (above or below, component, batch, order of the function, degree): the wave's order is one above the function's,
        or one below.
        """
        if rotational.shape != divergent.shape:
            came = f"rotational {tuple(rotational.shape)} and divergent {tuple(divergent.shape)}"
            message = f"{came} came; wanted the same shape"
            raise DimensionError(message)
        curl, lead = self._by_order(rotational)
        spread, _ = self._by_order(divergent)
        slope_above, slope_below, ratio_above, ratio_below = self._vector_factors(curl.device)
        sources = torch.stack([curl, -spread])  # of u and v through dP / dlat
        others = -1j * torch.stack([spread, curl])[..., 1:]  # through m P / cos(lat), one degree up
        zero = torch.zeros_like(sources[..., :1])
        above = slope_above * sources + torch.cat([ratio_above * others, zero], -1)
        below = slope_below * sources + torch.cat([ratio_below * others, zero], -1)
        zero = torch.zeros_like(above[..., :1, :])
        both = torch.stack(
            [torch.cat([above[..., 1:, :], zero], -2), torch.cat([zero, below[..., :-1, :]], -2)]
        )  # (above or below, component, batch, order of the function, degree)
        return both, lead

    def _vector_waves(self, rotational: Tensor, divergent: Tensor) -> Tensor:
        """Waves of u and v, (2, ..., nlat, order)."""
        with torch.autocast(rotational.device.type, enabled=False):
            both, lead = self._vector_functions(rotational, divergent)
            waves = self._evaluate(torch.view_as_real(both).permute(3, 4, 0, 1, 2, 5).flatten(2))
            waves = waves.reshape(self.lmax + 1, self.nlat, 2, 2, -1, 2).permute(2, 3, 4, 1, 0, 5).contiguous()
            above, below = torch.view_as_complex(waves)  # (component, batch, nlat, order of the function)
            zero = torch.zeros_like(above[..., :1])
            total = torch.cat([zero, above[..., :-1]], -1) + torch.cat([below[..., 1:], zero], -1)
            return total.reshape(2, *lead, self.nlat, self.lmax + 1)

    # ------------------------------------------------------------------ along latitude only
    def legendre_synthesis(self, coefficients: Tensor) -> Tensor:
        r"""Waves along the rows: the sum over degrees alone.

        .. math:: w_m(\theta) = \sum_{n \ge m} X_{nm} P_{nm}(\cos \theta)

        A row's values at longitudes l are ``w_0.real + 2 * sum((w_m * exp(1j * m * l)).real for m >= 1)``: that is how
        rows with their own numbers of columns (reduced grids, HEALPix) are served.

        Parameters
        ----------
        coefficients : tensor (..., lmax + 1, lmax + 1)
            (degree, order).

        Returns
        -------
        tensor (..., lmax + 1, nlat)
            Complex, (order, row), rows as in ``colatitude``.

        Examples
        --------
        >>> transform = SphericalHarmonics([0.5, 1.0], None, lmax=1, dtype=torch.float64)
        >>> one = torch.zeros(2, 2, dtype=torch.complex128)
        >>> one[1, 0] = 1 / 3**0.5
        >>> transform.legendre_synthesis(one).real[0]  # cos(colatitude)
        tensor([0.8776, 0.5403], dtype=torch.float64)
        """
        with torch.autocast(coefficients.device.type, enabled=False):
            dense, lead = self._by_order(coefficients)
            waves = self._evaluate(torch.view_as_real(dense).permute(1, 2, 0, 3).flatten(2))
            waves = waves.reshape(*waves.shape[:2], -1, 2).permute(2, 0, 1, 3).contiguous()
            return torch.view_as_complex(waves).reshape(*lead, self.lmax + 1, self.nlat)

    def legendre_synthesis_vector(self, rotational: Tensor, divergent: Tensor) -> tuple[Tensor, Tensor]:
        """Waves of the eastward and northward component along the rows, (..., lmax + 1, nlat) complex each.

        See `legendre_synthesis` for how they are summed, `synthesis_vector` for the coefficients.
        """
        u, v = self._vector_waves(rotational, divergent).mT
        return u, v

    def legendre_analysis(self, waves: Tensor, *, weighted: bool = True) -> Tensor:
        r"""Coefficients from waves along the rows: the sum over rows alone.

        .. math:: X_{nm} = \sum_j q_j w_m(\theta_j) P_{nm}(\cos \theta_j)

        Parameters
        ----------
        waves : tensor (..., lmax + 1, nlat)
            Complex, (order, row): means of the row's values times ``exp(-1j * m * l)``.
        weighted : bool
            With the quadrature q of the rows; without it, q is 1, and this is the adjoint of `legendre_synthesis`.

        Returns
        -------
        tensor (..., lmax + 1, lmax + 1)
            Complex, (degree, order), zero where order > degree.

        Raises
        ------
        DimensionError
            If the shape does not fit.
        OptionError
            If ``weighted``, and there are no quadrature weights.

        Examples
        --------
        >>> transform = SphericalHarmonics.gaussian(8, 16, lmax=7, dtype=torch.float64)
        >>> one = torch.ones(8, 8, dtype=torch.complex128).tril()
        >>> torch.allclose(transform.legendre_analysis(transform.legendre_synthesis(one)), one)
        True
        """
        if waves.shape[-2:] != (self.lmax + 1, self.nlat):
            message = f"waves of shape {tuple(waves.shape)} came; wanted (..., {self.lmax + 1}, {self.nlat})"
            raise DimensionError(message)
        if weighted and self._weights is None:
            message = "these rows have no quadrature weights; give weights=, or ask for weighted=False (plain sums)"
            raise OptionError(message)
        with torch.autocast(waves.device.type, enabled=False):
            wide = torch.complex64 if self.dtype == torch.float32 else torch.complex128
            lead = waves.shape[:-2]
            flat = waves.reshape(-1, *waves.shape[-2:]).to(wide)
            columns = torch.view_as_real(flat).permute(1, 2, 0, 3).flatten(2)
            dense = self._project(columns, weighted=weighted)
            dense = dense.reshape(*dense.shape[:2], -1, 2).permute(2, 0, 1, 3).contiguous()
            return torch.view_as_complex(dense).reshape(*lead, *dense.shape[1:3]).mT

    # ------------------------------------------------------------------ at scattered points
    @property
    def poles(self) -> bool:
        """Whether the first and last row lie on the poles."""
        return self._rule == "poles"

    def equal_rows(self, lmax: int) -> bool:
        """Tell whether rows are equally spaced, and enough for `lmax`."""
        return self._rule is not None and lmax <= self.nlat - (2 if self.poles else 1)

    def companion(self) -> SphericalHarmonics:
        """Give the transform of the same degree on equally spaced rows without poles; it is made once."""
        if self._companion is None:
            with torch.inference_mode(False):
                rows, _ = _quadrature.fejer1(max(self.lmax + 1, 2))
                self._companion = SphericalHarmonics(rows, None, self.lmax, dtype=self.dtype)
        return self._companion.to(self.device)

    def _on_equal_rows(self) -> SphericalHarmonics:
        """Give a transform of the same degree on equally spaced rows: itself where it is one."""
        return self if self.equal_rows(self.lmax) else self.companion()

    def series_matrices(self) -> tuple[Tensor, Tensor]:
        """Matrices, (term, row), from values on equally spaced rows to cosine and to sine series in colatitude."""
        if self._series is None:
            matrices = _legendre.series(self.nlat, poles=self.poles)
            rows = slice(None, None, -1 if self.upward else 1)
            with torch.inference_mode(False):
                cosine, sine = (torch.tensor(m[:, rows].copy(), dtype=self.dtype).to(self.device) for m in matrices)
            self._series = cosine, sine
        return self._series

    def at_points(self, coefficients: Tensor, colatitude: Any, longitude: Any, *, block: int | None = None) -> Tensor:
        """Value of the harmonic sum at scattered points, whatever this transform's grid.

        Parameters
        ----------
        coefficients : tensor (..., lmax + 1, lmax + 1)
            (degree, order).
        colatitude, longitude : tensor or array (npoints,)
            Radians. Derivatives with respect to them work, too.
        block : int, optional
            Points at a time; by default as many as take some 64 MB.

        Returns
        -------
        tensor (..., npoints)

        Notes
        -----
        In colatitude, waves of even order are cosine series and those of odd order sine series, of as many terms as
        there are degrees. The series come from the waves at equally spaced rows, exactly; their sums at the points are
        matrix products, ``4 * lmax**2`` operations for each point and field. Tables for equally spaced rows are made
        on first use if the grid's own rows are others.

        Examples
        --------
        >>> transform = SphericalHarmonics.gaussian(8, 16, lmax=7, dtype=torch.float64)
        >>> x = torch.cos(transform.colatitude)[:, None].expand(8, 16)
        >>> at = transform.at_points(transform.analysis(x), torch.tensor([0.5]), torch.tensor([3.0]))
        >>> torch.allclose(at, torch.cos(torch.tensor([0.5])).double())
        True
        """
        place = points.places(colatitude, longitude, coefficients.device)
        rows = self._on_equal_rows()
        with torch.autocast(coefficients.device.type, enabled=False):
            waves = rows.legendre_synthesis(coefficients)
            return points.values(waves, rows.series_matrices(), *place, poles=rows.poles, block=block)

    def at_points_vector(
        self, rotational: Tensor, divergent: Tensor, colatitude: Any, longitude: Any, *, block: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Eastward and northward component at scattered points: see `at_points` and `synthesis_vector`.

        At a pole, east and north are those of the meridian of the given longitude.
        """
        place = points.places(colatitude, longitude, rotational.device)
        rows = self._on_equal_rows()
        with torch.autocast(rotational.device.type, enabled=False):
            waves = torch.stack(rows.legendre_synthesis_vector(rotational, divergent))
            u, v = points.values(waves, rows.series_matrices(), *place, poles=rows.poles, vector=True, block=block)
            return u, v

    # ------------------------------------------------------------------ along longitude
    def _zonal_waves(self, field: Tensor) -> Tensor:
        """Fourier coefficients of the rows, (batch, nlat, order)."""
        self._check_field(field)
        waves: Tensor = torch.fft.rfft(field.to(self.dtype), norm="forward")[..., : self.lmax + 1]
        if self.phase is not None:
            waves = waves * self.phase.conj()
        return waves.reshape(-1, self.nlat, self.lmax + 1)

    def _check_field(self, field: Tensor) -> None:
        if field.shape[-2:] != (self.nlat, self.nlon):
            message = f"a field of shape {tuple(field.shape)} came; wanted (..., {self.nlat}, {self.nlon})"
            raise DimensionError(message)
        if self._weights is None or not self.around or 2 * self.lmax >= self.nlon:
            message = (
                f"this grid of {self.nlat} x {self.nlon} points allows synthesis only at lmax={self.lmax}: analysis "
                "needs quadrature weights, columns that go around in equal steps, and nlon > 2 lmax"
            )
            raise OptionError(message)

    def _zonal_sum(self, waves: Tensor) -> Tensor:
        """Rows from their Fourier coefficients (..., order)."""
        if not self.nlon:
            message = "this transform has no columns (longitude=None); use legendre_synthesis or at_points"
            raise OptionError(message)
        if self.waves is not None:
            return torch.cat([waves.real, waves.imag], -1) @ self.waves
        if self.phase is not None:
            waves = waves * self.phase
        times = 2 * self.lmax // self.nlon + 1  # finer columns hold the waves that these columns cannot
        rows: Tensor = torch.fft.irfft(waves, n=times * self.nlon, norm="forward")
        return rows[..., ::times] if times > 1 else rows

    def _by_order(self, coefficients: Tensor) -> tuple[Tensor, torch.Size]:
        size = self.lmax + 1
        if coefficients.shape[-2:] != (size, size):
            message = f"coefficients of shape {tuple(coefficients.shape)} came; wanted (..., {size}, {size})"
            raise DimensionError(message)
        wide = torch.complex64 if self.dtype == torch.float32 else torch.complex128
        return coefficients.mT.reshape(-1, size, size).to(wide).resolve_conj(), coefficients.shape[:-2]

    # ------------------------------------------------------------------ along latitude
    def _project(self, waves: Tensor, *, weighted: bool = True) -> Tensor:
        """Half the integral of waves times functions over mu, or plain sums: (order, nlat, c) -> (order, degree, c)."""
        if self.upward:
            waves = waves.flip(1)
        if self.folded:
            half = (self.nlat + 1) // 2
            north, south = waves[:, :half], waves[:, self.nlat - half :].flip(1)
            even, odd = north + south, north - south
            if not weighted and self._plan.equator:
                middle = even.new_ones(half)
                middle[-1] = 0.5  # the equator, in both hemispheres
                even = even * middle[:, None]
        else:
            even = odd = waves
        weights = self._plan.weights
        if weighted and weights is not None:
            if weights.ndim == 2:
                even, odd = (x * weights[0, :, None] for x in (even, odd))
            else:
                even, odd = (self._weigh(x, w) for x, w in zip((even, odd), weights, strict=True))
        dense: Tensor = _products.PROJECT(even, odd, self._plan)
        return dense

    @staticmethod
    def _weigh(waves: Tensor, matrices: Tensor) -> Tensor:
        """Apply a matrix to the rows of even orders, another to those of odd orders."""
        parts = [matrices[p] @ waves[p::2] for p in (0, 1)]
        if waves.shape[0] % 2:
            parts[1] = torch.cat([parts[1], torch.zeros_like(parts[0][:1])])
        return torch.stack(parts, 1).flatten(0, 1)[: waves.shape[0]]

    def _evaluate(self, dense: Tensor) -> Tensor:
        """Sum of functions times coefficients: (order, degree, c) -> (order, nlat, c)."""
        even, odd = _products.EVALUATE(dense, self._plan)
        if self.folded:
            south = (even - odd)[:, : self.nlat // 2].flip(1)
            waves = torch.cat([even + odd, south], 1)
        else:
            waves = even + odd
        return waves.flip(1) if self.upward else waves

    def _vector_factors(self, device: torch.device) -> tuple[Tensor, ...]:
        if self._factors is None:
            with torch.inference_mode(False):  # what is kept must serve training, too
                self._factors = tuple(f.to(self.dtype) for f in vector_factors(self.lmax, device))
        return self._factors


def _numbers(values: Any) -> NDArray[np.float64]:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.array(values, dtype=np.float64)
