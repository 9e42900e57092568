// Tiles before and after, one picture over the other, with a slider between them.

import { element } from "./elements.js";
import { viewerBlob } from "./service_calls.js";

async function picture(job, name, alternative, signal) {
  const address = URL.createObjectURL(await viewerBlob(job, name, signal));
  signal.addEventListener("abort", () => URL.revokeObjectURL(address));
  return element("img", { src: address, alt: alternative });
}

async function shown(job, pair, signal) {
  const [before, after] = await Promise.all([
    picture(job, pair.before, `${pair.name} before`, signal),
    picture(job, pair.after, `${pair.name} after`, signal),
  ]);
  const over = element("div", { class: "over" }, before);
  const edge = element("div", { class: "edge" });
  const slider = element("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": `Share of ${pair.name} that is shown as before` });
  const place = () => {
    over.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
    edge.style.left = `${slider.value}%`;
  };
  slider.addEventListener("input", place);
  place();
  return element(
    "figure",
    {},
    element("div", { class: "pair" }, after, over, edge, element("span", { class: "left" }, "before"), element("span", { class: "right" }, "after")),
    slider,
    element("figcaption", {}, `${pair.name}, ${pair.width} × ${pair.height} pixels`),
  );
}

/** Return the pairs of a job as a part of the page. */
export async function tilePairs(job, pairs, signal) {
  const list = element("div", { class: "pairs" });
  // one after the other, for a few connections are open
  for (const pair of pairs) list.append(await shown(job, pair, signal));
  const words = "Those with the largest change or error first; the files below have all of them.";
  return element("div", {}, element("h3", {}, "Before and after"), element("p", { class: "note" }, words), list);
}
