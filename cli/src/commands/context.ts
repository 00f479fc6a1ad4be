/**
 * `kvault context …`: create, get, list, watch; the rest is in context-life.ts.
 *
 * @module
 */
import { type Context, type ContextState, contextName } from "@kvault/client";
import { resolveSpec } from "@kvault/compression";
import { type Command, InvalidArgumentError, Option } from "commander";
import { contextId, contextJson, describeContext, noteDefault } from "../context-view.ts";
import { followContext } from "../follow-context.ts";
import { withGateway } from "../gateway-client.ts";
import {
  type ConnectionFlags,
  collectLabel,
  duration,
  keepOption,
  methodOption,
  modelOption,
  positiveInteger,
  type TextFlags,
  withConnectionFlags,
  withTextFlags,
} from "../options.ts";
import { showCost } from "../show-cost.ts";
import { readText } from "../sources/read-text.ts";
import { table } from "../terminal/table.ts";
import { formatBytes, formatCount } from "../terminal/units.ts";
import { type Call, define, group, type Host, runs } from "./command.ts";
import { addContextLife } from "./context-life.ts";

interface CreateOptions extends ConnectionFlags, TextFlags {
  readonly model: string;
  readonly method?: string;
  readonly keep?: number;
  readonly ttl?: number;
  readonly name?: string;
  readonly label?: Readonly<Record<string, string>>;
  readonly pin?: boolean;
  readonly refreshOnUse?: boolean;
  readonly requestId?: string;
  readonly wait: boolean;
  readonly dryRun?: boolean;
}

interface ListOptions extends ConnectionFlags {
  readonly limit?: number;
  readonly label?: Readonly<Record<string, string>>;
  readonly state?: readonly KnownState[];
}

type KnownState = Exclude<ContextState, "UNSPECIFIED">;

const STATES: ReadonlyMap<string, KnownState> = new Map(
  (["CREATING", "ACTIVE", "FAILED", "DELETING", "DELETED"] as const).map((state) => [state.toLowerCase(), state]),
);

/** Gathers `--state`. */
function collectState(text: string, before: readonly KnownState[] | undefined): readonly KnownState[] {
  const state = STATES.get(text.toLowerCase());
  if (state === undefined) throw new InvalidArgumentError(`Must be one of ${[...STATES.keys()].join(", ")}.`);
  return [...(before ?? []), state];
}

export function addContext(program: Command, host: Host): void {
  const context = group(program, "context", "Create, look at, change and delete stored contexts");
  const create = define(context, {
    usage: "create",
    summary: "Read a text, compress its KV cache and store it",
    description: `Reads a text with the model, keeps the fraction of its KV pairs that matters and stores them.
The same request twice is one context: its name follows from everything that could change an answer.`,
    examples: [
      ["kvault context create --file contract.txt", "keep 30% of the pairs by the default method; prints the context's name"],
      [
        "kvault context create --file src/ --ignore '*.test.ts' --dry-run",
        "a code base by its .gitignore: how many tokens, what would it cost?",
      ],
      ["kvault context create --file https://example.org/terms --file notes.md", "a web page and a file, each under its name"],
      ["kvault context create --file - --keep 0.5 --ttl 12h < notes.md", "from stdin; gone after twelve hours"],
      ['kvault context create --file a.txt --method "l2norm|uniform|top-k(keep=0.5)|int8"', "every part chosen by hand"],
    ],
  })
    .addOption(modelOption())
    .addOption(methodOption())
    .addOption(keepOption())
    .option("--ttl <duration>", "lifetime, such as 90s, 15m, 12h or 30d (default: forever)", duration)
    .option("--refresh-on-use", "every use moves the expiry on by the ttl")
    .option("--pin", "never expires, and is not deleted by mistake")
    .option("--request-id <id>", "sent again with the same id, it is the same request: for scripts that retry")
    .option("--name <text>", "name for people")
    .option("--label <key=value>", "label, may be repeated", collectLabel)
    .option("--no-wait", "return as soon as the build is queued")
    .option("--dry-run", "check the request, count its tokens, estimate what it costs, build nothing");
  withConnectionFlags(withTextFlags(create, { required: true }));
  runs<CreateOptions>(create, host, createContext);

  const get = withConnectionFlags(
    define(context, {
      usage: "get <context>",
      summary: "Show one context",
      examples: [["kvault context get c0123…", "its state and figures"]],
    }),
  );
  runs<ConnectionFlags>(get, host, (call, flags, name = "") =>
    withGateway(flags, async (gateway) => {
      const found = await gateway.contexts.get(name, { signal: call.signal });
      call.terminal.result(contextJson(found), () => describeContext(found));
    }),
  );

  const list = define(context, {
    usage: "list",
    summary: "List the contexts, oldest first",
    examples: [
      ["kvault context list --json", "one context a line"],
      ["kvault context list --label project=apollo --state active", "those that have the label and can be asked"],
      ["kvault context list --state deleted", "those that can be undeleted"],
    ],
  })
    .option("--limit <n>", "show at most this many", positiveInteger)
    .option("--label <key=value>", "only with this label, may be repeated", collectLabel)
    .addOption(new Option("--state <state>", "only in this state, may be repeated").argParser(collectState));
  withConnectionFlags(list);
  runs<ListOptions>(list, host, listContexts);

  const watch = withConnectionFlags(
    define(context, {
      usage: "watch <context>",
      summary: "Follow a build to its end",
      examples: [["kvault context watch c0123… --json", "one line for every change"]],
    }),
  );
  runs<ConnectionFlags>(watch, host, (call, flags, name = "") =>
    withGateway(flags, async (gateway) => {
      const { terminal, signal } = call;
      const onChange = (changed: Context): void => {
        if (terminal.json) terminal.result(contextJson(changed), () => "");
      };
      const active = await followContext(gateway, contextName(name), { progress: terminal.progress, onChange, signal });
      if (!terminal.json) terminal.result(contextJson(active), () => describeContext(active));
    }),
  );

  addContextLife(context, host);
}

