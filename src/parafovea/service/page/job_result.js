// The result of a job: what was found, the scan or the tiles, and all files.

import { announce, byId, element, facts, size } from "./elements.js";
import { nameOf } from "./job_list.js";
import { ScanViewer } from "./scan_viewer.js";
import { hasKey, resultAddress, resultBlob, results, viewer, viewerBlob } from "./service_calls.js";
import { tilePairs } from "./tile_pairs.js";

// What files are, for people, in the order in which they are listed; others are named alone.
const WORDS = {
  "report.html": "Report",
  "report.pdf": "Report as PDF",
  "3d_rendering.html": "3D view",
  "detections.json": "Detections as JSON",
  "detections.csv": "Detections as CSV",
  "heatmap.nii.gz": "Heatmap as NIfTI",
  "segmentation.dcm": "Regions as DICOM SEG",
  "measurements.dcm": "Measurements as DICOM SR",
  "visualization.png": "Slices as a picture",
  "confidence_distribution.png": "Confidences as a picture",
  "objects.tsv": "Objects as a table",
  "quality.json": "Quality as JSON",
  "quality.tsv": "Quality as a table",
  "tile_quality.tsv": "Quality of each tile",
  "tiles.tsv": "Tiles as a table",
  "quarantine.tsv": "Tiles that cannot be used",
  "refined.tif": "Refined mosaic",
  "summary.json": "Summary as JSON",
  "tiles.zip": "All tiles",
  "figures.zip": "Figures",
  "classes.ome.zarr.zip": "Classes",
  "objects.ome.zarr.zip": "Objects",
  "prediction.ome.zarr.zip": "Probabilities",
  "thumbnail.jpg": "Thumbnail",
};

// What of a summary is shown.
const SUMMED = {
  high_risk_count: "High risk",
  intermediate_risk_count: "Intermediate risk",
  low_risk_count: "Low risk",
  outside_body_count: "Left out, outside the body",
  num_tiles: "Tiles",
  num_out: "Predicted",
  num_quarantined: "Cannot be used",
  num_blocks: "Blocks measured",
  processing_time_seconds: "Seconds",
  seconds: "Seconds",
};

// Most reasons that are listed; the table has all.
const MOST_REASONS = 20;

const number = (value, digits) => (value === null || value === undefined ? "" : value.toFixed(digits).replace("-", "\u2212"));

export class JobResult {
  #stopping = new AbortController();
  #viewer = null;
  #id = null;

  /** Which job is shown, null for none. */
  get id() {
    return this.#id;
  }

  /** Show nothing. */
  close() {
    this.#stopping.abort();
    this.#viewer?.close();
    this.#viewer = null;
    this.#id = null;
    byId("result").hidden = byId("result-link").hidden = true;
    byId("result-content").replaceChildren();
  }

