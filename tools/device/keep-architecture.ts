/**
 * Makes a CUDA library small enough to carry: zeroes the code of every other chip.
 *
 *   npx tsx tools/device/keep-architecture.ts libonnxruntime_providers_cuda.so 90 out.so
 *
 * nvcc's fat binaries lie in the ELF section `.nv_fatbin`: containers (magic 0xBA55ED50, header
 * and body length), each a run of entries (kind, header length, payload length, architecture).
 * Nothing moves: payloads of other architectures become zeros, which compress to nothing
 * (ONNX Runtime 1.30's CUDA provider: 178 MB as xz, 50 MB with sm_90 alone). The driver
 * never looks at them on a chip of the kept architecture.
 *
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";

const CONTAINER_MAGIC = 0xba55ed50;

/** Byte range of a section of a 64-bit little-endian ELF file. */
function findSection(file: Buffer, wanted: string): { readonly from: number; readonly to: number } {
  const table = Number(file.readBigUInt64LE(0x28));
  const [entrySize, count, namesIndex] = [file.readUInt16LE(0x3a), file.readUInt16LE(0x3c), file.readUInt16LE(0x3e)];
  const section = (index: number) => {
    const at = table + index * entrySize;
    return {
      name: file.readUInt32LE(at),
      from: Number(file.readBigUInt64LE(at + 0x18)),
      size: Number(file.readBigUInt64LE(at + 0x20)),
    };
  };
  const names = section(namesIndex).from;
  for (let index = 0; index < count; index++) {
    const { name, from, size } = section(index);
    const end = file.indexOf(0, names + name);
    if (file.toString("latin1", names + name, end) === wanted) return { from, to: from + size };
  }
  throw new Error(`Cannot find section "${wanted}": not in the file`);
}

/** Zeroes payloads of architectures other than `keep`; returns bytes kept and zeroed. */
export function keepArchitecture(file: Buffer, keep: number): { readonly kept: number; readonly zeroed: number } {
  const { from, to } = findSection(file, ".nv_fatbin");
  let [kept, zeroed] = [0, 0];
  for (let at = from; at + 16 <= to; ) {
    if (file.readUInt32LE(at) !== CONTAINER_MAGIC) {
      at += 8; // padding between containers
      continue;
    }
    const end = at + file.readUInt16LE(at + 6) + Number(file.readBigUInt64LE(at + 8));
    for (let entry = at + file.readUInt16LE(at + 6); entry + 64 <= end; ) {
      const headerBytes = file.readUInt32LE(entry + 4);
      const payloadBytes = Number(file.readBigUInt64LE(entry + 8));
      if (headerBytes === 0) break;
      if (file.readUInt32LE(entry + 28) === keep) kept += payloadBytes;
      else {
        file.fill(0, entry + headerBytes, entry + headerBytes + payloadBytes);
        zeroed += payloadBytes;
      }
      entry += headerBytes + payloadBytes;
    }
    at = end;
  }
  return { kept, zeroed };
}

const [library, architecture, out] = process.argv.slice(2);
if (library === undefined || architecture === undefined || out === undefined) {
  throw new Error("Cannot start: usage: keep-architecture.ts LIBRARY ARCHITECTURE OUT, e.g. ARCHITECTURE 90");
}
const file = await readFile(library);
const { kept, zeroed } = keepArchitecture(file, Number(architecture));
await writeFile(out, file);
console.log(`kept ${kept} bytes of sm_${architecture}, zeroed ${zeroed}`);
