/**
 * Resource names: `contexts/{id}`, `operations/{id}`.
 *
 * @module
 */
import { invalidArgument, KvaultError } from "@kvault/core";
import { isContextId } from "@kvault/kvstore";

/** Id of `contexts/{id}`; INVALID_ARGUMENT naming `field` when it is not of that form. */
export function contextIdFrom(name: string, field: string): string {
  const id = name.startsWith("contexts/") ? name.slice("contexts/".length) : "";
  if (isContextId(id)) return id;
  throw invalidArgument(
    field,
    `Cannot use "${name.slice(0, 80)}" as a context: expected "contexts/" and an id of c and 32 hex digits`,
  );
}

/** Context id of `operations/{id}`; OPERATION_NOT_FOUND for any other name. */
export function contextIdFromOperation(name: string): string {
  const id = name.startsWith("operations/") ? name.slice("operations/".length) : "";
  if (isContextId(id)) return id;
  throw operationNotFound(name);
}

export function operationNotFound(name: string): KvaultError {
  return new KvaultError("OPERATION_NOT_FOUND", `Cannot find operation "${name.slice(0, 80)}"`, {
    details: { operation: name.slice(0, 80) },
  });
}
