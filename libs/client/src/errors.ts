/**
 * What an error of a server says beyond its code and message.
 *
 * @module
 */
import type { KvaultError } from "@kvault/core";

export interface FieldViolation {
  /** As the API names it: `limits.max_tokens`; empty when it is the request as a whole. */
  readonly field: string;
  readonly description: string;
}

/** The fields of the request that were refused. */
export function fieldViolations({ details, message }: KvaultError): FieldViolation[] {
  const { field } = details;
  return typeof field === "string" ? [{ field, description: message }] : [];
}
