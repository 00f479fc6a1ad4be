/**
 * `kvault token …`, `kvault tenant …`: the access file of a gateway and its workers.
 *
 * They change the file and nothing else: services read it again within a second.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import {
  type AccessFile,
  changeAccessFile,
  type Quotas,
  readAccessFile,
  type TokenEntry,
  withNewToken,
  withoutToken,
  withTenant,
} from "@kvault/rpc";
import { type Command, Option } from "commander";
import { duration, positiveInteger } from "../options.ts";
import { table } from "../terminal/table.ts";
import { define, group, type Host, runs } from "./command.ts";

interface FileFlag {
  readonly tokensFile: string;
}

interface CreateOptions extends FileFlag {
  readonly tenant: string;
  readonly service?: boolean;
  readonly ttl?: number;
  readonly note?: string;
}

type QuotaOptions = FileFlag & { readonly [K in keyof Quotas]: number };

function withFileFlag(command: Command): Command {
  const flag = new Option("--tokens-file <path>", "access file of the services").env("KVAULT_TOKENS_FILE");
  return command.addOption(flag.makeOptionMandatory());
}

export function addToken(program: Command, host: Host): void {
  const token = group(program, "token", "Create, list and revoke API tokens");
  const create = define(token, {
    usage: "create",
    summary: "Make a token and print it: the only time that it is seen",
    description: `The access file keeps a hash. A tenant may have any number of valid tokens at once: to rotate one, make
another, hand it out, and revoke the first. The tenant is made with its first token.`,
    examples: [
      ["kvault token create --tenant acme --ttl 90d", "for a client of tenant acme"],
      ["kvault token create --tenant cluster --service > gateway.token", "for a gateway to show to workers"],
    ],
  })
    .requiredOption("--tenant <id>", "whose contexts it opens: a-z 0-9 and inner hyphens")
    .option("--service", "for our own services: opens workers, and no contexts")
    .option("--ttl <duration>", "lifetime, such as 12h or 90d (default: until revoked)", duration)
    .option("--note <text>", "for people");
  withFileFlag(create);
  runs<CreateOptions>(create, host, async ({ terminal }, { tokensFile, tenant, service, ttl, note = "" }) => {
    const nowMs = Date.now();
    const role = service === true ? "service" : "tenant";
    let made = { id: "", token: "" };
    await changeAccessFile(tokensFile, (before) => {
      const { file, ...rest } = withNewToken(before, {
        tenant,
        role,
        note,
        nowMs,
        expireTimeMs: ttl === undefined ? 0 : nowMs + ttl * 1000,
      });
      made = rest;
      return file;
    });
    terminal.result({ ...made, tenant, role }, () => made.token);
  });

  const list = define(token, {
    usage: "list",
    summary: "List the tokens, without what opens anything",
    examples: [["kvault token list --json", "one token a line"]],
  });
  withFileFlag(list);
  runs<FileFlag>(list, host, async ({ terminal }, { tokensFile }) => {
    const { tokens } = await readAccessFile(tokensFile);
    const rows = tokens.map((entry) => ({ ...shown(entry), state: stateOf(entry, Date.now()) }));
    if (terminal.json) for (const row of rows) terminal.result(row, () => "");
    else terminal.result(undefined, () => tokenTable(rows));
  });

  const revoke = define(token, {
    usage: "revoke <id...>",
    summary: "Make tokens invalid, from the next call on",
    examples: [["kvault token revoke 0f3a…", "the id is the token's middle part, and in `kvault token list`"]],
  });
  withFileFlag(revoke);
  runs<FileFlag>(revoke, host, async ({ terminal }, { tokensFile }, ...ids) => {
    await changeAccessFile(tokensFile, (file) => ids.reduce((before, id) => withoutToken(before, id, Date.now()), file));
    for (const id of ids) terminal.result({ revoked: id }, () => `revoked ${id}`);
  });
}

export function addTenant(program: Command, host: Host): void {
  const tenant = group(program, "tenant", "List tenants, set their quotas, delete them");
  const list = define(tenant, {
    usage: "list",
    summary: "List the tenants and their quotas",
    examples: [["kvault tenant list --json", "one tenant a line"]],
  });
  withFileFlag(list);
  runs<FileFlag>(list, host, async ({ terminal }, { tokensFile }) => {
    const rows = Object.entries((await readAccessFile(tokensFile)).tenants).map(
      ([id, { createTimeMs, deleteTimeMs, quotas = {} }]) => ({
        tenant: id,
        createTime: isoTime(createTimeMs),
        deleted: deleteTimeMs !== undefined,
        quotas,
      }),
    );
    if (terminal.json) for (const row of rows) terminal.result(row, () => "");
    else
      terminal.result(undefined, () =>
        table(
          ["tenant", "since", "state", "quotas"],
          rows.map(({ tenant: id, createTime, deleted, quotas }) => [
            id,
            createTime,
            deleted ? "deleted" : "",
            JSON.stringify(quotas),
          ]),
        ),
      );
  });

  const quota = define(tenant, {
    usage: "quota <tenant>",
    summary: "Set what a tenant may use; what is not named has no limit",
    examples: [["kvault tenant quota acme --contexts 1000 --tokens-per-second 5000", "rates are for each gateway"]],
  })
    .option("--stored-bytes <n>", "bytes of stored parts", positiveInteger)
    .option("--contexts <n>", "contexts", positiveInteger)
    .option("--requests-per-second <n>", "calls", positiveInteger)
    .option("--tokens-per-second <n>", "tokens read from questions and inline texts, and generated", positiveInteger);
  withFileFlag(quota);
  runs<QuotaOptions>(
    quota,
    host,
    async ({ terminal }, { tokensFile, storedBytes, contexts, requestsPerSecond, tokensPerSecond }, id = "") => {
      const quotas: Quotas = { storedBytes, contexts, requestsPerSecond, tokensPerSecond };
      await changeAccessFile(tokensFile, (file) => withEntry(withTenant(file, id, Date.now()), id, { quotas }));
      terminal.result({ tenant: id, quotas }, () => `${id}  ${JSON.stringify(quotas)}`);
    },
  );

  const remove = define(tenant, {
    usage: "delete <tenant>",
    summary: "Delete a tenant: its tokens, its contexts and the key of its stored bytes",
    description: `Its tokens are void from the next call on. A gateway then destroys its key, after which nobody can
read what it sealed, and deletes its contexts. There is no way back, and the name is not given again.`,
    examples: [["kvault tenant delete acme --yes", "asks nothing"]],
  }).requiredOption("--yes", "yes, delete all of it");
  withFileFlag(remove);
  runs<FileFlag>(remove, host, async ({ terminal }, { tokensFile }, id = "") => {
    await changeAccessFile(tokensFile, (file) => {
      if (file.tenants[id] === undefined)
        throw invalidArgument("tenant", `Cannot delete tenant "${id}": there is none of that name`);
      return withEntry(file, id, { deleteTimeMs: Date.now() });
    });
    terminal.result({ deleted: id }, () => `deleted ${id}: a gateway clears away what it had`);
  });
}

function withEntry(file: AccessFile, id: string, change: Partial<AccessFile["tenants"][string]>): AccessFile {
  const entry = file.tenants[id];
  return entry === undefined ? file : { ...file, tenants: { ...file.tenants, [id]: { ...entry, ...change } } };
}

interface ShownToken {
  readonly id: string;
  readonly tenant: string;
  readonly role: string;
  readonly createTime: string;
  readonly expireTime: string;
  readonly note: string;
}

/** Everything but the hash, which nobody needs to see. */
function shown({ id, tenant, role, createTimeMs, expireTimeMs, note }: TokenEntry): ShownToken {
  return {
    id,
    tenant,
    role,
    createTime: isoTime(createTimeMs),
    expireTime: expireTimeMs === 0 ? "" : isoTime(expireTimeMs),
    note,
  };
}

function stateOf({ revokeTimeMs, expireTimeMs }: TokenEntry, nowMs: number): "valid" | "revoked" | "expired" {
  if (revokeTimeMs !== undefined) return "revoked";
  return expireTimeMs !== 0 && expireTimeMs <= nowMs ? "expired" : "valid";
}

function tokenTable(rows: readonly (ShownToken & { readonly state: string })[]): string {
  if (rows.length === 0) return "No tokens. Make one with `kvault token create`.";
  return table(
    ["token", "tenant", "role", "state", "created", "expires", "note"],
    rows.map(({ id, tenant, role, state, createTime, expireTime, note }) => [
      id,
      tenant,
      role,
      state,
      createTime,
      expireTime,
      note,
    ]),
  );
}

function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
