"""Interactive 3D page of body, lungs, heatmap and detections."""

from __future__ import annotations

import base64
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from parafovea.preprocess.body_masks import BodyMasks
from parafovea.report.detections.scan_view import time_text
from parafovea.report.detections.slices import DetectedScan
from parafovea.report.detections.surfaces import Surface, heatmap_surface, mask_surface, spheres
from parafovea.report.page import write_page
from parafovea.runtime.optional_packages import extras_named

Array = np.ndarray[Any, Any]

#: Vertices of a sphere along latitude and longitude.
_AROUND, _ALONG = 16, 9

#: Names, colours and opacities of the surfaces.
_BODY, _LUNGS = ("body", "#C9A58B", 0.10), ("lungs", "#56B4E9", 0.16)
_HEAT = ("heatmap", "#E69F00", 0.35)

#: Colours of confidences from 0 to 1.
_CONFIDENCES = ("#F0E442", "#E69F00", "#D55E00")


def write_scene(view: DetectedScan, masks: BodyMasks, path: Path, *, threshold: float) -> None:
    """Write a self-contained page that shows a scan in 3D.

    Parameters
    ----------
    view : DetectedScan
        Data to show.
    masks : BodyMasks
        Body and lungs of the scan.
    path : Path
        HTML file to write, atomically.
    threshold : float
        Heatmap value of the isosurface shown.
    """
    document = view.detections
    figure = {"data": _traces(view, masks, threshold), "layout": _layout()}
    write_page(
        path,
        "scene.html.jinja",
        document=document,
        time=time_text(document.timestamp),
        threshold=threshold,
        colours=_CONFIDENCES,
        plotly=_plotly(),
        figure=_script_json(figure),
        detections=_script_json(
            [d.model_dump(mode="json", exclude_none=True) for d in document.detections]
        ),
    )


@cache
def _plotly() -> Markup:
    """Return plotly.js from the plotly package."""
    with extras_named():
        package = resources.files("plotly")
    file = package / "package_data" / "plotly.min.js"
    # Code of an installed package, not user input.
    return Markup(file.read_text(encoding="utf-8"))  # noqa: S704


def _script_json(value: Any) -> Markup:
    """Return JSON escaped so that no text in it can end the script element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704


def _traces(view: DetectedScan, masks: BodyMasks, threshold: float) -> list[dict[str, Any]]:
    space = view.space
    traces = [_mesh(mask_surface(masks.body, space), _BODY)]
    if masks.lungs is not None:
        traces.append(_mesh(mask_surface(masks.lungs, space), _LUNGS))
    if view.heatmap is not None:
        heat = heatmap_surface(view.heatmap, threshold, space)
        if len(heat):
            traces.append(_mesh(heat, _HEAT))
    found = view.detections.detections
    if found:
        centres = np.array([d.coordinates for d in found])
        widths = np.array([d.diameter_mm for d in found])
        balls = spheres(centres, widths, around=_AROUND, along=_ALONG)
        shown = np.repeat([d.confidence for d in found], _AROUND * _ALONG)
        traces.append(
            {
                **_mesh(balls, ("detections", _CONFIDENCES[-1], 1.0)),
                "lighting": {"ambient": 0.85, "diffuse": 0.4},
                "intensity": _typed(shown.astype(np.float32)),
                "cmin": 0,
                "cmax": 1,
                "colorscale": [
                    [number / (len(_CONFIDENCES) - 1), colour]
                    for number, colour in enumerate(_CONFIDENCES)
                ],
                # the page shows the scale, below the scene
                "showscale": False,
            }
        )
    return traces


def _mesh(surface: Surface, look: tuple[str, str, float]) -> dict[str, Any]:
    name, colour, opacity = look
    corners = dict(zip("ijk", surface.faces.T, strict=True))
    places = dict(zip("xyz", surface.vertices.T, strict=True))
    return {
        "type": "mesh3d",
        "name": name,
        "color": colour,
        "opacity": opacity,
        "showlegend": True,
        "hoverinfo": "skip",
        "flatshading": False,
        "lighting": {"ambient": 0.55, "diffuse": 0.7, "specular": 0.15, "fresnel": 0.4},
        **{axis: _typed(values) for axis, values in (places | corners).items()},
    }


def _typed(values: Array) -> dict[str, str]:
    """Return numbers in plotly.js's typed-array format."""
    kind = {"f": "f4", "i": "i4"}[values.dtype.kind]
    packed = np.ascontiguousarray(values, f"<{kind}").tobytes()
    return {"dtype": kind, "bdata": base64.b64encode(packed).decode("ascii")}


def _layout() -> dict[str, Any]:
    axis = {
        "showbackground": False,
        "gridcolor": "rgba(128,128,128,0.2)",
        "zeroline": False,
        "showspikes": False,
        "tickfont": {"size": 9},
    }
    titles = {"x": "right to left (mm)", "y": "front to back (mm)", "z": "feet to head (mm)"}
    scene: dict[str, Any] = {
        f"{name}axis": {**axis, "title": {"text": title, "font": {"size": 11}}}
        for name, title in titles.items()
    }
    scene["aspectmode"] = "data"
    # The page does its own picking, since surfaces would hide the spheres from plotly's.
    scene["hovermode"] = False
    scene["camera"] = {"eye": {"x": 0.35, "y": -1.9, "z": 0.3}, "up": {"x": 0, "y": 0, "z": 1}}
    return {
        "scene": scene,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "legend": {"x": 0.01, "y": 0.99, "bgcolor": "rgba(128,128,128,0.12)"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "modebar": {
            "bgcolor": "rgba(0,0,0,0)",
            "color": "rgba(128,128,128,0.7)",
            "activecolor": "#D55E00",
        },
    }
