/**
 * A context as people and scripts see it.
 *
 * @module
 */
import { type CompressionReport, type Context, Context_State, fromRpcStatus, Progress_Phase } from "@kvault/rpc";
import type { Terminal } from "./terminal/terminal.ts";
import { formatBytes, formatCount, formatSeconds } from "./terminal/units.ts";

/** `contexts/{id}` from what was typed: the name or the bare id. */
export function contextName(text: string): string {
  return text.startsWith("contexts/") ? text : `contexts/${text}`;
}

/** The id alone: what fits a table and can be typed again. */
export function contextId(name: string): string {
  return name.replace(/^contexts\//, "");
}

/** JSON for scripts: proto field names in camel case, times in ISO 8601, counts as numbers. */
export function contextJson(context: Context): unknown {
  const { name, state, model, displayName, labels, spec, digest, pinned, refreshOnUse, etag } = context;
  const { createTime, updateTime, expireTime, deleteTime, purgeTime, ttl, progress, report, error } = context;
  const failure = error === undefined ? undefined : fromRpcStatus(error);
  return {
    name,
    state: stateName(state),
    model,
    displayName,
    labels,
    spec,
    digest,
    ...(createTime === undefined ? {} : { createTime: isoTime(createTime) }),
    ...(updateTime === undefined ? {} : { updateTime: isoTime(updateTime) }),
    ...(expireTime === undefined ? {} : { expireTime: isoTime(expireTime) }),
    ...(ttl === undefined ? {} : { ttlSeconds: Number(ttl.seconds) }),
    refreshOnUse,
    pinned,
    ...(deleteTime === undefined ? {} : { deleteTime: isoTime(deleteTime) }),
    ...(purgeTime === undefined ? {} : { purgeTime: isoTime(purgeTime) }),
    etag,
    ...(progress === undefined
      ? {}
      : { progress: { phase: Progress_Phase[progress.phase], done: progress.done, total: progress.total } }),
    ...(report === undefined ? {} : { report: reportJson(report) }),
    ...(failure === undefined ? {} : { error: { code: failure.code, message: failure.message, details: failure.details } }),
  };
}

function reportJson(report: CompressionReport): unknown {
  const { contextTokens, prefixTokens, keepRatio, keptRatio, queryAgnostic, resumedTokens, seconds, layers } = report;
  return {
    contextTokens,
    prefixTokens,
    keepRatio,
    keptRatio,
    keptPairs: Number(report.keptPairs),
    totalPairs: Number(report.totalPairs),
    rawBytesF16: Number(report.rawBytesF16),
    storedBytes: Number(report.storedBytes),
    queryAgnostic,
    resumedTokens,
    seconds: Object.fromEntries(PHASES.map((phase) => [phase, seconds?.[phase] ?? 0])),
    keptPerLayerAndHead: layers.map((layer) => layer.keptPerHead),
  };
}

const PHASES = ["queue", "load", "prefill", "score", "compress", "publish"] as const;

export function stateName(state: Context_State): string {
  return Context_State[state] ?? String(state);
}

/** Lines about one context. */
export function describeContext(context: Context): string {
  const { report, progress, error } = context;
  const lines: [string, string][] = [
    ["context", context.name],
    ["state", stateName(context.state)],
    ["model", context.model],
    ["spec", context.spec],
    ["digest", context.digest],
  ];
  if (context.displayName !== "") lines.push(["name", context.displayName]);
  for (const [key, value] of Object.entries(context.labels)) lines.push(["label", `${key}=${value}`]);
  if (context.createTime !== undefined) lines.push(["created", isoTime(context.createTime)]);
  if (context.expireTime !== undefined) {
    const after =
      context.refreshOnUse && context.ttl !== undefined
        ? ` (${formatSeconds(Number(context.ttl.seconds))} after its last use)`
        : "";
    lines.push(["expires", `${isoTime(context.expireTime)}${after}`]);
  }
  if (context.pinned) lines.push(["pinned", "does not expire, is deleted only with --force"]);
  if (context.purgeTime !== undefined) lines.push(["undelete", `until ${isoTime(context.purgeTime)}`]);
  if (context.state === Context_State.CREATING && progress !== undefined)
    lines.push(["progress", `${progress.done} of ${progress.total}`]);
  if (error !== undefined) lines.push(["error", `${error.message} [${fromRpcStatus(error).code}]`]);
  if (report !== undefined) {
    const { seconds } = report;
    lines.push(
      ["tokens", `${formatCount(report.contextTokens)} (and ${report.prefixTokens} of the template)`],
      ["kept", `${formatCount(Number(report.keptPairs))} of ${formatCount(Number(report.totalPairs))} KV pairs`],
      ["stored", `${formatBytes(Number(report.storedBytes))} instead of ${formatBytes(Number(report.rawBytesF16))}`],
    );
    if (seconds !== undefined) {
      const phases = (["prefill", "score", "compress", "publish"] as const).map(
        (phase) => `${phase} ${formatSeconds(seconds[phase])}`,
      );
      lines.push(["took", phases.join(", ")]);
    }
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

function isoTime(time: { readonly seconds: bigint }): string {
  return new Date(Number(time.seconds) * 1000).toISOString();
}
