// Calls of the service. A key goes in a header, never in an address.

const STORED = "parafovea-key";
const JOBS = "api/v1/inference";

/** An answer that refuses a call, with the service's own words. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Keep a key until the tab is closed. */
export function useKey(key) {
  sessionStorage.setItem(STORED, key);
}

/** Return whether a key is in use. */
export function hasKey() {
  return Boolean(sessionStorage.getItem(STORED));
}

function headers() {
  const key = sessionStorage.getItem(STORED);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function detailOf(text, status) {
  try {
    return String(JSON.parse(text).detail ?? text);
  } catch {
    return text || `the service answered ${status}: try again`;
  }
}

const BROKEN_OFF = "the upload broke off: the file may be larger than the service takes, or the service has stopped; try again";
const UNREACHABLE = "the service cannot be reached: check that it runs, and try again";

async function called(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, { ...options, headers: headers(), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, UNREACHABLE);
  }
  if (!answer.ok) throw new Refused(answer.status, detailOf(await answer.text(), answer.status));
  return answer;
}

async function json(address) {
  return (await called(address)).json();
}

export const tasks = () => json("api/v1/tasks");
export const jobs = () => json(JOBS);
export const results = (job) => json(`${JOBS}/${job}/results`);
export const viewer = (job) => json(`${JOBS}/${job}/viewer`);

/** Cancel a job, and remove its files. */
export const remove = (job) => called(`${JOBS}/${job}`, { method: "DELETE" });

/** Return the address of a file of the results. */
export const resultAddress = (job, name) => `${JOBS}/${job}/results/${encodeURIComponent(name)}`;

/** Return a file of the results, or of what is shown of them, as a blob. */
export async function resultBlob(job, name, signal) {
  return (await called(resultAddress(job, name), { signal })).blob();
}

export async function viewerBlob(job, name, signal) {
  return (await called(`${JOBS}/${job}/viewer/${encodeURIComponent(name)}`, { signal })).blob();
}

/** Yield the states of a job as they come, until it is over. */
export async function* events(job, signal) {
  const answer = await called(`${JOBS}/${job}/events`, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (waiting + value).split("\n\n");
    waiting = parts.pop();
    for (const part of parts) {
      const line = part.split("\n").find((each) => each.startsWith("data: "));
      if (line) yield JSON.parse(line.slice("data: ".length));
    }
  }
}

/**
 * Upload a form, and return the answer. `fetch` does not tell how much is sent.
 *
 * @param {FormData} form
 * @param {(share: number) => void} progress
 * @param {AbortSignal} signal
 */
export function upload(form, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", JOBS);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) progress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      if (request.status === 202) resolve(JSON.parse(request.responseText));
      else reject(new Refused(request.status, detailOf(request.responseText, request.status)));
    });
    request.addEventListener("error", () => reject(new Refused(0, BROKEN_OFF)));
    request.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
