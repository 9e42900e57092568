"""Stage join_volume: one normalized volume from the blocks that `resample_volume` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import vector3
from parafovea.preprocess.body_masks import BodyMasks, label_images, volume_body
from parafovea.preprocess.coarse_view import coarse_view
from parafovea.preprocess.model_input import ModelInput
from parafovea.storage.parts import join_parts


def join_volume(
    parts: Sequence[Path],
    volume: Path,
    *,
    source: str,
    metadata: str = "",
    spacing: Sequence[float],
    unit: str,
    channels: Sequence[str] = (),
    find_body: bool = False,
) -> None:
    """Join the blocks of a volume without copying them.

    Parameters
    ----------
    parts : sequence of Path
        All blocks of the volume.
    volume : Path
        OME-Zarr to write: see `resample_volume`.
    source, metadata, spacing, unit, channels
        As for `resample_volume`.
    find_body : bool
        Whether to find body and lungs of a CT, the first channel, and store them within the volume.

    Raises
    ------
    StoreError
        If a part is missing, damaged, or made with other settings.
    """
    if not find_body:
        join_parts(parts, volume)
        return
    with unchanged(source) as check:
        opened = ModelInput.open(
            source,
            metadata=metadata,
            spacing=vector3(spacing),
            unit=unit,
            channels=channels,
            is_ct=True,
        )
        view = coarse_view(opened.source.read, opened.grid)
        masks = BodyMasks.of(view, affine=opened.source.affine)
        check()
    join_parts(
        parts,
        volume,
        label_images=lambda joined: label_images(masks, volume_body(joined)),
    )
