/**
 * A build as a request made it, and the queue that carries references to builds.
 *
 * @module
 */
import type { QueuedBuild } from "@kvault/cluster";
import type { ContextContent } from "@kvault/kvstore";
import type { JobQueue } from "@kvault/queue";
import type { JsonValue } from "@kvault/rpc";

export interface BuildJob {
  readonly contextId: string;
  /** Owner; the salt of its contexts stays with the gateway. */
  readonly tenant: string;
  readonly digest: string;
  readonly model: string;
  readonly content: ContextContent;
  readonly contentSha256: string;
  readonly spec: string;
  readonly displayName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createTimeMs: number;
  /** 0: never. */
  readonly expireTimeMs: number;
  /** Names this start of the build; the request id of its calls. */
  readonly buildId: string;
}

/** CompressionReport and Progress as proto JSON. */
export type BuildQueue = JobQueue<QueuedBuild, JsonValue, JsonValue>;
