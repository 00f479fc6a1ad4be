/**
 * `kvault context …`, what becomes of a stored context: update, pin, unpin, delete, undelete, warm.
 *
 * @module
 */
import { type Context, type ContextChanges, contextName, type KvaultClient } from "@kvault/client";
import { invalidArgument, isKvaultError } from "@kvault/core";
import { type Command, Option } from "commander";
import { contextJson, describeContext } from "../context-view.ts";
import { withGateway } from "../gateway-client.ts";
import { type ConnectionFlags, collect, collectLabel, duration, positiveInteger, withConnectionFlags } from "../options.ts";
import { formatBytes } from "../terminal/units.ts";
import { type Call, define, type Host, runs } from "./command.ts";

interface UpdateOptions extends ConnectionFlags {
  readonly name?: string;
  readonly label?: Readonly<Record<string, string>>;
  readonly removeLabel?: readonly string[];
  readonly ttl?: number;
  readonly expire: boolean;
  readonly refreshOnUse?: boolean;
}

interface DeleteOptions extends ConnectionFlags {
  readonly purge?: boolean;
  readonly force?: boolean;
}

/** Tries of a change of single labels against others' changes of the same context. */
const MAX_TRIES = 5;

export function addContextLife(context: Command, host: Host): void {
  const update = define(context, {
    usage: "update <context>",
    summary: "Change name, labels or lifetime",
    description: "What an answer depends on never changes: another text, model or method is another context.",
    examples: [
      ["kvault context update c0123… --name 'Contract, final' --label stage=final", "other labels stay"],
      ["kvault context update c0123… --ttl 12h --refresh-on-use", "gone twelve hours after its last use"],
      ["kvault context update c0123… --no-expire", "kept until it is deleted"],
    ],
  })
    .option("--name <text>", "name for people")
    .option("--label <key=value>", "set a label, may be repeated", collectLabel)
    .option("--remove-label <key>", "take a label away, may be repeated", collect)
    .option("--ttl <duration>", "lifetime from now, such as 90s, 15m, 12h or 30d", duration)
    .option("--no-expire", "never expires")
    .option("--refresh-on-use", "every use moves the expiry on by the ttl")
    .option("--no-refresh-on-use", "it expires when it does, used or not");
  withConnectionFlags(update);
  runs<UpdateOptions>(update, host, (call, options, name = "") =>
    withGateway(options, async (gateway) => show(call, await updateContext(gateway, contextName(name), options, call.signal))),
  );

  for (const [verb, pinned, summary, meaning] of [
    ["pin", true, "Keep contexts from expiring and from being deleted", "until it is unpinned, or deleted with --force"],
    ["unpin", false, "Let contexts expire and be deleted again", "one whose time is over expires now"],
  ] as const) {
    const command = define(context, {
      usage: `${verb} <context...>`,
      summary,
      examples: [[`kvault context ${verb} c0123…`, meaning]],
    });
    withConnectionFlags(command);
    runs<ConnectionFlags>(command, host, (call, flags, ...names) =>
      withGateway(flags, async ({ contexts }) => {
        for (const name of names.map(contextName)) {
          const changed = await contexts.update(name, { pinned }, { signal: call.signal });
          call.terminal.result(contextJson(changed), () => `${verb}ned ${name}`);
        }
      }),
    );
  }

  const remove = define(context, {
    usage: "delete <context...>",
    summary: "Take contexts out of use",
    description: `A context can be undeleted for a day (KVAULT_DELETE_RETENTION_MS), then its bytes go. A build that runs is
cancelled, and leaves nothing to undelete.`,
    examples: [
      ["kvault context delete c0123… c4567…", "can be undeleted"],
      ["kvault context delete c0123… --purge", "its bytes are gone when the command returns"],
    ],
  })
    .option("--purge", "remove the stored bytes now")
    .option("--force", "also when it is pinned");
  withConnectionFlags(remove);
  runs<DeleteOptions>(remove, host, (call, { purge = false, force = false, ...flags }, ...names) =>
    withGateway(flags, async ({ contexts }) => {
      for (const name of names.map(contextName)) {
        const kept = await contexts.delete(name, { purge, force, signal: call.signal });
        const purgeTime = kept?.purgeTime?.toISOString();
        const json = { deleted: name, ...(purgeTime === undefined ? {} : { purgeTime }) };
        call.terminal.result(json, () =>
          purgeTime === undefined ? `deleted ${name}` : `deleted ${name}, can be undeleted until ${purgeTime}`,
        );
      }
    }),
  );

  const undelete = define(context, {
    usage: "undelete <context...>",
    summary: "Bring deleted contexts back",
    examples: [
      ["kvault context undelete c0123…", "as it was, and nothing is built"],
      ["kvault context list --state deleted", "what can be brought back"],
    ],
  });
  withConnectionFlags(undelete);
  runs<ConnectionFlags>(undelete, host, (call, flags, ...names) =>
    withGateway(flags, async ({ contexts }) => {
      for (const name of names.map(contextName)) {
        const back = await contexts.undelete(name, { signal: call.signal });
        call.terminal.result(contextJson(back), () => `undeleted ${name}`);
      }
    }),
  );

  const warm = define(context, {
    usage: "warm <context>",
    summary: "Load a context ahead of its first question",
    examples: [
      ["kvault context warm c0123…", "at the worker that its questions will go to"],
      ["kvault context warm c0123… --replicas 3", "at three, before a burst"],
    ],
  }).addOption(new Option("--replicas <n>", "at how many workers").default(1).argParser(positiveInteger));
  withConnectionFlags(warm);
  runs<ConnectionFlags & { readonly replicas: number }>(warm, host, (call, { replicas: wanted, ...flags }, name = "") =>
    withGateway(flags, async ({ contexts }) => {
      const replicas = await contexts.warm(name, { replicas: wanted, signal: call.signal });
      const found = replicas.map(({ workerAddress, cache }) => ({
        worker: workerAddress,
        wasResident: cache.tier === "memory",
        bytesLoaded: cache.bytesLoaded,
      }));
      call.terminal.result({ context: contextName(name), replicas: found }, () =>
        found
          .map(({ worker, wasResident, bytesLoaded }) =>
            wasResident ? `${worker} had it` : `${worker} loaded ${formatBytes(bytesLoaded)}`,
          )
          .join("\n"),
      );
    }),
  );
}

