/**
 * `kvault explain`: how a request was routed, what it hit, what each phase cost.
 *
 * @module
 */
import { type ExplainRequestResponse, timestampMs } from "@kvault/rpc";
import type { Command } from "commander";
import { withGateway } from "../gateway-client.ts";
import { type ConnectionFlags, withConnectionFlags } from "../options.ts";
import { table } from "../terminal/table.ts";
import { formatBytes, formatSeconds } from "../terminal/units.ts";
import { define, type Host, runs } from "./command.ts";

export function addExplain(program: Command, host: Host): void {
  const explain = define(program, {
    usage: "explain <request-id>",
    summary: "Show how a request was routed, what it hit, what each phase cost",
    description: `Asks the gateway what it remembers of one of the caller's own requests: it keeps the last 2,000.
The id is the caller's x-request-id; every error tells it, and so does every line of the gateway's log.`,
    examples: [
      ["kvault explain 3f2a9c0e-…", "workers asked, where the context was, milliseconds of each phase"],
      ["kvault explain 3f2a9c0e-… --json", "the same as one JSON object"],
    ],
  });
  withConnectionFlags(explain);
  runs<ConnectionFlags>(explain, host, async ({ terminal, signal }, flags, requestId = "") => {
    await withGateway(flags, async ({ api }) => {
      const found = await api.cluster.explainRequest({ requestId }, { signal });
      terminal.result(explainJson(found), () => describe(found));
    });
  });
}

function explainJson(found: ExplainRequestResponse): unknown {
  const { requestId, method, outcome, model, contextName, traceId, usage, timings, cache, context, attempts } = found;
  const { seconds } = context?.report ?? {};
  return {
    requestId,
    method,
    startTime: found.startTime === undefined ? "" : new Date(timestampMs(found.startTime)).toISOString(),
    durationMs: Number(found.durationMs),
    outcome,
    model,
    contextName,
    traceId,
    attempts: attempts.map(({ worker, decision, atMs, sentTokens, outcome: ended }) => ({
      worker,
      decision,
      atMs: Number(atMs),
      sentTokens,
      outcome: ended,
    })),
    ...(usage && {
      usage: { contextTokens: usage.contextTokens, questionTokens: usage.questionTokens, newTokens: usage.newTokens },
    }),
    ...(timings && { timings: plain(timings) }),
    ...(cache && { cache: { reason: cache.reason, bytesLoaded: Number(cache.bytesLoaded) } }),
    ...(seconds && { buildSeconds: plain(seconds) }),
  };
}

function describe(found: ExplainRequestResponse): string {
  const { requestId, method, outcome, model, contextName, traceId, usage, timings, cache, context, attempts } = found;
  const { seconds } = context?.report ?? {};
  const rows: [string, string][] = [
    ["request", requestId],
    ["method", method],
    ["began", found.startTime === undefined ? "" : new Date(timestampMs(found.startTime)).toISOString()],
    ["ended", outcome === "" ? "not yet" : `${outcome} after ${inSeconds(Number(found.durationMs))}`],
  ];
  if (model !== "") rows.push(["model", model]);
  if (contextName !== "") rows.push(["context", contextName]);
  if (cache !== undefined) rows.push(["cache", `${cache.reason}, ${formatBytes(Number(cache.bytesLoaded))} loaded`]);
  if (usage !== undefined) {
    rows.push([
      "tokens",
      `${usage.contextTokens} of context not read again, ${usage.questionTokens} read, ${usage.newTokens} written`,
    ]);
  }
  if (timings !== undefined) {
    const { queueMs, loadMs, ttftMs, tpotMs, totalMs } = timings;
    rows.push(
      ["waited", inSeconds(queueMs)],
      ["load", inSeconds(loadMs)],
      ["first token", `${inSeconds(ttftMs)} after the worker had it`],
      ["each token", `${tpotMs.toFixed(1)} ms`],
      ["at the worker", inSeconds(totalMs)],
    );
  }
  for (const [phase, spent] of Object.entries(seconds === undefined ? {} : plain(seconds)))
    rows.push([phase, formatSeconds(spent)]);
  if (traceId !== "") rows.push(["trace", traceId]);
  const lines = [table(["", ""], rows)];
  if (attempts.length > 0) {
    const tried = attempts.map(({ worker, decision, atMs, sentTokens, outcome: ended }) => [
      worker,
      decision,
      `${atMs} ms`,
      `${sentTokens}`,
      ended === "" ? "runs" : ended,
    ]);
    lines.push("", table(["worker", "why", "at", "sent before", "ended"], tried));
  }
  return lines.join("\n");
}

const inSeconds = (ms: number): string => formatSeconds(ms / 1_000);

/** Numbers of a message. */
function plain(message: object): Record<string, number> {
  return Object.fromEntries(Object.entries(message).filter((entry): entry is [string, number] => typeof entry[1] === "number"));
}
