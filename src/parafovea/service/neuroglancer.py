"""Links to Neuroglancer, a viewer in the browser, that show results served over HTTP.

A link holds the whole state of the viewer as JSON. Its arrays are read by the viewer's page, so
that nothing of them leaves the machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from parafovea.geometry.grid import AXES, METRES, Grid
from parafovea.storage.class_colours import red_green_blue

#: The viewer of the project itself.
VIEWER = "https://neuroglancer-demo.appspot.com/"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """An array of a link.

    Parameters
    ----------
    name : str
        Name of the layer.
    address : str
        Address of an OME-Zarr image of Zarr format 3.
    grid : Grid
        Grid of its voxels.
    kind : {"image", "labels"}
        Whether its voxels are numbers or labels.
    colours : sequence of (int, str)
        Channels of an image and their colours, such as "#E69F00", which are added up; without any,
        the image is grey. For labels, values and their colours; others get one by chance.
    channels : int
        Number of channels, if the image has an axis of these.
    range : (float, float)
        Values of an image that are black and white, or a colour.
    visible : bool
        Whether it is shown at first.
    """

    name: str
    address: str
    grid: Grid
    kind: Literal["image", "labels"]
    colours: Sequence[tuple[int, str]] = ()
    channels: int | None = None
    range: tuple[float, float] = (0.0, 1.0)
    visible: bool = True

    def state(self) -> dict[str, Any]:
        """Return the layer as Neuroglancer's JSON."""
        source: dict[str, Any] = {"url": f"{self.address}/|zarr3:"}
        if self.channels is not None:
            # an axis whose name ends with ^ is that of the shader's channels
            scales = {"c^": [1, ""], **_scales(self.grid)}
            source["transform"] = {"outputDimensions": scales}
        layer: dict[str, Any] = {"name": self.name, "source": source, "visible": self.visible}
        if self.kind == "labels":
            layer |= {"type": "segmentation", "selectedAlpha": 0.4, "segments": []}
            if self.colours:
                layer["segmentColors"] = {str(value): colour for value, colour in self.colours}
            return layer
        layer |= {"type": "image", "shader": self._shader()}
        if self.channels is not None:
            layer |= {"channelDimensions": {"c^": [1, ""]}, "blend": "additive", "opacity": 0.6}
        return layer

    def _shader(self) -> str:
        low, high = self.range
        if not self.colours:
            first = "" if self.channels is None else ", channel=0"
            return (
                f"#uicontrol invlerp normalized(range=[{low:g}, {high:g}]{first})\n"
                "void main() {\n  emitGrayscale(normalized());\n}\n"
            )
        shown = [f"#uicontrol float scale slider(min=0, max=10, default={1 / (high - low):g})"]
        added = []
        for channel, colour in self.colours:
            red, green, blue = (part / 255 for part in red_green_blue(colour))
            added.append(
                f"  colour += vec3({red:.3f}, {green:.3f}, {blue:.3f}) * "
                f"float(getDataValue({channel}));"
            )
        body = ["void main() {", "  vec3 colour = vec3(0.0);", *added]
        return "\n".join([*shown, *body, f"  emitRGB((colour - {float(low)!r}) * scale);", "}", ""])


def _scales(grid: Grid) -> dict[str, list[Any]]:
    """Return Neuroglancer's scale of each axis."""
    metres = METRES[grid.unit]
    return {axis: [s * metres, "m"] for axis, s in zip(AXES, grid.spacing, strict=True)}


def link(layers: Sequence[Layer], *, viewer: str = VIEWER) -> str:
    """Return the link that shows layers, the first one as the lowest.

    Parameters
    ----------
    layers : sequence of Layer
        At least one, which gives the scales of the view.
    viewer : str
        Address of a Neuroglancer.
    """
    grid = layers[0].grid
    scales = _scales(grid)
    # in voxels, from the outer face of one at the world's origin
    corner = grid.index((0.0, 0.0, 0.0))
    middle = [n / 2 - 0.5 - c for n, c in zip(grid.shape, corner, strict=True)]
    state = {
        "dimensions": {axis: scales[axis] for axis in reversed(AXES)},
        "position": list(reversed(middle)),
        "layers": [layer.state() for layer in layers],
        "layout": "xy" if grid.shape[0] == 1 else "4panel",
    }
    text = json.dumps(state, separators=(",", ":"))
    return f"{viewer.partition('#')[0]}#!{quote(text, safe='')}"
