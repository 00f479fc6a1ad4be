/**
 * `make eval`: the accuracy table, text by text and cell by cell, into eval/results/MODEL.json.
 *
 * What is there already is not measured again, so it may be stopped at any time.
 * `main.ts MODEL [--cells N] [--texts a,b]` measures the first N cells only, of some texts.
 *
 * @module
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openProfiles } from "@kvault/compression";
import { sha256Hex } from "@kvault/core";
import { openTestModel } from "../testing/test-model.ts";
import { CELLS } from "./cells.ts";
import { type CellResult, TextEvaluation } from "./evaluate-text.ts";

const EVAL = fileURLToPath(new URL("../../../../eval", import.meta.url));

interface Results {
  readonly model: string;
  readonly profile: string;
  /** By text, in the order of measurement. */
  readonly texts: Record<string, { readonly sha256: string; readonly cells: CellResult[] }>;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { cells: { type: "string", default: String(CELLS.length) }, texts: { type: "string" } },
});
const model = positionals[0] ?? "qwen2.5-coder-0.5b";
const cells = CELLS.slice(0, Number(values.cells));
const all = readdirSync(join(EVAL, "texts"))
  .filter((file) => file.endsWith(".txt"))
  .map((file) => file.slice(0, -".txt".length));
const names = values.texts?.split(",") ?? all.sort();

const runner = await openTestModel(model, "int8");
const profiles = openProfiles();
const { weightsSha256 } = runner.identity;
const profile = profiles.find({ name: model, weightsSha256 }, "surrogate")?.digest ?? "";
const file = join(EVAL, "results", `${model}.json`);
const results = readResults();
try {
  for (const name of names) {
    const text = readFileSync(join(EVAL, "texts", `${name}.txt`), "utf8");
    const sha256 = sha256Hex(text);
    const known = results.texts[name];
    const entry = known?.sha256 === sha256 ? known : { sha256, cells: [] };
    results.texts[name] = entry;
    const missing = cells.filter((cell) => !entry.cells.some((done) => done.cell === cell.name));
    if (missing.length === 0) continue;
    const evaluation = await TextEvaluation.open(runner, model, text, profiles);
    for (const cell of missing) {
      const result = await evaluation.measure(cell);
      entry.cells.push(result);
      save();
      process.stderr.write(`${name}  ${cell.name}  ${result.needles} needles, nll ${result.nll.toFixed(3)}\n`);
    }
    evaluation.close();
  }
} finally {
  await runner.close();
}

/** What earlier runs measured with the same profile. */
function readResults(): Results {
  try {
    const found = JSON.parse(readFileSync(file, "utf8")) as Results;
    if (found.profile === profile) return found;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return { model, profile, texts: {} };
}

/** All or nothing. */
function save(): void {
  mkdirSync(join(EVAL, "results"), { recursive: true });
  writeFileSync(`${file}.part`, `${JSON.stringify(results, undefined, 2)}\n`);
  renameSync(`${file}.part`, file);
}
