/**
 * A whole KVault for the length of one command: services, engines and store in a private
 * folder that is removed afterwards, also when the command fails.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KvaultClient } from "@kvault/client";
import { throwIfAborted } from "@kvault/core";
import { connectGateway } from "./gateway-client.ts";
import type { EngineSettings } from "./options.ts";

/** Runs `work` against a gateway of its own. */
export async function withTemporaryStack<Result>(
  settings: EngineSettings,
  work: (gateway: KvaultClient) => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), "kvault-"));
  try {
    throwIfAborted(signal);
    const { startEmbedded } = await import("./embedded.ts");
    const stack = await startEmbedded({
      address: `unix:${join(folder, "gateway.sock")}`,
      storeUrl: `file:${join(folder, "store")}`,
      ...settings,
    });
    try {
      const gateway = await connectGateway({ address: stack.address });
      try {
        return await work(gateway);
      } finally {
        gateway.close();
      }
    } finally {
      await stack.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
