/**
 * Results of single steps on disk, so that a calibration that was killed goes on where it
 * stopped. A result is named by everything it depends on and written whole or not at all; one
 * that cannot be read is made again.
 *
 * @module
 */
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bytesOf, decodeSafetensors, digestFields, encodeSafetensors, isKvaultError } from "@kvault/core";

export class KeptResults {
  private readonly folder: string;
  private readonly common: readonly (readonly [string, string])[];

  /** Keeps files in `folder`; `common` is what every result depends on, by name. */
  constructor(folder: string, common: Readonly<Record<string, string>>) {
    this.folder = folder;
    this.common = Object.entries(common);
  }

  /** The arrays of step `step`, which depends on `inputs` besides: as they were kept, or made now. */
  async get(
    step: string,
    inputs: Readonly<Record<string, string>>,
    make: () => Promise<readonly Float32Array[]>,
  ): Promise<readonly Float32Array[]> {
    const key = digestFields(`kvault.calibration/1 ${step}`, [...this.common, ...Object.entries(inputs)]);
    const path = join(this.folder, `${step}-${key.slice(0, 16)}.safetensors`);
    const kept = await readArrays(path);
    if (kept !== undefined) return kept;
    const made = await make();
    await mkdir(this.folder, { recursive: true });
    const named = made.map(
      (data, i) => [String(i), { dtype: "F32" as const, shape: [data.length], data: bytesOf(data) }] as const,
    );
    const partial = `${path}.${process.pid}.part`;
    await writeFile(partial, encodeSafetensors(new Map(named)));
    await rename(partial, path);
    return made;
  }

  /** Forgets everything: what it was kept for is done. */
  async clear(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function readArrays(path: string): Promise<Float32Array[] | undefined> {
  try {
    const { tensors } = decodeSafetensors(await readFile(path));
    return Array.from({ length: tensors.size }, (_, i) => {
      const { data } = tensors.get(String(i))!;
      const values = new Float32Array(data.byteLength / Float32Array.BYTES_PER_ELEMENT);
      new Uint8Array(values.buffer).set(data);
      return values;
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" || isKvaultError(error, "CACHE_CORRUPT")) return undefined;
    throw error;
  }
}
