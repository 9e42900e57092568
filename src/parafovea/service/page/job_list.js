// The client's jobs, their progress as it happens, and what can be done with them.

import { announce, byId, element } from "./elements.js";
import { events, jobs, remove } from "./service_calls.js";
import { uploadNames } from "./upload_form.js";

// Streams that are open at once: browsers allow six connections to a host, in all tabs together, and a
// tab that nobody looks at has none.
const MOST_STREAMS = 2;

// Milliseconds between two looks at the list, while jobs wait and while none does.
const BUSY = 3000;
const IDLE = 15000;

const LIVE = new Set(["queued", "running"]);

/** Return seconds as words. */
function left(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** Return the name of a job for people. */
export function nameOf(job) {
  const moment = job.created ? new Date(job.created).toLocaleString() : "";
  return uploadNames()[job.job_id] ?? `${job.task}, ${moment}`;
}

function stateWords(job) {
  if (job.status === "queued") return job.position ? `waits for ${job.position} other ${job.position === 1 ? "job" : "jobs"}` : "is the next";
  if (job.status === "running") {
    const parts = [`${Math.floor(job.progress)} %`];
    if (job.stage) parts.unshift(job.stage.replaceAll("_", " "));
    if (job.remaining_seconds !== null) parts.push(`about ${left(job.remaining_seconds)} left`);
    return parts.join(" · ");
  }
  if (job.status === "completed" && job.found !== null) return `${job.found} found`;
  if (job.status === "expired") return "its results have been removed";
  return "";
}

export class JobList {
  #states = new Map();
  #rows = new Map();
  #streams = new Map();
  #timer = 0;
  #opened = null;
  #listed = false;
  #open;
  #failed;

  /**
   * @param {(job: object) => void} open called to show a result
   * @param {(error: Error) => void} failed called when the list cannot be had
   */
  constructor(open, failed) {
    this.#open = open;
    this.#failed = failed;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.refresh();
      else for (const stopping of this.#streams.values()) stopping.abort();
    });
  }

  /** Mark the job whose result is shown. */
  mark(id) {
    this.#opened = id;
    for (const [each, row] of this.#rows) row.item.classList.toggle("opened", each === id);
  }

  /** Return whether a job waits or runs. */
  isLive(id) {
    return LIVE.has(this.#states.get(id)?.status);
  }

  /** Ask for the list. */
  async refresh() {
    clearTimeout(this.#timer);
    try {
      const found = await jobs();
      const known = new Set(found.map((job) => job.job_id));
      for (const id of this.#states.keys()) if (!known.has(id)) this.#forget(id);
      // the list has the newest first
      for (const job of found.toReversed()) this.#tell(job);
      this.#listed = true;
      byId("no-jobs").hidden = found.length > 0;
      byId("jobs-error").textContent = "";
      this.#watch();
    } catch (error) {
      this.#failed(error);
      if (error.status === 401) return;
      byId("jobs-error").textContent = error.message;
    }
    const busy = [...this.#states.values()].some((job) => LIVE.has(job.status));
    if (!document.hidden) this.#timer = setTimeout(() => this.refresh(), busy ? BUSY : IDLE);
  }

  /** Follow the jobs that are next to change. */
  #watch() {
    if (document.hidden) return;
    const live = [...this.#states.values()].filter((job) => LIVE.has(job.status));
    live.sort((one, other) => (one.position ?? 0) - (other.position ?? 0));
    for (const job of live) {
      if (this.#streams.size >= MOST_STREAMS) return;
      if (!this.#streams.has(job.job_id)) this.#follow(job.job_id);
    }
  }

  async #follow(id) {
    const stopping = new AbortController();
    this.#streams.set(id, stopping);
    try {
      for await (const job of events(id, stopping.signal)) {
        if (job.status === "cancelled") this.#forget(id);
        else this.#tell(job);
      }
      this.#streams.delete(id);
      this.#watch();
    } catch (error) {
      // the list is asked again soon, which follows the job again, or says what is wrong
      this.#streams.delete(id);
      if (error.name !== "AbortError") console.info(`the progress of a job broke off: ${error.message}`);
    }
  }

  #forget(id) {
    this.#streams.get(id)?.abort();
    this.#rows.get(id)?.item.remove();
    this.#rows.delete(id);
    this.#states.delete(id);
    byId("no-jobs").hidden = this.#states.size > 0;
  }

  #tell(job) {
    const before = this.#states.get(job.job_id);
    this.#states.set(job.job_id, job);
    // a short job has ended before it is seen for the first time
    const ended = this.#listed && !LIVE.has(job.status);
    if (before ? before.status !== job.status : ended) {
      const why = job.error ? `: ${job.error}` : "";
      announce(`${nameOf(job)}: ${job.status}${why}`);
      // its address was opened while it ran
      if (job.job_id === this.#opened) this.#open(job);
    }
    const row = this.#rows.get(job.job_id) ?? this.#addRow(job);
    row.name.textContent = nameOf(job);
    row.chip.textContent = job.status;
    row.chip.className = `chip ${job.status}`;
    row.bar.hidden = !LIVE.has(job.status);
    row.bar.value = job.progress;
    row.words.textContent = stateWords(job);
    row.open.hidden = job.status !== "completed";
    row.remove.textContent = LIVE.has(job.status) ? "Cancel" : "Delete";
    row.why.textContent = job.status === "failed" ? (job.error ?? "") : "";
  }

  #addRow(job) {
    const about = { "aria-describedby": `job-${job.job_id}` };
    const row = {
      name: element("span", { class: "job-name", id: `job-${job.job_id}` }),
      chip: element("span"),
      bar: element("progress", { max: 100, "aria-labelledby": `job-${job.job_id}` }),
      words: element("span"),
      why: element("p", { class: "why" }),
      open: element("button", { type: "button", class: "main", onclick: () => this.#open(this.#states.get(job.job_id)), ...about }, "Open"),
      remove: element("button", { type: "button", onclick: () => this.#remove(job.job_id), ...about }),
    };
    row.item = element(
      "li",
      { "data-job": job.job_id, class: job.job_id === this.#opened ? "opened" : null },
      element("div", {}, row.name, " ", row.chip),
      element("p", { class: "job-state" }, row.bar, row.words),
      element("div", { class: "job-actions" }, row.open, row.remove),
      row.why,
    );
    this.#rows.set(job.job_id, row);
    byId("job-list").prepend(row.item);
    return row;
  }

  async #remove(id) {
    const job = this.#states.get(id);
    if (job.status === "completed" && !window.confirm(`Delete ${nameOf(job)} and its results?`)) return;
    try {
      await remove(id);
      announce(`${nameOf(job)} is ${LIVE.has(job.status) ? "cancelled" : "deleted"}`);
      this.#forget(id);
      byId("jobs-heading").scrollIntoView({ block: "nearest" });
      if (id === this.#opened) window.location.hash = "";
    } catch (error) {
      byId("jobs-error").textContent = error.message;
    }
    this.refresh();
  }
}
