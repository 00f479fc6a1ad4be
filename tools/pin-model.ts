/**
 * Fills in what is computed of a catalogue entry: sizes, digests, identity.
 *
 *     npx tsx --conditions=kvault-source tools/pin-model.ts NAME PATH
 *
 * PATH is a GGUF file or a folder of safetensors. NAME is an entry of `libs/model/catalogue.json`
 * that has at least `name`, `fileName`, `licence` and `sources`. A pinned `sha256` that the weights
 * do not have is an error, never overwritten.
 *
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";
import { type ModelToPin, pinEntry } from "@kvault/model";

const CATALOGUE = new URL("../libs/model/catalogue.json", import.meta.url);

const [name, path] = process.argv.slice(2);
if (name === undefined || path === undefined) throw new Error("Usage: pin-model.ts NAME PATH");

const catalogue = JSON.parse(await readFile(CATALOGUE, "utf8")) as { models: (ModelToPin & { sha256?: string })[] };
const index = catalogue.models.findIndex((entry) => entry.name === name);
const entry = catalogue.models[index];
if (entry === undefined) throw new Error(`No entry "${name}" in ${CATALOGUE.pathname}`);

const pinned = await pinEntry(entry, path);
if (entry.sha256 !== undefined && entry.sha256 !== pinned.sha256) {
  throw new Error(`Cannot pin "${name}": ${path} has sha256 ${pinned.sha256}, the catalogue says ${entry.sha256}`);
}
catalogue.models[index] = pinned;
await writeFile(CATALOGUE, `${JSON.stringify(catalogue, undefined, 2)}\n`);
console.log(JSON.stringify(pinned, undefined, 2));
