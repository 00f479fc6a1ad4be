/**
 * A build as a queue carries it: references only. Plain JSON, checked by whoever takes it.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { z } from "zod";

const schema = z.object({
  contextId: z.string().min(1),
  tenant: z.string(),
  digest: z.string().min(1),
  model: z.string().min(1),
  /** Names this start of the build; the request id of its calls. */
  buildId: z.string().min(1),
  /** Where the request lies in the store, and what must be in it; absent in a queue of one process. */
  request: z.object({ key: z.string().min(1), sha256: z.string().min(1), bytes: z.number().int().min(0) }).optional(),
});

export interface QueuedBuild {
  readonly contextId: string;
  readonly tenant: string;
  readonly digest: string;
  readonly model: string;
  readonly buildId: string;
  readonly request?: { readonly key: string; readonly sha256: string; readonly bytes: number };
}

/** INCOMPATIBLE_FORMAT for what another version of the gateway put, naming the field. */
export function readQueuedBuild(job: unknown): QueuedBuild {
  const parsed = schema.safeParse(job);
  if (parsed.success) {
    const { request, ...rest } = parsed.data;
    return { ...rest, ...(request === undefined ? {} : { request }) };
  }
  const { path, message } = parsed.error.issues[0] as z.core.$ZodIssue;
  throw new KvaultError("INCOMPATIBLE_FORMAT", `Cannot take build from the queue: ${path.join(".")}: ${message}`, {
    details: { field: path.join(".") },
  });
}