function show({ terminal }: Call, context: Context): void {
  terminal.result(contextJson(context), () => describeContext(context));
}

async function updateContext(
  { contexts }: KvaultClient,
  name: string,
  options: UpdateOptions,
  signal: AbortSignal,
): Promise<Context> {
  const { name: displayName, label, removeLabel, ttl, expire, refreshOnUse } = options;
  if (ttl !== undefined && !expire)
    throw invalidArgument("ttl", "Cannot set a lifetime and none: leave --ttl or --no-expire out");
  const changes: ContextChanges = {
    ...(displayName === undefined ? {} : { displayName }),
    ...(ttl === undefined ? {} : { ttlSeconds: ttl }),
    ...(expire ? {} : { ttlSeconds: null }),
    ...(refreshOnUse === undefined ? {} : { refreshOnUse }),
  };
  if (label === undefined && removeLabel === undefined) {
    if (Object.keys(changes).length === 0)
      throw invalidArgument("update_mask", "Cannot change the context: say what, see --help");
    return contexts.update(name, changes, { signal });
  }
  for (let tries = 1; ; tries++) {
    const current = await contexts.get(name, { signal });
    const labels: Record<string, string> = { ...current.labels, ...label };
    for (const key of removeLabel ?? []) delete labels[key];
    try {
      return await contexts.update(name, { ...changes, labels }, { etag: current.etag, signal });
    } catch (error) {
      if (tries === MAX_TRIES || !isKvaultError(error, "CONTEXT_CHANGED")) throw error;
    }
  }
}
