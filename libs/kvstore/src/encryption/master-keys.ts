/**
 * Master keys, from a file that never is in the store: one a line, `id base64` of 32 random bytes.
 * The first one wraps; the others still unwrap what they wrapped before, until a re-wrap.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { KvaultError } from "@kvault/core";
import { KEY_BYTES } from "./envelope.ts";

export interface MasterKeys {
  /** Wraps from now on. */
  readonly currentId: string;
  readonly byId: ReadonlyMap<string, Uint8Array>;
}

const MAX_KEYS = 32;
const ID = /^[a-z0-9-]{1,32}$/;

/** INVALID_ARGUMENT naming the line at fault; no key is in any message. */
export function parseMasterKeys(text: string): MasterKeys {
  const byId = new Map<string, Uint8Array>();
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [id = "", encoded = "", ...rest] = line.trim().split(/\s+/);
    const key = Buffer.from(encoded, "base64");
    if (!ID.test(id) || rest.length > 0 || key.byteLength !== KEY_BYTES) {
      throw unusable(`line ${i + 1} is not an id (a-z 0-9 -) and ${KEY_BYTES} bytes in base64`);
    }
    if (byId.has(id)) throw unusable(`line ${i + 1} has an id that was there before`);
    if (byId.size === MAX_KEYS) throw unusable(`over ${MAX_KEYS} keys`);
    byId.set(id, key);
  }
  const [currentId] = byId.keys();
  if (currentId === undefined) throw unusable("no key in it");
  return { currentId, byId };
}

export async function readMasterKeys(path: string): Promise<MasterKeys> {
  const text = await readFile(path, "utf8").catch((cause: Error) => {
    throw unusable(cause.message);
  });
  return parseMasterKeys(text);
}

/** A line for the file: a new random key under `id`. */
export function createMasterKeyLine(id: string): string {
  if (!ID.test(id)) throw unusable(`"${id.slice(0, 40)}" is no key id (a-z 0-9 -, 1 to 32)`);
  return `${id} ${randomBytes(KEY_BYTES).toString("base64")}`;
}

function unusable(what: string): KvaultError {
  return new KvaultError("INVALID_ARGUMENT", `Cannot use the master key file: ${what}`, { details: { field: "masterKeyFile" } });
}
