"""The command line: ``xatmo demo``, ``config``, ``train``, ``apply``, ``evaluate``, ``compare``, ``extract`` and more.

Each command says what it did, and shows progress on long work. What is wrong with the input ends it with one line and
an exit status that is not zero; ``--debug`` shows the traceback instead.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Spherical harmonics, patches, super-resolution, variational interpolation and forecasts for fields on the "
    "sphere.",
)

Input = Annotated[Path, typer.Argument(help="netCDF, Zarr or GRIB", show_default=False)]
Variable = Annotated[str | None, typer.Option("--variable", "-v", help="only this variable")]
StepFile = Annotated[
    Path,
    typer.Argument(help="YAML, as `xatmo config STEP` prints it, or of a whole experiment", show_default=False),
]
Replace = Annotated[
    bool, typer.Option("--overwrite", help="replace a result of other settings, once the new one is complete")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what is at OUTPUT")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 when done, 1 on an error, 2 on a wrong command, 130 when interrupted.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows ``xatmo``; taken from the command line unless given.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"] or ["--help"]  # wherever it stands
    try:
        status = app(words, prog_name="xatmo", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except SystemExit as error:
        if error.code == 128 + signal.SIGTERM:
            _fail("ended by SIGTERM; the same command continues where it stopped", 128 + signal.SIGTERM)
        raise
    except Exception as error:
        if debug:
            raise
        _fail(_in_one_line(error), int(getattr(error, "exit_code", 1)))
    if status == 130:  # typer's own word for an interruption
        _fail("interrupted; the same command continues where it stopped", 130)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> None:
    typer.echo(f"xatmo: {message}", err=True)
    sys.exit(status)


def _in_one_line(error: Exception) -> str:
    """Say what went wrong; name the kind of error only where the message was not written for a reader."""
    from xatmo.errors import XatmoError

    format_message = getattr(error, "format_message", None)  # a wrong command or option
    if format_message is not None:
        return f"{' '.join(str(format_message()).split())} (xatmo --help lists the commands)"
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"no such file or folder: {error.filename}"
    text = " ".join(str(error).split())
    if isinstance(error, XatmoError | OSError) and text:
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
) -> None:
    """Fields on the sphere: from an archive to a learned or variational product."""
    del debug  # taken out of the arguments by `main`
    if version:
        from xatmo import __version__

        typer.echo(f"xatmo {__version__}")
        raise typer.Exit


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for figures, scores and the model")] = Path(
        "demo"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="smaller fields and a shorter training: within a minute")
    ] = False,
    input: Annotated[Path | None, typer.Option("--input", "-i", help="your own field: netCDF, Zarr or GRIB")] = None,
    variable: Variable = None,
) -> None:
    """Run the whole chain, on generated fields or on your own, and print scores and figures."""
    from xatmo import demo as chain
    from xatmo.cli import files

    own = None if input is None else files.one_variable(files.open_fields(input), variable, input)
    chain.run(output, quick=quick, field=own)


@app.command()
def config(
    task: Annotated[
        str, typer.Argument(help="for instance SuperResolver; or extract, preprocess, postprocess", show_default=False)
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="write to this file")] = None,
) -> None:
    """Print a commented YAML file with every setting of a task, or of a step of an experiment, and its default."""
    from xatmo.cli import configuration, experiments

    text = experiments.template(task) if task in experiments.STEPS else configuration.template(task)
    if output is None:
        typer.echo(text, nl=False)
        return
    if output.exists():
        message = f"{output} exists; choose another name or remove it"
        raise FileExistsError(message)
    output.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {output}")


@app.command()
def extract(config: StepFile, overwrite: Replace = False) -> None:
    """Write the region, variables and times of an experiment from an archive to one Zarr store."""
    from xatmo.cli import experiments

    typer.echo(f"extracted {experiments.run('extract', config, overwrite=overwrite, note=typer.echo)}")


@app.command()
def preprocess(config: StepFile, overwrite: Replace = False) -> None:
    """Divide data into training, validation and test; work out statistics and climatology of the training part."""
    from xatmo.cli import experiments

    path = experiments.run("preprocess", config, overwrite=overwrite, note=typer.echo)
    experiments.show_splits(path, typer.echo)
    typer.echo(f"prepared {path}")


@app.command()
def postprocess(config: StepFile, overwrite: Replace = False) -> None:
    """Forecast the test part with a trained model and simple ones beside it; score by lead time, with intervals."""
    from xatmo.cli import experiments

    path = experiments.run("postprocess", config, overwrite=overwrite, note=typer.echo)
    experiments.show_scores(path)
    typer.echo(f"wrote {path}; compare it: xatmo compare {path} --html report.html")


@app.command()
def train(
    task: Annotated[str, typer.Argument(help="for instance SuperResolver", show_default=False)],
    config: Annotated[Path, typer.Argument(help="YAML, as `xatmo config TASK` prints it", show_default=False)],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="begin anew, where a training on prepared data has other settings")
    ] = False,
) -> None:
    """Train a task from a configuration, and save it; the same command continues an interrupted training."""
    from xatmo.cli import configuration

    wanted = configuration.read(task, config)
    typer.echo(f"training {wanted.task_name} on {wanted.input}")
    trained = configuration.train(wanted, overwrite=overwrite, note=typer.echo)
    trained.save(wanted.output)
    history = trained.history
    if len(history):  # simple forecasts are not trained
        last = history.iloc[-1]
        typer.echo("last step: " + ", ".join(f"{k} {v:.4g}" for k, v in last.dropna().items()))
    typer.echo(f"saved {wanted.output}; use it: xatmo apply {wanted.output} INPUT OUTPUT")


@app.command()
def apply(
    model: Annotated[Path, typer.Argument(help="folder of a saved task", show_default=False)],
    input: Input,
    output: Annotated[Path, typer.Argument(help=".zarr (continues when interrupted) or .nc", show_default=False)],
    variable: Variable = None,
    batch_size: Annotated[int | None, typer.Option(help="patches at a time")] = None,
    members: Annotated[int | None, typer.Option(help="draw so many, from a network that draws")] = None,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
    nan: Annotated[str, typer.Option(help="missing values: raise, or mask them in the output")] = "raise",
    obs: Annotated[
        str | None, typer.Option(help="FourDVarNet: observed variables, joined by commas; as in training unless given")
    ] = None,
    mask: Annotated[str | None, typer.Option(help="FourDVarNet: variable, 0 where not to use observations")] = None,
    domain: Annotated[str | None, typer.Option(help="FourDVarNet: variable, 1 on water and 0 on land")] = None,
    background: Annotated[str | None, typer.Option(help="FourDVarNet: variable that is the first guess")] = None,
    lag: Annotated[str | None, typer.Option(help="FourDVarNet: variable, true time minus that of the map")] = None,
    period: Annotated[str | None, typer.Option(help="FourDVarNet: map these days, FIRST,LAST")] = None,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="FourDVarNet: the standard error too")] = False,
    init_time: Annotated[
        str | None, typer.Option(help="VideoForecaster: from these times, FIRST,LAST, or from one; all unless given")
    ] = None,
    n_future: Annotated[int | None, typer.Option(help="VideoForecaster: so many leads; as in training if not")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Apply a saved task to fields of any size, map observations with one, or forecast, piece by piece."""
    from xatmo.cli import applying, files
    from xatmo.tasks import as_model

    loaded = as_model(model)
    roles = {"obs": obs, "mask": mask, "domain": domain, "background": background, "lag": lag, "period": period}
    if applying.maps(loaded):
        if variable is not None:
            roles["obs"] = variable
        asked = applying.Wanted(input, output, **roles, uncertainty=uncertainty, members=members, seed=seed,
                                batch_size=batch_size, device=device, overwrite=overwrite)  # fmt: skip
        applying.interpolate(loaded, asked, note=typer.echo)
        typer.echo(f"wrote {output}")
        return
    applying.refuse({**roles, "uncertainty": uncertainty or None}, "FourDVarNet")
    if applying.forecasts(loaded):
        asked = applying.Wanted(input, output, members=members, seed=seed, batch_size=batch_size, device=device,
                                overwrite=overwrite)  # fmt: skip
        applying.forecast(loaded, asked, init_time=init_time, n_future=n_future, variable=variable, nan=nan,
                          note=typer.echo)  # fmt: skip
        typer.echo(f"wrote {output}")
        return
    applying.refuse({"init-time": init_time, "n-future": n_future}, "VideoForecaster")
    wanted = [channel.name for channel in loaded.inputs]
    ds = files.open_fields(input)
    if variable is not None:
        ds = files.one_variable(ds, variable, input).to_dataset(name=wanted[0] if len(wanted) == 1 else variable)
    accessor = files.in_pieces(ds).atmo
    refine_or_apply = accessor.superresolve if loaded.factor > 1 else accessor.apply
    result = refine_or_apply(loaded, batch_size=batch_size, device=device, members=members, seed=seed, nan=nan)
    key = {"model": loaded.fingerprint, "input": files.identity(input), "variable": variable, "members": members,
           "seed": seed, "nan": nan}  # fmt: skip
    files.write(result, output, key=key, overwrite=overwrite, note=typer.echo)
    typer.echo(f"wrote {output}")