async function createContext(call: Call, options: CreateOptions): Promise<void> {
  const { terminal, signal } = call;
  const { model, method, keep, ttl, name, label, pin, refreshOnUse, requestId, wait, dryRun = false } = options;
  if (method !== undefined) resolveSpec(method, keep);
  const { text } = await readText(options, call);
  await withGateway(options, async (gateway) => {
    const created = await gateway.contexts.submit(
      { text },
      {
        model,
        signal,
        ...(method === undefined ? {} : { method }),
        ...(keep === undefined ? {} : { keepRatio: keep }),
        ...(name === undefined ? {} : { displayName: name }),
        ...(label === undefined ? {} : { labels: label }),
        ...(ttl === undefined ? {} : { ttlSeconds: ttl }),
        ...(requestId === undefined ? {} : { creationId: requestId }),
        refreshOnUse: refreshOnUse ?? false,
        pinned: pin ?? false,
        validateOnly: dryRun,
      },
    );
    if (dryRun) {
      await showCost(gateway, call, {
        name: created,
        text,
        model,
        ...(method === undefined ? {} : { method }),
        ...(keep === undefined ? {} : { keep }),
      });
      return;
    }
    if (!wait) {
      terminal.result({ name: created }, () => created);
      return;
    }
    terminal.note(`building ${created}`);
    const active = await followContext(gateway, created, { progress: terminal.progress, signal });
    if (method === undefined) noteDefault(terminal, active);
    terminal.result(contextJson(active), () => describeContext(active));
  });
}

async function listContexts({ terminal, signal }: Call, { limit, label, state, ...flags }: ListOptions): Promise<void> {
  await withGateway(flags, async (gateway) => {
    const found: Context[] = [];
    const filter = {
      ...(limit === undefined ? {} : { limit }),
      ...(label === undefined ? {} : { labels: label }),
      ...(state === undefined ? {} : { states: state }),
    };
    for await (const context of gateway.contexts.list({ signal, ...filter })) found.push(context);
    if (terminal.json) {
      for (const each of found) terminal.result(contextJson(each), () => "");
      return;
    }
    terminal.result(undefined, () =>
      found.length === 0 ? "No contexts. Make one with `kvault context create`." : contextTable(found),
    );
  });
}

function contextTable(contexts: readonly Context[]): string {
  return table(
    ["context", "state", "model", "tokens", "stored", "name"],
    contexts.map(({ name, state, model, report, displayName }) => [
      contextId(name),
      state,
      model,
      report === undefined ? "" : formatCount(report.contextTokens),
      report === undefined ? "" : formatBytes(report.storedBytes),
      displayName,
    ]),
  );
}
