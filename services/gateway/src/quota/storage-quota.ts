/**
 * How many contexts and stored bytes a tenant may have. Looked at before a context is begun; the
 * size of a context is known when it is built, so the last one may go over. Starts of one tenant
 * take turns here, so that many at once do not all see the same room; with several gateways each
 * may let one more in.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { Quotas } from "@kvault/rpc";
import {
  type BeginResult,
  type ContextRecord,
  type ContextState,
  type ListPosition,
  mayStartOver,
} from "../catalogue/context-catalogue.ts";
import type { TenantCatalogue } from "../catalogue/tenant-catalogue.ts";

const PAGE = 1_000;
const COUNTED: ReadonlySet<ContextState["type"]> = new Set(["creating", "active", "failed", "deleting", "deleted"]);

export class StorageQuota {
  readonly #quotasOf: (tenant: string) => Quotas;
  /** The last start of each tenant. */
  readonly #tails = new Map<string, Promise<unknown>>();

  constructor(quotasOf: (tenant: string) => Quotas) {
    this.#quotasOf = quotasOf;
  }

  /** `catalogue`, whose `begin` throws QUOTA_EXCEEDED when there is no room for one more. */
  guard(catalogue: TenantCatalogue, tenant: string): TenantCatalogue {
    return { ...catalogue, begin: (record) => this.#begin(catalogue, tenant, record) };
  }

  async #begin(catalogue: TenantCatalogue, tenant: string, record: ContextRecord): Promise<BeginResult> {
    const quotas = this.#quotasOf(tenant);
    if (quotas.contexts === undefined && quotas.storedBytes === undefined) return catalogue.begin(record);
    const before = this.#tails.get(tenant) ?? Promise.resolve();
    const turn = before.then(async () => {
      const found = await catalogue.get(record.id);
      if (found === undefined || mayStartOver(found.state)) await checkRoom(catalogue, tenant, record.id, quotas);
      return catalogue.begin(record);
    });
    const tail = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#tails.set(tenant, tail);
    void tail.then(() => {
      if (this.#tails.get(tenant) === tail) this.#tails.delete(tenant);
    });
    return turn;
  }
}

async function checkRoom(catalogue: TenantCatalogue, tenant: string, id: string, quotas: Quotas): Promise<void> {
  let contexts = 0;
  let storedBytes = 0;
  let after: ListPosition | undefined;
  for (;;) {
    const page = await catalogue.list({ limit: PAGE, states: COUNTED, ...(after === undefined ? {} : { after }) });
    for (const record of page) {
      if (record.id === id) continue;
      const { state } = record;
      // One that was deleted is no context any more, but its bytes lie there until they are purged.
      if (state.type !== "deleted") contexts++;
      if (state.type === "active" || state.type === "deleted") storedBytes += Number(state.report.storedBytes);
    }
    after = page.at(-1);
    if (page.length < PAGE || after === undefined) break;
  }
  if (quotas.contexts !== undefined && contexts >= quotas.contexts) throw exceeded(tenant, "contexts", quotas.contexts, contexts);
  if (quotas.storedBytes !== undefined && storedBytes >= quotas.storedBytes) {
    throw exceeded(tenant, "storedBytes", quotas.storedBytes, storedBytes);
  }
}

function exceeded(tenant: string, quota: string, limit: number, found: number): KvaultError {
  return new KvaultError("QUOTA_EXCEEDED", `Cannot create the context: tenant "${tenant}" has ${found} of ${limit} ${quota}`, {
    details: { quota, limit, found, subject: `tenant:${tenant}` },
  });
}
