/**
 * `kvault inspect scores`: a scorer's figures for given token ids, for studies and comparisons.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { scorerFromSpec } from "@kvault/compression";
import { invalidArgument } from "@kvault/core";
import { type Command, InvalidArgumentError, Option } from "commander";
import { fetchModel } from "../models.ts";
import { type EngineFlags, engineSettings, modelOption, withEngineFlags } from "../options.ts";
import { define, type Host, runs } from "./command.ts";

/** No model of the catalogue reads more. */
const MAX_IDS = 1 << 20;

interface ScoresOptions extends EngineFlags {
  readonly model: string;
  readonly ids: string;
  readonly prefixTokens: number;
  readonly method: string;
  readonly out: string;
  readonly activations: "int8" | "f32";
}

export function addInspectScores(inspect: Command, host: Host): void {
  const scores = define(inspect, {
    usage: "scores",
    summary: "Write a scorer's scores for given token ids",
    description: `Runs the model over token ids, with no server and no store, and writes a safetensors file with \`scores\`
f32 [layer, kvHead, position] and \`last_logits\` f32 [vocabulary], the logits after the last id. The ids include
the template's prefix; what follows the context comes from the model's template.`,
    examples: [
      [
        'kvault inspect scores --model smollm2-135m --ids ids.json --prefix-tokens 24 --method "kvzip(chunk=256,form=kvpress)" --out scores.safetensors',
        "KVzip in chunks of 256, in the form of another implementation",
      ],
    ],
  })
    .addOption(modelOption())
    .requiredOption("--ids <file>", "JSON array of token ids")
    .requiredOption("--prefix-tokens <n>", "how many of them are the template's prefix", wholeNumber)
    .requiredOption("--method <spec>", "scorer, preset or whole spec; see `kvault methods`")
    .requiredOption("-o, --out <file>", "where to write the safetensors file")
    .addOption(
      new Option("--activations <type>", "inside matrix products; f32 is slower").choices(["int8", "f32"]).default("int8"),
    );
  withEngineFlags(scores);
  runs<ScoresOptions>(scores, host, async ({ terminal, signal, env }, options) => {
    const { model, prefixTokens, method, activations } = options;
    const ids = readIds(options.ids, prefixTokens);
    scorerFromSpec(method);
    const { threads, offline, cacheDir } = engineSettings(options, env);
    await fetchModel(model, { cacheDir, offline, progress: terminal.progress, signal });
    const { openEngine } = await import("@kvault/runtime");
    const engine = await openEngine({
      storeUrl: "memory:",
      cacheDir,
      offline,
      numThreads: threads,
      residentBytes: 0,
      activations,
    });
    try {
      const outPath = resolve(options.out);
      const { spec, numLayers, numKvHeads, seqLen } = await engine.inspectScores(
        { model, ids, prefixTokens, method, outPath },
        {
          signal,
          onProgress: ({ phase, done, total }) => terminal.progress.update({ label: phase, done, total, unit: "tokens" }),
        },
      );
      const shape = [numLayers, numKvHeads, seqLen];
      terminal.result({ spec, shape, out: outPath }, () => `${spec}: scores [${shape.join(", ")}] in ${outPath}`);
    } finally {
      await engine.close();
    }
  });
}

function readIds(path: string, prefixTokens: number): Int32Array {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw invalidArgument("ids", `Cannot read token ids of "${path}": ${cause instanceof Error ? cause.message : "unreadable"}`);
  }
  const isId = (id: unknown): boolean => Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31;
  if (!Array.isArray(value) || !value.every(isId)) {
    throw invalidArgument("ids", `Cannot read token ids of "${path}": not a JSON array of whole numbers`);
  }
  if (value.length <= prefixTokens || value.length > MAX_IDS) {
    throw invalidArgument(
      "ids",
      `Cannot score ${value.length} ids: there must be more than the ${prefixTokens} of the prefix and at most ${MAX_IDS}`,
    );
  }
  return Int32Array.from(value as number[]);
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError("Must be a whole number.");
  return value;
}
