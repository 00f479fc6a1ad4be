/**
 * `kvault methods`: every preset and every part a spec can name.
 *
 * @module
 */
import { describeMethods, type PartDescription } from "@kvault/compression";
import type { Command } from "commander";
import { define, type Host, runs } from "./command.ts";

export function addMethods(program: Command, host: Host): void {
  const methods = define(program, {
    usage: "methods",
    summary: "List compression methods and their parameters",
    description: `A method is a preset, or a spec of four parts: scorer|allocator|selector|codec. The scorer says what
matters, the allocator splits the budget over layers and heads, the selector picks, the codec writes bytes.
A refit may stand before the codec: it changes the kept values so that attention puts out what it did.`,
    examples: [["kvault methods --json", "everything, with defaults"]],
  });
  runs(methods, host, async ({ terminal }) => {
    const all = describeMethods();
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

function describePart({ name, summary, source, params }: PartDescription): string {
  const lines = params.map(
    (param) =>
      `      ${param.name}=${param.default ?? ""}  ${param.summary}${param.values === undefined ? "" : ` (${param.values.join(", ")})`}`,
  );
  return [`  ${name}  (${source})`, `      ${summary}`, ...lines].join("\n");
}
