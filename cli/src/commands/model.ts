/**
 * `kvault model …`: the models of the catalogue, and getting them here.
 *
 * @module
 */
import type { Command } from "commander";
import { fetchModel, knownModels } from "../models.ts";
import { cacheDirOption, type EngineFlags, engineSettings, offlineOption } from "../options.ts";
import { table } from "../terminal/table.ts";
import { formatBytes } from "../terminal/units.ts";
import { define, group, type Host, runs } from "./command.ts";

export function addModel(program: Command, host: Host): void {
  const model = group(program, "model", "List and download models");
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
}
