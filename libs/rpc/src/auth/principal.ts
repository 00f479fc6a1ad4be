/**
 * Who makes a call. Made by a server from the caller's token and by nobody else: nothing that a
 * caller writes into a message names a tenant.
 *
 * @module
 */

/** `tenant`: uses the public API. `service`: one of our own processes, may call workers. */
export type Role = "tenant" | "service";

export const ROLES: readonly Role[] = ["tenant", "service"];

export interface Principal {
  /** Owner of everything the call makes or finds. */
  readonly tenant: string;
  /** Undefined for callers of a server that asks for no token. */
  readonly role: Role | undefined;
  /** Public part of the token; "" without one. */
  readonly tokenId: string;
}

/** The tenant of servers that ask for no token. */
export const DEFAULT_TENANT = "default";

/** Every caller of a server that asks for no token. */
export const ANONYMOUS: Principal = Object.freeze({ tenant: DEFAULT_TENANT, role: undefined, tokenId: "" });

const TENANT = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Lower-case letters, digits and inner hyphens, 1 to 63: safe in keys, paths and logs. */
export function isTenantId(text: string): boolean {
  return TENANT.test(text);
}
