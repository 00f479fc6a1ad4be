/**
 * The catalogue as one tenant sees it. Handlers get this one and no other, so that "somebody
 * else's" is "not there" for every method, those to come included: the same lookup, the same
 * answer, in the same time.
 *
 * @module
 */
import type { ContextCatalogue, ContextRecord } from "./context-catalogue.ts";

export type TenantCatalogue = Pick<ContextCatalogue, "begin" | "get" | "change" | "amend" | "remove" | "watch" | "list">;

/** `catalogue` with everything left out that is not `tenant`'s. */
export function catalogueOf(catalogue: ContextCatalogue, tenant: string): TenantCatalogue {
  const isOurs = (record: ContextRecord): boolean => record.tenant === tenant;
  return {
    begin: (record) => catalogue.begin({ ...record, tenant }),
    async get(id) {
      const record = await catalogue.get(id);
      return record !== undefined && isOurs(record) ? record : undefined;
    },
    list: (options) => catalogue.list({ ...options, tenant }),
    // Of a start of a build: whoever has its buildId found it through `get` or `begin`.
    change: (record, state, expected) => catalogue.change(record, state, expected),
    amend: (record, attributes) => catalogue.amend(record, attributes),
    remove: (record) => catalogue.remove(record),
    async *watch(id, options) {
      for await (const record of catalogue.watch(id, options)) {
        if (!isOurs(record)) return;
        yield record;
      }
    },
  };
}