@app.command()
def synthesize(
    input: Annotated[
        str,
        typer.Argument(
            help="coefficients: GRIB, Zarr or netCDF, or an entry of a catalog, as era5:arco_model_level_wind",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Argument(help="a Zarr store (continues when interrupted)", show_default=False)],
    grid: Annotated[
        str,
        typer.Option(
            help="dh1280 (Driscoll-Healy, 1280 x 2560), f320 (Gaussian), 721x1440 or 0.25 (with poles), healpix64, "
            "o320, n320, or a file"
        ),
    ] = "dh1280",
    variables: Annotated[str | None, typer.Option(help="names, joined by commas; all unless given")] = None,
    levels: Annotated[str | None, typer.Option(help="values of the vertical coordinate, joined by commas")] = None,
    start: Annotated[str | None, typer.Option(help="first time, as 2006-01-01")] = None,
    stop: Annotated[str | None, typer.Option(help="last time, as 2006-12 (all of that month)")] = None,
    every: Annotated[int, typer.Option(help="take every so many times")] = 1,
    wind: Annotated[bool, typer.Option("--wind", help="write u and v, from vorticity and divergence")] = False,
    lmax: Annotated[int | None, typer.Option(help="highest degree to keep; all unless given")] = None,
    by_month: Annotated[
        bool, typer.Option("--by-month/--by-day", help="what is written at a time, of each level")
    ] = True,
    overwrite: Overwrite = False,
) -> None:
    """Turn spherical-harmonic coefficients into fields on a grid, month by month and level by level.

    An interrupted run is continued by the same command. Memory stays the same whatever the length.
    """
    from xatmo.cli import coefficients

    wanted = coefficients.Wanted(
        input, grid=grid, variables=variables, levels=levels, start=start, stop=stop, every=every
    )  # fmt: skip
    coefficients.synthesize(
        wanted, output, wind=wind, lmax=lmax, by_month=by_month, overwrite=overwrite, note=typer.echo
    )
    typer.echo(f"wrote {output}")


@app.command()
def evaluate(
    maps: Annotated[
        list[str],
        typer.Argument(
            metavar="PREDICTION TARGET | MAP...",
            help="netCDF, Zarr or GRIB: a prediction and the truth on its grid; or, with --challenge, maps to score, "
            "which NAME=PATH names",
            show_default=False,
        ),
    ],
    metrics: Annotated[str, typer.Option(help="names, joined by commas")] = "rmse,mae,bias,correlation",
    dim: Annotated[
        str | None, typer.Option(help="dimensions to average over, joined by commas; all unless given")
    ] = None,
    bootstrap: Annotated[
        str,
        typer.Option(
            help="intervals from resampling blocks along a dimension, DIM or DIM:BLOCK: init_time:7D, time:168; auto: "
            "blocks of weeks or days of the times that there are; none: no intervals"
        ),
    ] = "auto",
    variable: Variable = None,
    challenge: Annotated[str | None, typer.Option(help="score sea level as osse2020a or ose2021a does")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="folder of the challenge's files: dc_ref, or the track that was kept out")
    ] = None,
    area: Annotated[
        list[str] | None, typer.Option(help="gulf_stream (the challenges'), osmosis, north_atlantic; may be repeated")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="published rows of these altimeters only: nadirs, swot, both")
    ] = None,
    period: Annotated[str | None, typer.Option(help="FIRST,LAST day, instead of the challenge's")] = None,
    published: Annotated[bool, typer.Option("--published/--no-published", help="show what others reached")] = True,
    by_regime: Annotated[bool, typer.Option("--by-regime", help="also near coasts; offshore by variability")] = False,
    label_days: Annotated[
        bool, typer.Option("--label-days", help="maps are means of days, whatever hour they are labelled with")
    ] = False,
    score_maps: Annotated[Path | None, typer.Option(help="write errors and scores at every point, .nc")] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="write the scores, .nc or .csv; of a challenge the table, .csv or .md, or "
                     "the map as its product, .nc; may be repeated"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Score a prediction against its target, area-weighted; or maps of sea level as a data challenge does."""
    from xatmo.cli import challenges, scoring

    if challenge is not None:
        asked = challenges.Wanted(
            tuple(maps), challenge.lower(), reference, areas=tuple(area or ()), scenario=scenario, period=period,
            variable=variable, published=published, by_regime=by_regime, label_days=label_days, score_maps=score_maps,
            output=tuple(output or ()), overwrite=overwrite,
        )  # fmt: skip
        for path in challenges.evaluate(asked, note=typer.echo):
            typer.echo(f"wrote {path}")
        return
    only = {"--reference": reference, "--area": area, "--scenario": scenario, "--period": period,
            "--score-maps": score_maps}  # fmt: skip
    scoring.refuse([name for name, value in only.items() if value], maps, output or [])
    for path in scoring.evaluate(
        Path(maps[0]), Path(maps[1]), metrics=metrics, dim=dim, variable=variable, output=output or [],
        overwrite=overwrite, bootstrap=bootstrap,
    ):  # fmt: skip
        typer.echo(f"wrote {path}")


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="predictions (netCDF, Zarr, GRIB), saved models, or folders of trainings; NAME=PATH gives a name",
            show_default=False,
        ),
    ],
    html: Annotated[Path, typer.Option(help="the page to write")],
    target: Annotated[Path | None, typer.Option(help="the truth, on the grid of the predictions")] = None,
    coarse: Annotated[Path | None, typer.Option(help="what saved models are applied to")] = None,
    metrics: Annotated[str | None, typer.Option(help="names of scores, joined by commas")] = None,
    variable: Variable = None,
    time: Annotated[str, typer.Option(help="the time that maps show: a position, or a label as 2006-01-01T12")] = "-1",
    baseline: Annotated[
        str,
        typer.Option(
            help="interpolation of --coarse to compare with: bicubic, bilinear, nearest; none: also without the "
            "simple forecasts that folders of runs hold"
        ),
    ] = "bicubic",
    cities: Annotated[
        str | None, typer.Option(help="places: a CSV file with name, latitude, longitude; random ones unless given")
    ] = None,
    members: Annotated[int | None, typer.Option(help="members to draw from stochastic models")] = None,
    bounds: Annotated[bool, typer.Option("--bounds/--no-bounds", help="bootstrap bounds of the scores")] = True,
    bootstrap: Annotated[
        str, typer.Option(help="blocks to resample, DIM:BLOCK: init_time:7D, time:168; auto: chosen; none: no bounds")
    ] = "auto",
    reference: Annotated[
        str | None,
        typer.Option(
            help="of forecasts, the run that the others are tested against; the last RUN unless given, of one RUN "
            "a simple forecast"
        ),
    ] = None,
    climatology: Annotated[
        Path | None, typer.Option(help="by month and hour, on the grid of the truth: adds the anomaly correlation")
    ] = None,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="draw, or tables alone")] = True,
    tables: Annotated[Path | None, typer.Option(help="folder for scores.csv and settings.csv")] = None,
    title: Annotated[str, typer.Option(help="of the page")] = "Comparison of runs",
    batch_size: Annotated[int | None, typer.Option(help="patches at a time")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the page")] = False,
) -> None:
    """Compare predictions and models with the truth and with each other, on one page that needs nothing else."""
    from xatmo.cli import comparing

    wanted = comparing.Wanted(
        tuple(runs), html, target=target, coarse=coarse, metrics=metrics, variable=variable, time=time,
        baseline=baseline, cities=cities, members=members, bounds=bounds, figures=figures, tables=tables, title=title,
        batch_size=batch_size, device=device, overwrite=overwrite, bootstrap=bootstrap, reference=reference,
        climatology=climatology,
    )  # fmt: skip
    for path in comparing.compare(wanted, note=typer.echo):
        typer.echo(f"wrote {path}")


@app.command()
def benchmark(
    table: Annotated[str, typer.Argument(help="osse: sea level from altimeters; gp: a Gaussian process; "
                                         "moving-digits, rain: forecasts", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="folder for table.csv, table.md, and each row's model and map")
    ] = Path("benchmark"),
    data: Annotated[
        Path | None,
        typer.Option(
            help="folder of the challenge's files; or for a generated twin, written where there are none; OUTPUT/twin "
            "unless given. moving-digits: mnist_test_seq.npy; rain: a radar's file, or a folder of them"
        ),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="names joined by commas, `list` prints them; all unless given")
    ] = None,
    max_time: Annotated[str | None, typer.Option(help="of training for each network, HH:MM:SS")] = None,
    max_steps: Annotated[int | None, typer.Option(help="of the optimiser for each network")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="windows at a time; 4 unless given, or as the row has it")
    ] = None,
    patch_size: Annotated[int | None, typer.Option(help="cells each way that a network sees; 64 unless given")] = None,
    seed: Annotated[int, typer.Option(help="of generated data and of networks")] = 0,
    scenario: Annotated[str, typer.Option(help="osse: altimeters that observe: both, nadirs, swot")] = "both",
    train: Annotated[
        str | None, typer.Option(help="osse: days that train, FIRST,LAST; 2013-02-24,2013-09-30 unless given")
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="osse: days that are mapped, FIRST,LAST; 2012-10-01,2012-12-20 unless given")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="of generated data, cells each way; 50 (gp), 32 (moving-digits), 64 (rain)")
    ] = None,
    n_time: Annotated[
        int | None, typer.Option("--steps", help="of generated data, in time; 300 (gp), 720 (rain)")
    ] = None,
    digits: Annotated[int, typer.Option(help="moving-digits: digits in a sequence")] = 2,
    sequences: Annotated[int | None, typer.Option(help="moving-digits: that train; 6000 unless given")] = None,
    unseen: Annotated[int | None, typer.Option(help="moving-digits: generated sequences that are scored; 500")] = None,
    context: Annotated[int | None, typer.Option(help="forecasts: frames that are read; 10, of rain 6")] = None,
    future: Annotated[int | None, typer.Option(help="forecasts: frames to come; 10, of rain 6")] = None,
    thresholds: Annotated[str | None, typer.Option(help="rain: mm/h of events; 1,5,10 unless given")] = None,
    area: Annotated[str | None, typer.Option(help="rain: what is scored: first and last y, first and last x")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="networks of the least size: to see that all runs")] = False,
    precision: Annotated[str | None, typer.Option(help="of training: 32, bf16")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="do finished rows anew")] = False,
) -> None:  # fmt: skip
    """Train and score every row of a published comparison; finished rows are read back, so it may be interrupted."""
    from xatmo.cli import benchmarking

    asked = benchmarking.Wanted(
        table.lower(), output, data, rows=rows, max_time=max_time, max_steps=max_steps, batch_size=batch_size,
        patch_size=patch_size, seed=seed, scenario=scenario, train=train, test=test, size=size, n_time=n_time,
        digits=digits, sequences=sequences, unseen=unseen, n_context=context, n_future=future, thresholds=thresholds,
        area=area, quick=quick, precision=precision, device=device, overwrite=overwrite,
    )  # fmt: skip
    for path in benchmarking.run(asked, note=typer.echo):
        typer.echo(f"wrote {path}")


@app.command()
def catalog(
    name: Annotated[str | None, typer.Argument(help="era5, natl60 ... or a YAML file", show_default=False)] = None,
    entry: Annotated[str | None, typer.Argument(help="one of its entries", show_default=False)] = None,
) -> None:
    """List the catalogs, the entries of one, or what an entry holds and how to open it."""
    from xatmo.cli import tables

    tables.catalog(name, entry)
