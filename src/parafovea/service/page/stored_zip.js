// A zip file of files as they are, without compression: its parts are the files themselves, so that
// no more than a piece of one is in memory.

const TABLE = new Uint32Array(256).map((_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

// what fits into the fields of a zip file without its extension for large ones
const MOST_FILES = 0xffff;
const MOST_BYTES = 0xffffffff;

const UTF8_NAMES = 0x0800;
const VERSION = 20;
const DAY = 0x0021; // 1 January 1980

async function checksum(file) {
  const reader = file.stream().getReader();
  let value = 0xffffffff;
  for (;;) {
    const { done, value: piece } = await reader.read();
    if (done) return (value ^ 0xffffffff) >>> 0;
    for (let index = 0; index < piece.length; index += 1) {
      value = (value >>> 8) ^ TABLE[(value ^ piece[index]) & 0xff];
    }
  }
}

function record(...fields) {
  const size = fields.reduce((sum, [bytes]) => sum + bytes, 0);
  const view = new DataView(new ArrayBuffer(size));
  let place = 0;
  for (const [bytes, value] of fields) {
    if (bytes === 2) view.setUint16(place, value, true);
    else view.setUint32(place, value, true);
    place += bytes;
  }
  return view.buffer;
}

/**
 * Return a zip file.
 *
 * @param {{path: string, file: File}[]} members
 * @param {(share: number) => void} progress
 * @param {AbortSignal} signal
 */
export async function zipped(members, progress, signal) {
  const total = members.reduce((sum, { file }) => sum + file.size, 0);
  if (members.length > MOST_FILES || total > MOST_BYTES - 2 ** 24) {
    throw new Error("the folder has more than 65,535 files or 4 GB: choose a smaller one, or zip it");
  }
  const parts = [];
  const contents = [];
  let place = 0;
  let read = 0;
  for (const { path, file } of members) {
    signal.throwIfAborted();
    const name = new TextEncoder().encode(path);
    const sum = await checksum(file);
    const common = [[2, VERSION], [2, UTF8_NAMES], [2, 0], [2, 0], [2, DAY], [4, sum], [4, file.size], [4, file.size], [2, name.length], [2, 0]];
    const header = record([4, 0x04034b50], ...common);
    parts.push(header, name, file);
    contents.push(record([4, 0x02014b50], [2, VERSION], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, place]), name);
    place += header.byteLength + name.length + file.size;
    read += file.size;
    progress(total ? read / total : 1);
  }
  const size = contents.reduce((sum, part) => sum + part.byteLength, 0);
  const count = members.length;
  const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, place], [2, 0]);
  return new Blob([...parts, ...contents, end], { type: "application/zip" });
}
