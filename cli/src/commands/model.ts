/**
 * `kvault model …`: the models of the catalogue, getting them here, and adding one's own.
 *
 * @module
 */
import { type Command, Option } from "commander";
import { fetchModel, knownModels } from "../models.ts";
import { cacheDirOption, type EngineFlags, engineSettings, offlineOption } from "../options.ts";
import { table } from "../terminal/table.ts";
import { formatBytes } from "../terminal/units.ts";
import { define, group, type Host, runs } from "./command.ts";

export function addModel(program: Command, host: Host): void {
  const model = group(program, "model", "List, download and add models");
  const list = define(model, {
    usage: "list",
    summary: "List the models of the catalogue",
    examples: [["kvault model list --json", "with digests and licences"]],
  }).addOption(cacheDirOption());
  runs<EngineFlags>(list, host, async ({ terminal, env }, options) => {
    const models = await knownModels(engineSettings(options, env).cacheDir);
    terminal.result(models, () =>
      table(
        ["model", "size", "here", "longest text", "architecture", "licence"],
        models.map(({ name, bytes, present, maxTokens, architecture, licence }) => [
          name,
          formatBytes(bytes),
          present ? "yes" : "no",
          `${maxTokens} tokens`,
          architecture,
          licence,
        ]),
      ),
    );
  });
  const pull = define(model, {
    usage: "pull <model...>",
    summary: "Download models and verify them",
    description: `Downloads the weight files, goes on where an interrupted download stopped, and checks each against the
sha256 of the catalogue. What is here already is only checked.`,
    examples: [["kvault model pull qwen2.5-coder-0.5b", "the model of the demo, 491 MB"]],
  })
    .addOption(cacheDirOption())
    .addOption(offlineOption());
  runs<EngineFlags>(pull, host, async ({ terminal, signal, env }, options, ...names) => {
    const { cacheDir, offline } = engineSettings(options, env);
    for (const name of names) {
      const path = await fetchModel(name, { cacheDir, offline, progress: terminal.progress, signal });
      terminal.result({ model: name, path }, () => `${name}  ${path}`);
    }
  });
  const add = define(model, {
    usage: "add <name> <path>",
    summary: "Make weights of this machine a model",
    description: `PATH is a GGUF file, or a folder with config.json, tokenizer.json and .safetensors files. It is hashed, and
an entry for it is written to catalogue.json in the cache folder; every process that uses that folder
knows the model from its next start. A folder is used where it is, a file is copied into the cache.`,
    examples: [["kvault model add llama-3.1-8b ~/models/Llama-3.1-8B-Instruct --licence Llama-3.1", "a downloaded folder"]],
  })
    .addOption(new Option("--licence <name>", "licence of the weights, shown in lists").default("unknown"))
    .addOption(cacheDirOption());
  runs<EngineFlags & { licence: string }>(add, host, async ({ terminal, env }, options, name, path) => {
    const { cacheDir } = engineSettings(options, env);
    const { addLocalModel } = await import("@kvault/model");
    const entry = await addLocalModel(cacheDir, { name: name as string, path: path as string, licence: options.licence });
    const { sha256, bytes, config } = entry;
    terminal.result({ model: entry.name, sha256, bytes, architecture: config.architecture }, () => `${entry.name}  ${sha256}`);
  });
}
