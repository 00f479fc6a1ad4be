/**
 * A context as people and scripts see it.
 *
 * @module
 */
import type { Context } from "@kvault/client";
import type { Terminal } from "./terminal/terminal.ts";
import { formatBytes, formatCount, formatSeconds } from "./terminal/units.ts";

/** The id alone: what fits a table and can be typed again. */
export function contextId(name: string): string {
  return name.replace(/^contexts\//, "");
}

/** JSON for scripts: the client's own names, times in ISO 8601, and the error with its message. */
export function contextJson({ error, ...context }: Context): unknown {
  if (error === undefined) return context;
  return { ...context, error: { code: error.code, message: error.message, details: error.details } };
}

/** Lines about one context. */
export function describeContext(context: Context): string {
  const { report, progress, error } = context;
  const lines: [string, string][] = [
    ["context", context.name],
    ["state", context.state],
    ["model", context.model],
    ["spec", context.spec],
    ["digest", context.digest],
  ];
  if (context.displayName !== "") lines.push(["name", context.displayName]);
  for (const [key, value] of Object.entries(context.labels)) lines.push(["label", `${key}=${value}`]);
  if (context.createTime !== undefined) lines.push(["created", context.createTime.toISOString()]);
  if (context.expireTime !== undefined) {
    const after =
      context.refreshOnUse && context.ttlSeconds !== undefined
        ? ` (${formatSeconds(context.ttlSeconds)} after its last use)`
        : "";
    lines.push(["expires", `${context.expireTime.toISOString()}${after}`]);
  }
  if (context.pinned) lines.push(["pinned", "does not expire, is deleted only with --force"]);
  if (context.purgeTime !== undefined) lines.push(["undelete", `until ${context.purgeTime.toISOString()}`]);
  if (context.state === "CREATING" && progress !== undefined) lines.push(["progress", `${progress.done} of ${progress.total}`]);
  if (error !== undefined) lines.push(["error", `${error.message} [${error.code}]`]);
  if (report !== undefined) {
    const { seconds } = report;
    lines.push(
      ["tokens", `${formatCount(report.contextTokens)} (and ${report.prefixTokens} of the template)`],
      ["kept", `${formatCount(report.keptPairs)} of ${formatCount(report.totalPairs)} KV pairs`],
      ["stored", `${formatBytes(report.storedBytes)} instead of ${formatBytes(report.rawBytesF16)}`],
    );
    const phases = (["prefill", "score", "compress", "publish"] as const).map(
      (phase) => `${phase} ${formatSeconds(seconds[phase])}`,
    );
    lines.push(["took", phases.join(", ")]);
  }
  return lines.map(([label, value]) => `${label.padEnd(9)} ${value}`).join("\n");
}

/** Says which method a request that named none got, and how to get ours where the model is not calibrated for it. */
export function noteDefault(terminal: Terminal, { spec, model }: Pick<Context, "spec" | "model">): void {
  terminal.note(`method     ${spec}`);
  if (spec.startsWith("surrogate")) return;
  const name = model.replace(/^models\//, "");
  terminal.note(`           KVzip: our own faster method was not evaluated on ${name}; --method kvault tries it`);
}
