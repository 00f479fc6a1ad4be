/**
 * `kvault key …`: master keys, and moving tenants' keys to another one.
 *
 * @module
 */
import { createMasterKeyLine, openStore, readMasterKeys, rewrapTenantKeys } from "@kvault/kvstore";
import { type Command, Option } from "commander";
import { define, group, type Host, runs } from "./command.ts";

interface RewrapOptions {
  readonly store: string;
  readonly masterKeyFile: string;
}

export function addKey(program: Command, host: Host): void {
  const key = group(program, "key", "Make and rotate the master keys of encrypted records");
  const create = define(key, {
    usage: "create <id>",
    summary: "Print a new master key, a line for the key file",
    description: "The first line of the file wraps tenants' keys, the others still open what they wrapped before.",
    examples: [["kvault key create 2026-11 > master.keys", "then KVAULT_MASTER_KEY_FILE=master.keys for every worker"]],
  });
  runs<object>(create, host, async ({ terminal }, _, id = "") => {
    const line = createMasterKeyLine(id);
    terminal.result({ line }, () => line);
  });

  const rewrap = define(key, {
    usage: "rewrap",
    summary: "Wrap every tenant's key with the first master key of the file",
    description: `To rotate: put a new line first, restart the workers with both, re-wrap, and take the old line away.
Stored parts are not touched.`,
    examples: [["kvault key rewrap --store file:/var/lib/kvault --master-key-file master.keys", "how many keys were moved"]],
  })
    .addOption(new Option("--store <url>", "where the records are").env("KVAULT_STORE_URL").makeOptionMandatory())
    .addOption(new Option("--master-key-file <path>", "master keys").env("KVAULT_MASTER_KEY_FILE").makeOptionMandatory());
  runs<RewrapOptions>(rewrap, host, async ({ terminal, signal }, { store: url, masterKeyFile }) => {
    const masters = await readMasterKeys(masterKeyFile);
    const store = await openStore(url);
    try {
      const rewrapped = await rewrapTenantKeys(store, masters, { signal });
      terminal.result({ rewrapped }, () => `re-wrapped ${rewrapped} tenant keys with "${masters.currentId}"`);
    } finally {
      await store.close();
    }
  });
}