  /** Show the result of a job. */
  async show(id, name) {
    this.close();
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    this.#id = id;
    const content = byId("result-content");
    byId("result").hidden = byId("result-link").hidden = false;
    const heading = byId("result-heading");
    heading.textContent = "Result";
    try {
      const [found, shown] = await Promise.all([results(id), viewer(id)]);
      if (signal.aborted) return;
      heading.textContent = `Result of ${name ?? found.scan_id ?? nameOf(found)}`;
      heading.focus();
      byId("result").scrollIntoView();
      content.append(this.#facts(found));
      for (const note of found.notes) content.append(element("p", { class: "note" }, note));
      content.append(...this.#quarantined(found));
      if (shown.scan) this.#showScan(content, id, shown, found, signal);
      if (found.detections) content.append(...this.#detections(found));
      content.append(element("h3", {}, "Files"), this.#files(id, found.files));
      // above the files, as soon as they are there
      if (shown.pictures?.length) content.querySelector("dl").after(await this.#pictures(id, shown.pictures, signal));
      if (shown.pairs?.length) content.querySelector("dl").after(await tilePairs(id, shown.pairs, signal));
      announce(`${heading.textContent} is shown`);
    } catch (error) {
      // another result may be shown by now
      if (signal.aborted) return;
      content.append(element("p", { class: "why", role: "alert" }, error.message));
    }
  }

  #facts(found) {
    const said = [["Task", found.task]];
    if (found.model) said.push(["Model", found.model]);
    if (found.found !== null) said.push(["Found", String(found.found)]);
    if (found.metadata?.shape) {
      said.push(["Voxels (x, y, z)", found.metadata.shape.join(" × ")]);
      said.push(["Spacing", `${found.metadata.spacing.join(" × ")} mm`]);
    }
    for (const [key, words] of Object.entries(SUMMED)) {
      const value = found.summary?.[key];
      if (value !== undefined && value !== null) said.push([words, String(value)]);
    }
    return facts(said);
  }

  #quarantined(found) {
    const reasons = Object.entries(found.summary?.quarantined ?? {});
    if (!reasons.length) return [];
    const lines = reasons.slice(0, MOST_REASONS).map(([name, reason]) => element("li", {}, element("b", {}, name), `: ${reason}`));
    const more = reasons.length > lines.length ? [element("p", { class: "note" }, `and ${reasons.length - lines.length} more in quarantine.tsv`)] : [];
    return [element("h3", {}, "Tiles that cannot be used"), element("ul", { class: "reasons" }, ...lines), ...more];
  }

  #showScan(content, id, shown, found, signal) {
    this.#viewer = new ScanViewer(id, shown, signal);
    content.append(this.#viewer.element);
    const thinned = shown.steps.some((step) => step > 1);
    if (thinned) content.append(element("p", { class: "note" }, `The viewer has every ${shown.steps.join(", ")} voxels along x, y, z, as the scan is large; the files have all of them.`));
    const [first] = found.detections ?? [];
    this.#viewer.ready.then(() => {
      if (first && this.#viewer?.element.dataset.state === "ready") this.#goTo(first, false);
    });
  }

  #goTo(detection, told = true) {
    if (this.#viewer?.element.dataset.state !== "ready") return;
    this.#viewer.moveTo(detection.coordinates);
    for (const row of document.querySelectorAll("tr.finding")) {
      if (Number(row.dataset.detection) === detection.id) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    if (told) {
      this.#viewer.element.scrollIntoView({ block: "nearest" });
      announce(`the viewer is at finding ${detection.id + 1}`);
    }
  }

  #detections(found) {
    const heading = element("h3", {}, "Detections");
    if (!found.detections.length) return [heading, element("p", {}, "Nothing was found.")];
    const triaged = found.detections.some((each) => each.triage);
    const columns = ["Finding", "Confidence", "Diameter (mm)", "Volume (mm³)", ...(triaged ? ["Risk", "Malignancy"] : []), "x (mm)", "y (mm)", "z (mm)"];
    const texts = new Set(["Finding", "Risk"]);
    const head = columns.map((column) => element("th", { scope: "col", class: texts.has(column) ? null : "number" }, column));
    const rows = found.detections.map((each) => {
      const cell = (text) => element("td", { class: "number" }, text);
      const button = element("button", { type: "button", "aria-label": `Finding ${each.id + 1}: go there in the viewer` }, String(each.id + 1));
      const triage = triaged ? [element("td", {}, each.triage?.risk_category ?? ""), cell(number(each.triage?.malignancy_score, 2))] : [];
      return element(
        "tr",
        { class: "finding", "data-detection": each.id, onclick: () => this.#goTo(each) },
        element("th", { scope: "row" }, button),
        cell(number(each.confidence, 3)),
        cell(number(each.diameter_mm, 1)),
        cell(number(each.properties?.volume_mm3, 0)),
        ...triage,
        ...each.coordinates.map((value) => cell(number(value, 1))),
      );
    });
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
    const note = element("p", { class: "note" }, "Select a finding to see it in the viewer. Positions are towards left, posterior and superior (LPS), as in DICOM.");
    return [heading, note, element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Detections" }, table)];
  }

  async #pictures(id, pictures, signal) {
    const list = element("div", { class: "pictures" });
    for (const { file, title } of pictures) {
      const address = URL.createObjectURL(await viewerBlob(id, file, signal));
      signal.addEventListener("abort", () => URL.revokeObjectURL(address));
      list.append(element("figure", {}, element("img", { src: address, alt: title }), element("figcaption", {}, title)));
    }
    return list;
  }

  #files(id, files) {
    const order = Object.keys(WORDS);
    const rank = ({ name }) => (order.includes(name) ? order.indexOf(name) : order.length);
    const items = files.toSorted((one, other) => rank(one) - rank(other)).map(({ name, bytes }) => {
      // with a key, a link of the browser would be refused
      const download = hasKey() || !/\.(html|pdf|png|jpg)$/.test(name);
      const link = element("a", { class: "button", href: resultAddress(id, name), title: name, download: download ? name : null, target: download ? null : "_blank", rel: "noopener" }, WORDS[name] ?? name);
      if (hasKey()) link.addEventListener("click", (event) => this.#download(event, id, name));
      if (bytes !== null) link.append(" ", element("small", {}, size(bytes)));
      return element("li", {}, link);
    });
    return element("ul", { class: "files" }, ...items);
  }

  async #download(event, id, name) {
    event.preventDefault();
    try {
      const address = URL.createObjectURL(await resultBlob(id, name));
      element("a", { href: address, download: name }).click();
      // the browser has begun to read it by then
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    } catch (error) {
      byId("result-content").append(element("p", { class: "why", role: "alert" }, error.message));
    }
  }
}
