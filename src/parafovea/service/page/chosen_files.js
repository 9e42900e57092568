// What a person chose or dropped, as uploads: each scan in a file is one, all files of a folder are one.

const SCANS = [".nii.gz", ".nii", ".nrrd", ".mha", ".zip"];
const WHOLE = [...SCANS, ".tiff", ".tif"]; // in a folder, these are slices or tiles

const LEFT_OUT = new Set(["thumbs.db", "desktop.ini"]);

const endsIn = (name, endings) => endings.some((ending) => name.toLowerCase().endsWith(ending));

const isHidden = (path) => path.split("/").some((part) => part.startsWith(".") || LEFT_OUT.has(part.toLowerCase()));

/**
 * An upload.
 *
 * @typedef {{name: string, members: {path: string, file: File}[], single: boolean}} Upload
 */

/**
 * Return the uploads of files with their paths, which begin with the name of their folder, if any.
 *
 * @param {{path: string, file: File}[]} found
 * @returns {Upload[]}
 */
export function uploadsOf(found) {
  const folders = new Map();
  const uploads = [];
  const loose = [];
  for (const { path, file } of found) {
    if (isHidden(path)) continue;
    const [top, ...rest] = path.split("/");
    if (rest.length) {
      if (!folders.has(top)) folders.set(top, []);
      folders.get(top).push({ path: rest.join("/"), file });
    } else if (endsIn(path, WHOLE)) {
      uploads.push({ name: path, members: [{ path, file }], single: true });
    } else {
      loose.push({ path, file });
    }
  }
  for (const [name, members] of folders) {
    if (members.every(({ path }) => endsIn(path, SCANS))) {
      for (const { path, file } of members) uploads.push({ name: file.name, members: [{ path, file }], single: true });
    } else {
      uploads.push({ name: `${name}.zip`, members, single: false });
    }
  }
  // slices that were chosen without their folder
  if (loose.length) uploads.push({ name: "scan.zip", members: loose, single: false });
  return uploads;
}

/** Return the files of an `<input type="file">` with their paths. */
export function pickedFiles(input) {
  return [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** Return the files that were dropped, those in folders included, with their paths. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ path: file.name, file }));
  const found = [];
  for (const entry of entries) await collect(entry, found);
  return found;
}

async function collect(entry, found) {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ path, file });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // a browser gives a folder in parts
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) await collect(each, found);
  }
}
