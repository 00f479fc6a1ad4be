/**
 * `kvault status`: the workers behind a gateway, the contexts, and what is resident where.
 *
 * @module
 */
import type { Context } from "@kvault/client";
import { type Worker, Worker_Role } from "@kvault/rpc";
import type { Command } from "commander";
import { contextId } from "../context-view.ts";
import { withGateway } from "../gateway-client.ts";
import { type ConnectionFlags, withConnectionFlags } from "../options.ts";
import { table } from "../terminal/table.ts";
import { formatBytes, formatCount } from "../terminal/units.ts";
import { define, type Host, runs } from "./command.ts";

/** Contexts in the table; JSON has all. */
const SHOWN_CONTEXTS = 50;

export function addStatus(program: Command, host: Host): void {
  const status = define(program, {
    usage: "status",
    summary: "Show workers, contexts, and what is resident where",
    description: `Asks a gateway for the workers it knows, as of their last beat, and for the caller's contexts.
A context that no worker holds is loaded by its next question.`,
    examples: [
      ["kvault status", "one table of workers, one of contexts"],
      ["kvault status --json", "the same as one JSON object"],
    ],
  });
  withConnectionFlags(status);
  runs<ConnectionFlags>(status, host, async ({ terminal, signal }, flags) => {
    await withGateway(flags, async (client) => {
      const { workers } = await client.api.cluster.listWorkers({}, { signal });
      const contexts: Context[] = [];
      for await (const context of client.contexts.list({ signal })) contexts.push(context);
      terminal.result(statusJson(workers, contexts), () => describeStatus(workers, contexts));
    });
  });
}

function statusJson(workers: readonly Worker[], contexts: readonly Context[]): unknown {
  return {
    workers: workers.map((worker) => ({
      role: roleName(worker),
      address: worker.address,
      live: worker.live,
      draining: worker.draining,
      incarnation: worker.incarnation,
      models: worker.models,
      runningBuilds: worker.runningBuilds,
      runningQueries: worker.runningQueries,
      residentBytes: Number(worker.residentBytes),
      residentContexts: worker.residentContexts,
      engineRestarts: worker.engineRestarts,
    })),
    contexts: contexts.map((context) => ({
      name: context.name,
      state: context.state,
      model: context.model,
      storedBytes: context.report?.storedBytes ?? 0,
      residentOn: residentOn(context, workers),
    })),
  };
}

function describeStatus(workers: readonly Worker[], contexts: readonly Context[]): string {
  const lines = [
    workers.length === 0
      ? "No workers."
      : table(
          ["worker", "address", "state", "builds", "queries", "resident", "contexts", "restarts"],
          workers.map((worker) => [
            roleName(worker),
            worker.address,
            stateOf(worker),
            formatCount(worker.runningBuilds),
            formatCount(worker.runningQueries),
            formatBytes(Number(worker.residentBytes)),
            formatCount(worker.residentContexts.length),
            formatCount(worker.engineRestarts),
          ]),
        ),
    "",
    contexts.length === 0
      ? "No contexts."
      : table(
          ["context", "state", "model", "stored", "resident on"],
          contexts
            .slice(0, SHOWN_CONTEXTS)
            .map((context) => [
              contextId(context.name),
              context.state,
              context.model,
              context.state === "ACTIVE" ? formatBytes(context.report?.storedBytes ?? 0) : "",
              residentOn(context, workers).join(" "),
            ]),
        ),
  ];
  if (contexts.length > SHOWN_CONTEXTS) lines.push(`and ${formatCount(contexts.length - SHOWN_CONTEXTS)} more`);
  return lines.join("\n");
}

function residentOn({ name }: Context, workers: readonly Worker[]): string[] {
  return workers.filter(({ live, residentContexts }) => live && residentContexts.includes(name)).map(({ address }) => address);
}

function roleName({ role }: Worker): string {
  return (Worker_Role[role] ?? "UNSPECIFIED").toLowerCase();
}

function stateOf({ live, draining }: Worker): string {
  if (!live) return "silent";
  return draining ? "draining" : "live";
}
