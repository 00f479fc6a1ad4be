/**
 * One audit entry for every call when it ends. Of request and reply it reads resource names alone,
 * and only those that are well formed: an id says nothing of a text.
 *
 * @module
 */
import { isKvaultError } from "@kvault/core";
import type { Interceptor } from "@kvault/rpc";
import type { AuditLog } from "./audit-log.ts";

const RESOURCE = /^(?:contexts|operations)\/c[0-9a-f]{32}$/;
/** Details of errors that come from closed sets. */
const REASONS = ["reason", "quota"] as const;

export function auditInterceptor(audit: AuditLog): Interceptor {
  return (next) =>
    async function* (requests, call) {
      let resource = "";
      const note = (message: unknown): void => {
        if (resource === "") resource = resourceOf(message);
      };
      const watched = async function* (): AsyncGenerator<unknown> {
        for await (const request of requests) {
          note(request);
          yield request;
        }
      };
      let outcome = "CANCELLED";
      let reason = "";
      try {
        for await (const reply of next(watched(), call)) {
          note(reply);
          yield reply;
        }
        outcome = "OK";
      } catch (error) {
        outcome = isKvaultError(error) ? error.code : "INTERNAL";
        reason = reasonOf(error);
        throw error;
      } finally {
        const { tenant, tokenId } = call.principal;
        audit.write({ requestId: call.requestId, tenant, tokenId, rpc: call.path, resource, outcome, reason });
      }
    };
}

/** Which of its closed reasons an error names; "" for none. */
export function reasonOf(error: unknown): string {
  if (!isKvaultError(error)) return "";
  for (const name of REASONS) {
    const value = error.details[name];
    if (typeof value === "string" && /^[a-zA-Z]{1,32}$/.test(value)) return value;
  }
  return "";
}

function resourceOf(message: unknown): string {
  const { name, context, source } = message as { name?: unknown; context?: unknown; source?: { value?: unknown } };
  const found = [name, context, source?.value].find((value) => typeof value === "string" && RESOURCE.test(value));
  return (found as string | undefined) ?? "";
}
