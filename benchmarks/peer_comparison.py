"""Rows `monai`: whole inference against MONAI's sliding windows, in time and in result."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.measure import in_turns, whole
from benchmarks.peer import FullResolution, full_resolution, predicted_by_monai
from benchmarks.samples import Bench, Sized, make_sample, read_fused_spec, times
from benchmarks.stages import blend, infer
from benchmarks.table import Limit, Row, ratio_row
from parafovea.geometry.grid import Shape
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.models.folder import load_model
from parafovea.runtime.devices import computes_bfloat16
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import ModelSpec
from parafovea.storage.store import open_stored

logger = logging.getLogger(__name__)

NAME = "monai"

#: Voxels of the volume.
SIZE = Sized[Shape](full=(128, 160, 160), quick=(64, 64, 96))

OVERLAP = 0.5

#: That of `sliding_window_inference` at its defaults.
USUAL_OVERLAP = 0.25


@dataclass(frozen=True)
class _Ours:
    """Both stages of our inference, from cached stores to the prediction on disk."""

    bench: Bench
    inputs: ModelInputs
    settings: InferenceSettings

    @property
    def output(self) -> Path:
        """Where the prediction lies."""
        return self.bench.scratch / f"prediction_{self._name}.ome.zarr"

    @property
    def _name(self) -> str:
        return f"{self.settings.precision}_{self.settings.overlap}"

    def __call__(self) -> None:
        """Predict all windows and blend them."""
        sums = self.bench.scratch / f"sums_{self._name}.zarr"
        settings = self.settings
        infer(self.inputs, self.bench.model, sums, settings)
        blend(sums, self.output)


class _Monai:
    """MONAI, from a tensor in memory to a tensor in memory.

    Parameters
    ----------
    bench : Bench
        Names the model.
    spec : ModelSpec
        Its description.
    stacked : Tensor
        (1, channel, z, y, x) float32, every feature at full resolution.
    overlap : float
        Share of a window that its neighbour covers too.
    tuned : bool
        False: MONAI and torch at their defaults, float32. True: channels last and bfloat16, what
        our engine chooses by itself.
    """

    def __init__(
        self,
        bench: Bench,
        spec: ModelSpec,
        stacked: Tensor,
        *,
        tuned: bool,
        overlap: float = OVERLAP,
    ) -> None:
        self._overlap = overlap
        _, network = load_model(bench.model)
        if tuned:
            network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._network = FullResolution(network, spec.input_channels).eval()
        self._stacked = stacked
        self._window = spec.window
        self._dtype = torch.bfloat16 if tuned else torch.float32
        self.result: Tensor | None = None

    def __call__(self) -> None:
        """Predict all windows, blend them, and keep the result."""
        self.result = None
        self.result = predicted_by_monai(
            self._network, self._stacked, self._window, overlap=self._overlap, dtype=self._dtype
        )

    def probabilities(self) -> NDArray[np.float32]:
        """Return the last result, (class, z, y, x)."""
        if self.result is None:
            raise ValueError("MONAI has not run yet")
        values: NDArray[np.float32] = self.result.numpy()
        return values


def run(bench: Bench) -> list[Row]:
    """Measure our inference against MONAI's with the same network, windows and blending."""
    spec = read_fused_spec(bench.model)
    logger.info("  preparing a phantom, its features, and MONAI's tensor of them")
    shape = bench.of(SIZE)
    inputs = make_sample(bench.scratch, spec, shape=shape)
    stacked = full_resolution(SampleInputs(inputs, spec))
    plain, tuned = (_Monai(bench, spec, stacked, tuned=tuned) for tuned in (False, True))
    usual = _Monai(bench, spec, stacked, tuned=False, overlap=USUAL_OVERLAP)
    # Equal weights, as MONAI's default has them.
    same = InferenceSettings(overlap=OVERLAP, blending="constant")
    auto = _Ours(bench, inputs, same)
    exact = _Ours(bench, inputs, same.model_copy(update={"precision": "float32"}))
    chosen = _Ours(bench, inputs, InferenceSettings())
    bfloat16 = computes_bfloat16(torch.device("cpu"))
    works = {"ours": whole(auto), "MONAI": whole(plain), "ours, float32": whole(exact)}
    works |= {"ours, own windows": whole(chosen), "MONAI, own overlap": whole(usual)}
    if bfloat16:
        works["MONAI, bfloat16"] = whole(tuned)
    seconds = in_turns(works, repeats=bench.rounds(3))
    place = (
        f"{times(shape)} voxels, windows of {times(spec.window)}, overlap {OVERLAP}, equal weights"
    )
    return [
        *_times(seconds, place, bfloat16=bfloat16),
        *_agreement(auto.output, exact.output, plain.probabilities()),
    ]


def _times(seconds: dict[str, tuple[float, ...]], place: str, *, bfloat16: bool) -> list[Row]:
    limit = Limit("at least", 2.5) if bfloat16 else None
    missing = "" if bfloat16 else "; no limit, since this CPU does not compute bfloat16"
    rows = [
        ratio_row(
            NAME,
            "speed of ours (auto, disk to disk) over MONAI's at its defaults (float32, in memory)",
            seconds,
            ("MONAI", "ours"),
            limit=limit,
            note=place + missing,
        ),
        ratio_row(
            NAME,
            "the same, ours in float32 too",
            seconds,
            ("MONAI", "ours, float32"),
        ),
        ratio_row(
            NAME,
            "speed of ours in automatic windows over MONAI's in the model's windows",
            seconds,
            ("MONAI", "ours, own windows"),
            limit=Limit("at least", 4 if bfloat16 else 3),
            note=f"{place.partition(',')[0]}; MONAI with an overlap of {OVERLAP}",
        ),
        ratio_row(
            NAME,
            "the same over MONAI's with the overlap of its defaults",
            seconds,
            ("MONAI, own overlap", "ours, own windows"),
            note=f"MONAI with an overlap of {USUAL_OVERLAP}",
        ),
    ]
    if bfloat16:
        rows.append(
            ratio_row(
                NAME,
                "the same, ours at auto over MONAI tuned by hand to bfloat16 and channels last",
                seconds,
                ("MONAI, bfloat16", "ours"),
            )
        )
    return rows


def _agreement(auto: Path, exact: Path, theirs: NDArray[np.float32]) -> list[Row]:
    ours = open_stored(auto).read().astype(np.float32)
    labels = 100 * float((ours.argmax(0) == theirs.argmax(0)).mean())
    mean = float(np.abs(ours - theirs).mean(dtype=np.float64))
    worst = float(np.abs(open_stored(exact).read() - theirs).max())
    return [
        Row(
            NAME,
            "voxels with the same label, ours at auto and MONAI in float32",
            labels,
            unit="%",
            limit=Limit("at least", 99.9),
        ),
        Row(
            NAME,
            "mean absolute difference of probability, ours at auto and MONAI in float32",
            mean,
            unit="",
            limit=Limit("at most", 2e-3),
        ),
        Row(
            NAME,
            "largest difference of probability anywhere, both in float32",
            worst,
            unit="",
            limit=Limit("at most", 1e-5),
        ),
    ]
