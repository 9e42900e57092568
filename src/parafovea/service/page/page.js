// The page: uploads, jobs and one result, which the address names after its #.

import { announce, byId } from "./elements.js";
import { JobList } from "./job_list.js";
import { JobResult } from "./job_result.js";
import { hasKey, tasks, useKey } from "./service_calls.js";
import { UploadForm, uploadNames } from "./upload_form.js";

const RESULT = "#job=";

// Milliseconds until a service that could not be reached is tried again.
const AGAIN = 5000;

const result = new JobResult();
const form = new UploadForm(() => list.refresh());
const list = new JobList((job) => {
  const address = RESULT + job.job_id;
  if (window.location.hash === address) showAddressed(true);
  else window.location.hash = address;
}, askForKey);

// The service's own words are for those who call it by programs; other reasons are told as they are.
function reasonOf(error) {
  if (!error.message.startsWith("a key is needed")) return error.message;
  return hasKey() ? "The service does not know this key." : "";
}

function askForKey(error) {
  if (error.status !== 401) return;
  byId("access-reason").textContent = reasonOf(error);
  byId("access").hidden = false;
  byId("upload").hidden = byId("jobs").hidden = true;
  result.close();
  byId("key").focus();
}

async function start() {
  try {
    form.offer(await tasks());
    byId("upload-error").textContent = "";
    byId("access").hidden = true;
    byId("upload").hidden = byId("jobs").hidden = false;
    await list.refresh();
    showAddressed();
  } catch (error) {
    if (error.status === 401) askForKey(error);
    else byId("upload-error").textContent = error.message;
    // a service that starts later is found
    if (error.status === 0) setTimeout(start, AGAIN);
  }
}

function showAddressed(again = false) {
  const { hash } = window.location;
  if (hash.startsWith(RESULT)) {
    const id = hash.slice(RESULT.length);
    // the list opens it when it has ended
    if (list.isLive(id)) result.close();
    else if (again || id !== result.id) result.show(id, uploadNames()[id]);
    list.mark(id);
  } else if (!hash) {
    result.close();
    list.mark(null);
  }
}

byId("access-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value.trim());
  byId("key").value = "";
  announce("the key is tried");
  start();
});
window.addEventListener("hashchange", () => showAddressed());
start();
