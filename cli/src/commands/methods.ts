/**
 * `kvault methods`: every preset and every part a spec can name.
 *
 * @module
 */
import { describeMethods, openProfiles, type PartDescription } from "@kvault/compression";
import type { Command } from "commander";
import { cacheDirOption, type EngineFlags, engineSettings } from "../options.ts";
import { define, type Host, runs } from "./command.ts";

export function addMethods(program: Command, host: Host): void {
  const methods = define(program, {
    usage: "methods",
    summary: "List compression methods and their parameters",
    description: `A method is a preset, or a spec of four parts: scorer|allocator|selector|codec. The scorer says what
matters, the allocator splits the budget over layers and heads, the selector picks, the codec writes bytes.
A refit may stand before the codec: it changes the kept values so that attention puts out what it did.`,
    examples: [["kvault methods --json", "everything, with defaults, and which models are calibrated for it"]],
  }).addOption(cacheDirOption());
  runs<EngineFlags>(methods, host, async ({ terminal, env }, options) => {
    const all = describeMethods(openProfiles(engineSettings(options, env).cacheDir));
    terminal.result(all, () => {
      const presets = all.presets.map(({ name, summary, spec, paper, needsProfile, profiledFor }) => {
        const profiles = `\n      needs ${needsProfile.join(", ")}; made for ${profiledFor.join(", ") || "no model yet: kvault calibrate"}`;
        return `  ${name}  (${paper})\n      ${summary}\n      ${spec}${needsProfile.length === 0 ? "" : profiles}`;
      });
      const parts = (["scorers", "allocators", "selectors", "refits", "codecs"] as const).map(
        (role) => `${role}\n${all[role].map(describePart).join("\n")}`,
      );
      return [`presets\n${presets.join("\n")}`, ...parts].join("\n\n");
    });
  });
}

function describePart({ name, summary, source, params }: PartDescription): string {
  const lines = params.map(
    (param) =>
      `      ${param.name}=${param.default ?? ""}  ${param.summary}${param.values === undefined ? "" : ` (${param.values.join(", ")})`}`,
  );
  return [`  ${name}  (${source})`, `      ${summary}`, ...lines].join("\n");
}
