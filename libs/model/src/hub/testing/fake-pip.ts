/**
 * A stand-in for the `pip` command, for tests of what surrounds it: an executable that copies wheels
 * from a folder. What the real pip does is shown by fetching a catalogue model.
 *
 * @module
 */
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";

/** A zip archive of stored (uncompressed) files. */
export function zipOf(files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const local: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const [name, data] of Object.entries(files)) {
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0); // version needed
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(data.byteLength, 14);
    common.writeUInt32LE(data.byteLength, 18);
    common.writeUInt16LE(Buffer.byteLength(name), 22);
    local.push(Buffer.from("PK\x03\x04"), common, Buffer.from(name), Buffer.from(data));
    const trailer = Buffer.alloc(14);
    trailer.writeUInt32LE(offset, 10);
    central.push(Buffer.from("PK\x01\x02"), Buffer.from([20, 0]), common, trailer, Buffer.from(name));
    offset += 30 + Buffer.byteLength(name) + data.byteLength;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(Object.keys(files).length, 4);
  end.writeUInt16LE(Object.keys(files).length, 6);
  end.writeUInt32LE(directory.byteLength, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...local, directory, Buffer.from("PK\x05\x06"), end]);
}

/**
 * Writes `python3` into `folder/bin`; it serves `folder/wheels/NAME-VERSION.whl`, appends each
 * request to `folder/calls`, and fails when `folder/broken` exists. Returns the folder for PATH.
 */
export async function installFakePip(folder: string, wheels: Readonly<Record<string, Uint8Array>>): Promise<string> {
  const bin = join(folder, "bin");
  await mkdir(bin, { recursive: true });
  await mkdir(join(folder, "wheels"), { recursive: true });
  for (const [name, bytes] of Object.entries(wheels)) await writeFile(join(folder, "wheels", `${name}.whl`), bytes);
  const script = `#!/bin/sh
dest=; last=
while [ $# -gt 0 ]; do
  if [ "$1" = "--dest" ]; then dest=$2; shift; fi
  last=$1; shift
done
echo "$last" >> "${folder}/calls"
if [ -e "${folder}/broken" ]; then echo "ERROR: the index is on fire" >&2; exit 1; fi
wheel="${folder}/wheels/$(echo "$last" | sed 's/==/-/').whl"
if [ ! -e "$wheel" ]; then echo "ERROR: No matching distribution found for $last" >&2; exit 1; fi
cp "$wheel" "$dest/"
`;
  await writeFile(join(bin, "python3"), script);
  await chmod(join(bin, "python3"), 0o755);
  return bin;
}
