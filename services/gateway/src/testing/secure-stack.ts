/**
 * A gateway that asks for tokens, and clients of several tenants.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type AccessFile,
  type ChannelOptions,
  Contexts,
  changeAccessFile,
  createClient,
  Inference,
  Models,
  Operations,
  openChannel,
  type Quotas,
  type Role,
  withNewToken,
  withoutToken,
  withTenant,
} from "@kvault/rpc";
import type { GatewayOptions } from "../start-gateway.ts";
import type { WorkerScript } from "./fake-worker.ts";
import { onClose, type Stack, startStack, temporaryFolder } from "./stack.ts";

/** What one caller has: the clients of a stack, with its token. */
export type Caller = Pick<Stack, "contexts" | "inference" | "models" | "operations" | "channel">;

export interface SecureStack extends Stack {
  readonly accessPath: string;
  readonly auditPath: string;
  /** A new token of a tenant, made when it is new. */
  issue(tenant: string, more?: { readonly role?: Role; readonly expireTimeMs?: number }): Promise<{ id: string; token: string }>;
  revoke(id: string): Promise<void>;
  setQuotas(tenant: string, quotas: Quotas): Promise<void>;
  deleteTenant(tenant: string): Promise<void>;
  /** Clients that show `token`; none when undefined. */
  as(token: string | undefined): Caller;
  /** Lines of the audit log so far. */
  audit(): Promise<Record<string, string>[]>;
}

const POLL_MS = 5;

/** A timer of this length, in the gateway's own process, ends after the gateway has read a changed access file. */
export const RELOADED_MS: number = 4 * POLL_MS;

export async function startSecureStack(
  scripts: { readonly prefill?: readonly WorkerScript[]; readonly decode?: readonly WorkerScript[] } = {},
  options: Partial<GatewayOptions> = {},
): Promise<SecureStack> {
  const folder = await temporaryFolder();
  const accessPath = join(folder, "access.json");
  const auditPath = join(folder, "audit.jsonl");
  const change = (how: (file: AccessFile) => AccessFile): Promise<AccessFile> => changeAccessFile(accessPath, how);
  await change((file) => withTenant(file, "acme", 0));
  const stack = await startStack(scripts, {
    security: { tokensFile: accessPath, tokensFileIntervalMs: POLL_MS },
    auditFile: auditPath,
    ...options,
  });
  return {
    ...stack,
    accessPath,
    auditPath,
    async issue(tenant, { role = "tenant", expireTimeMs = 0 } = {}) {
      let made = { id: "", token: "" };
      await change((file) => {
        const { file: next, ...rest } = withNewToken(file, { tenant, role, expireTimeMs, note: "", nowMs: Date.now() });
        made = rest;
        return next;
      });
      return made;
    },
    revoke: async (id) => void (await change((file) => withoutToken(file, id, Date.now()))),
    setQuotas: async (tenant, quotas) => void (await change((file) => withEntry(file, tenant, { quotas }))),
    deleteTenant: async (tenant) => void (await change((file) => withEntry(file, tenant, { deleteTimeMs: Date.now() }))),
    as(token) {
      const channelOptions: ChannelOptions = token === undefined ? {} : { token };
      const channel = openChannel(stack.gateway.address, channelOptions);
      onClose(() => channel.close());
      return {
        channel,
        contexts: createClient(Contexts, channel),
        inference: createClient(Inference, channel),
        models: createClient(Models, channel),
        operations: createClient(Operations, channel),
      };
    },
    async audit() {
      const text = await readFile(auditPath, "utf8");
      return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Record<string, string>]));
    },
  };
}

function withEntry(file: AccessFile, tenant: string, change: object): AccessFile {
  const known = withTenant(file, tenant, 0);
  return {
    ...known,
    tenants: { ...known.tenants, [tenant]: { ...known.tenants[tenant], ...change } as AccessFile["tenants"][string] },
  };
}
