/**
 * Fills in what is computed of a catalogue entry: sizes, digests, identity.
 *
 *     npx tsx --conditions=kvault-source tools/pin-model.ts NAME PATH
 *
 * PATH is a GGUF file or a folder of safetensors.
 *
 * NAME is an entry of `libs/model/catalogue.json` that has at least `name`, `fileName`, `licence`
 * and `sources`. A pinned `sha256` that the file does not have is an error, never overwritten.
 *
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";
import { identityOf, openWeights, readModelConfig, weightsSha256 } from "@kvault/model";

const CATALOGUE = new URL("../libs/model/catalogue.json", import.meta.url);

const [name, path] = process.argv.slice(2);
if (name === undefined || path === undefined) throw new Error("Usage: pin-model.ts NAME PATH");

const catalogue = JSON.parse(await readFile(CATALOGUE, "utf8")) as { models: { name: string; sha256?: string }[] };
const index = catalogue.models.findIndex((entry) => entry.name === name);
const entry = catalogue.models[index];
if (entry === undefined) throw new Error(`No entry "${name}" in ${CATALOGUE.pathname}`);

const sha256 = await weightsSha256(path);
if (entry.sha256 !== undefined && entry.sha256 !== sha256) {
  throw new Error(`Cannot pin "${name}": ${path} has sha256 ${sha256}, the catalogue says ${entry.sha256}`);
}
const source = await openWeights(path);
try {
  const config = await readModelConfig(source);
  const { fileName, licence, sources } = entry as unknown as Record<string, unknown>;
  catalogue.models[index] = {
    name,
    ...{ fileName, sha256, bytes: source.fileBytes, licence, config, identity: identityOf(source, config, sha256), sources },
  };
} finally {
  await source.close();
}
await writeFile(CATALOGUE, `${JSON.stringify(catalogue, undefined, 2)}\n`);
console.log(JSON.stringify(catalogue.models[index], undefined, 2));
