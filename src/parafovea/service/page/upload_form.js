// The form: what is chosen or dropped becomes one job or several.

import { droppedFiles, pickedFiles, uploadsOf } from "./chosen_files.js";
import { announce, byId, element, size } from "./elements.js";
import { upload } from "./service_calls.js";
import { zipped } from "./stored_zip.js";

const NAMES = "parafovea-names";

/** Return the names of this tab's uploads by job: the service does not tell names. */
export function uploadNames() {
  return JSON.parse(sessionStorage.getItem(NAMES) ?? "{}");
}

function remember(job, name) {
  sessionStorage.setItem(NAMES, JSON.stringify({ ...uploadNames(), [job]: name }));
}

export class UploadForm {
  #uploads = [];
  #tasks = [];
  #stopping = null;
  #submitted;

  /** @param {() => void} submitted called when a job was made */
  constructor(submitted) {
    this.#submitted = submitted;
    for (const id of ["file", "folder"]) {
      byId(id).addEventListener("change", (event) => {
        this.#choose(pickedFiles(event.target));
        event.target.value = "";
      });
    }
    byId("task").addEventListener("change", () => this.#showOptions());
    byId("upload-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    byId("stop").addEventListener("click", () => this.#stopping?.abort());
    this.#acceptDrops();
  }

  /** Offer these tasks. */
  offer(tasks) {
    this.#tasks = tasks;
    const options = tasks.map((task) => element("option", { value: task.name, selected: task.default }, `${task.name} (${task.kind})`));
    byId("task").replaceChildren(...options);
    this.#showOptions();
  }

  #showOptions() {
    const task = this.#tasks.find((each) => each.name === byId("task").value);
    byId("config-field").hidden = !task?.takes_config;
  }

  #acceptDrops() {
    const box = byId("drop");
    // a file that misses the box would be opened instead of the page
    for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
    box.addEventListener("dragover", () => box.classList.add("over"));
    for (const kind of ["dragleave", "drop"]) box.addEventListener(kind, () => box.classList.remove("over"));
    box.addEventListener("drop", async (event) => {
      try {
        this.#choose(await droppedFiles(event.dataTransfer));
      } catch (error) {
        this.#fail(`what was dropped cannot be read (${error.message}): choose it instead`);
      }
    });
  }

  #choose(files) {
    this.#fail("");
    const chosen = uploadsOf(files);
    // while some are sent, others wait behind them
    this.#uploads = this.#stopping ? [...this.#uploads, ...chosen] : chosen;
    const lines = this.#uploads.map(({ name, members }) => {
      const bytes = members.reduce((sum, { file }) => sum + file.size, 0);
      return members.length > 1 ? `${name}: ${members.length} files, ${size(bytes)}` : `${name}: ${size(bytes)}`;
    });
    byId("chosen").replaceChildren(...lines.slice(0, 8).map((line) => element("div", {}, line)));
    if (lines.length > 8) byId("chosen").append(element("div", {}, `and ${lines.length - 8} more`));
    if (files.length && !chosen.length) this.#fail("there is nothing to upload: all files are hidden ones");
    if (this.#stopping) return;
    byId("send").disabled = !lines.length;
    if (lines.length) byId("send").focus();
  }

  #fail(text) {
    byId("upload-error").textContent = text;
  }

  #progress(words, share) {
    byId("sent").value = share;
    byId("sent-text").textContent = `${words}, ${Math.floor(100 * share)} %`;
  }

  async #send() {
    if (!this.#uploads.length || this.#stopping) return;
    this.#fail("");
    this.#stopping = new AbortController();
    byId("send").disabled = true;
    byId("stop").hidden = byId("sending").hidden = false;
    try {
      while (this.#uploads.length) {
        await this.#sendOne(this.#uploads[0], this.#stopping.signal);
        this.#uploads.shift();
      }
      byId("chosen").replaceChildren();
      byId("config").value = "";
    } catch (error) {
      if (error.name !== "AbortError") this.#fail(error.message);
    } finally {
      this.#stopping = null;
      byId("stop").hidden = byId("sending").hidden = true;
      byId("send").disabled = !this.#uploads.length;
    }
  }

  async #sendOne({ name, members, single }, signal) {
    let file = members[0].file;
    if (!single) {
      this.#progress(`packing ${name}`, 0);
      file = await zipped(members, (share) => this.#progress(`packing ${name}`, share), signal);
    }
    const form = new FormData();
    const task = this.#tasks.find((each) => each.name === byId("task").value);
    if (task) form.append("task", task.name);
    const metadata = byId("metadata").value.trim();
    if (metadata) form.append("metadata", metadata);
    const [config] = byId("config").files;
    if (task?.takes_config && config) form.append("config", await config.text());
    form.append("file", file, name);
    this.#progress(`sending ${name}`, 0);
    announce(`sending ${name}`);
    const answer = await upload(form, (share) => this.#progress(`sending ${name}`, share), signal);
    remember(answer.job_id, name);
    announce(`${name} is uploaded and waits`);
    this.#submitted();
  }
}
