// A scan with its heatmap in NiiVue, with controls that a keyboard reaches.
//
// The service gives positions as x, y, z towards left, posterior and superior (LPS), NiiVue takes
// right, anterior and superior (RAS): x and y change sign.

import { element } from "./elements.js";
import { viewerBlob } from "./service_calls.js";

const SCRIPT = "./niivue-0.69.0.umd.js";

// Whether NiiVue converts by the scan's own affine; else it takes axes of the patient for those of the
// scan, which oblique ones are not.
const WORLD = true;

// Level and width in HU.
const WINDOWS = { Lungs: [-600, 1500], Mediastinum: [50, 350], Bone: [400, 1800] };

const COLOURS = ["hot", "warm", "inferno", "viridis", "green"];

// Values of the heatmap below it are not shown.
const LEAST = 0.1;

const PLANES = ["Sagittal", "Coronal", "Axial"];

// Grey in slices; in 3D, what is dark is not seen, so that the air does not hide the body.
const GREYS = { R: [0, 110, 180, 255], G: [0, 110, 180, 255], B: [0, 110, 180, 255], A: [0, 0, 30, 100], I: [0, 110, 180, 255] };

/** Load NiiVue once, when it is needed. */
async function library() {
  await import(SCRIPT);
  return globalThis.niivue;
}

/** Return a position of the service as NiiVue takes it, or the other way round. */
export const turned = ([x, y, z]) => [-x, -y, z];

const shownNumber = (value) => value.toFixed(1).replace("-", "\u2212");

export class ScanViewer {
  #niivue;
  #library;
  #sliders = [];
  #place = element("output", { class: "place" });
  #level;
  #width;
  #pending = 0;

  /** The part of the page. */
  element;

