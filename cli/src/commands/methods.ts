/**
 * `kvault methods`: every preset and every part a spec can name.
 *
 * @module
 */
import { describeMethods, openProfiles, type PartDescription, type ProfileName, type ProfileStore } from "@kvault/compression";
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
    const profiles = openProfiles(engineSettings(options, env).cacheDir);
    const described = describeMethods();
    const presets = described.presets.map((preset) => ({
      ...preset,
      needsProfile: preset.profiles.length > 0,
      profiledFor: profiledFor(profiles, preset.profiles),
    }));
    const all = { ...described, presets };
    terminal.result(all, () => {
      const presets = all.presets.map(
        ({ name, summary, spec, source }) => `  ${name}  (${source})\n      ${summary}\n      ${spec}`,
      );
      const parts = (["scorers", "allocators", "selectors", "refits", "codecs"] as const).map(
        (role) => `${role}\n${all[role].map(describePart).join("\n")}`,
      );
      return [`presets\n${presets.join("\n")}`, ...parts].join("\n\n");
    });
  });
}

/** Models that have every one of `names`; empty where none is needed, any model does. */
function profiledFor(store: ProfileStore, names: readonly ProfileName[]): readonly string[] {
  const [first, ...others] = names.map((name) => store.modelsWith(name));
  return (first ?? []).filter((model) => others.every((models) => models.includes(model)));
}

function describePart({ name, summary, source, params }: PartDescription): string {
  const lines = params.map(
    (param) =>
      `      ${param.name}=${param.default ?? ""}  ${param.summary}${param.values === undefined ? "" : ` (${param.values.join(", ")})`}`,
  );
  return [`  ${name}  (${source})`, `      ${summary}`, ...lines].join("\n");
}