  constructor(job, shown, signal) {
    this.canvas = element("canvas", { role: "img", "aria-label": "Slices of the scan with its heatmap; the sliders beside it move through them" });
    this.words = element("p", { role: "status" }, element("span", {}, "The scan is loaded"), element("progress", { "aria-label": "Loading" }));
    this.controls = element("div", { class: "controls" });
    this.element = element("div", { class: "viewer" }, element("div", { class: "screen" }, this.canvas, this.words), this.controls, this.#place);
    this.ready = this.#load(job, shown, signal);
  }

  async #load(job, shown, signal) {
    try {
      const [niivue, scan, heat] = await Promise.all([
        library(),
        viewerBlob(job, shown.scan, signal),
        viewerBlob(job, shown.heatmap, signal),
      ]);
      if (!this.canvas.isConnected) return;
      this.#library = niivue;
      const [level, width] = WINDOWS.Lungs;
      const options = { trustCalMinMax: true, ignoreZeroVoxels: false };
      const image = await niivue.NVImage.loadFromFile({ ...options, file: new File([scan], shown.scan), name: shown.scan, colormap: "gray", cal_min: level - width / 2, cal_max: level + width / 2 });
      const overlay = await niivue.NVImage.loadFromFile({ ...options, file: new File([heat], shown.heatmap), name: shown.heatmap, colormap: COLOURS[0], opacity: 0.5, cal_min: LEAST, cal_max: 1 });
      this.#niivue = new niivue.Niivue({
        backColor: [0, 0, 0, 1],
        crosshairColor: [0.49, 0.77, 0.95, 0.9],
        crosshairWidth: 1.2,
        crosshairWidthUnit: "mm",
        crosshairGap: 8,
        dragAndDropEnabled: false,
        isRadiologicalConvention: true,
        isAntiAlias: true,
        loadingText: "",
        logLevel: "error",
        multiplanarShowRender: niivue.SHOW_RENDER.ALWAYS,
        scrollRequiresFocus: true,
        show3Dcrosshair: true,
        viewModeHotKey: "",
        clipPlaneHotKey: "",
        cycleClipPlaneHotKey: "",
      });
      await this.#niivue.attachToCanvas(this.canvas, true);
      this.#niivue.addColormap("scan", GREYS);
      image.colormap = "scan";
      this.#niivue.addVolume(image);
      this.#niivue.addVolume(overlay);
      this.#niivue.setSliceType(niivue.SLICE_TYPE.MULTIPLANAR);
      this.#niivue.onLocationChange = () => this.#tellPlace();
      this.#addControls(overlay);
      this.words.remove();
      this.#tellPlace();
      this.element.dataset.state = "ready";
      // for tests and for the curious
      this.element.niivue = this.#niivue;
    } catch (error) {
      if (error.name === "AbortError") return;
      this.words.textContent = `The scan cannot be shown here (${error.message}); its files are below.`;
      this.element.dataset.state = "failed";
    }
  }

  /** Give the graphics memory back. */
  close() {
    this.#niivue?.cleanup();
    this.canvas.getContext("webgl2")?.getExtension("WEBGL_lose_context")?.loseContext();
  }

  /** Move to a position of the service. */
  moveTo(position) {
    const [x, y, z] = turned(position);
    this.#setPlace(this.#niivue.mm2frac([x, y, z], 0, WORLD));
  }

  #setPlace(fraction) {
    this.#niivue.scene.crosshairPos = fraction;
    this.#niivue.drawScene();
    this.#tellPlace();
  }

  /** Return the position of the crosshair as the service states positions. */
  position() {
    const mm = this.#niivue.frac2mm(this.#niivue.scene.crosshairPos, 0, WORLD);
    return turned([mm[0], mm[1], mm[2]]);
  }

  #voxel() {
    return Array.from(this.#niivue.frac2vox(this.#niivue.scene.crosshairPos));
  }

  #tellPlace() {
    const voxel = this.#voxel();
    const [x, y, z] = this.position().map(shownNumber);
    const [scan, heat] = this.#niivue.volumes.map((volume) => volume.getValue(...voxel));
    this.#place.textContent = `x ${x}, y ${y}, z ${z} mm (LPS) · ${Math.round(scan)} HU · heatmap ${heat.toFixed(2)}`.replace("· -", "· \u2212");
    this.#sliders.forEach(({ input, output }, axis) => {
      input.value = voxel[axis];
      output.textContent = voxel[axis] + 1;
    });
  }

  #slider(name, attributes, words, changed) {
    const output = element("output", {});
    const input = element("input", { type: "range", "aria-label": name, ...attributes });
    const tell = () => {
      output.textContent = words(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => {
      tell();
      changed(Number(input.value));
    });
    tell();
    const row = element("label", { class: "slide" }, element("span", {}, name), input, output);
    return { row, input, output, tell };
  }

  #addControls(overlay) {
    const nv = this.#niivue;
    const kinds = this.#library.SLICE_TYPE;
    const views = { All: kinds.MULTIPLANAR, Axial: kinds.AXIAL, Coronal: kinds.CORONAL, Sagittal: kinds.SAGITTAL, "3D": kinds.RENDER };
    const view = this.#choices("View", Object.keys(views), "All", (name) => nv.setSliceType(views[name]));

    const counts = nv.volumes[0].dimsRAS.slice(1, 4);
    this.#sliders = PLANES.map((name, index) =>
      this.#slider(name, { min: 0, max: counts[index] - 1 }, (value) => String(value + 1), (value) => {
        const voxel = this.#voxel();
        voxel[index] = value;
        this.#setPlace(nv.vox2frac(voxel));
      }),
    );
    const slices = element("fieldset", {}, element("legend", {}, "Slices"), ...this.#sliders.map(({ row }) => row));

    const presets = this.#choices("Window", Object.keys(WINDOWS), "Lungs", (name) => {
      const [level, width] = WINDOWS[name];
      this.#level.input.value = level;
      this.#width.input.value = width;
      this.#level.tell();
      this.#width.tell();
      this.#applyWindow();
    });
    const own = () => {
      for (const button of presets.querySelectorAll("button")) button.setAttribute("aria-pressed", "false");
      this.#applyWindow();
    };
    const words = (value) => `${shownNumber(value).replace(".0", "")} HU`;
    this.#level = this.#slider("Level", { min: -1000, max: 1000, step: 10, value: WINDOWS.Lungs[0] }, words, own);
    this.#width = this.#slider("Width", { min: 50, max: 3000, step: 10, value: WINDOWS.Lungs[1] }, words, own);
    presets.append(this.#level.row, this.#width.row);

    const share = (value) => `${value} %`;
    const opacity = this.#slider("Opacity", { min: 0, max: 100, value: 50 }, share, (value) => nv.setOpacity(1, value / 100));
    const least = this.#slider("From", { min: 1, max: 99, value: 100 * LEAST }, share, (value) => {
      overlay.cal_min = value / 100;
      this.#update();
    });
    const colours = element("select", { onchange: (event) => nv.setColormap(overlay.id, event.target.value) }, ...COLOURS.map((name) => element("option", {}, name)));
    const heatmap = element("fieldset", {}, element("legend", {}, "Heatmap"), opacity.row, least.row, element("label", { class: "slide" }, element("span", {}, "Colours"), colours));

    this.controls.append(view, slices, presets, heatmap);
  }

  #choices(legend, names, first, chosen) {
    const buttons = names.map((name) =>
      element("button", { type: "button", "aria-pressed": String(name === first), onclick: (event) => {
        for (const each of buttons) each.setAttribute("aria-pressed", String(each === event.currentTarget));
        chosen(name);
      } }, name),
    );
    return element("fieldset", {}, element("legend", {}, legend), element("div", { class: "choices" }, ...buttons));
  }

  #applyWindow() {
    const level = Number(this.#level.input.value);
    const width = Number(this.#width.input.value);
    const [scan] = this.#niivue.volumes;
    scan.cal_min = level - width / 2;
    scan.cal_max = level + width / 2;
    this.#update();
  }

  /** Draw what changed, once a frame. */
  #update() {
    cancelAnimationFrame(this.#pending);
    this.#pending = requestAnimationFrame(() => this.#niivue.updateGLVolume());
  }
}
