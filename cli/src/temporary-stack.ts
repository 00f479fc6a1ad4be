/**
 * A whole KVault for the length of one command: services, engines and store in a private
 * folder that is removed afterwards, also when the command fails.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { throwIfAborted } from "@kvault/core";
import { startEmbedded } from "./embedded.ts";
import { connectGateway, type GatewayClient } from "./gateway-client.ts";

export interface TemporaryStackOptions {
  readonly cacheDir: string;
  readonly offline: boolean;
  readonly threads: number | undefined;
}

/** Runs `work` against a gateway of its own. */
export async function withTemporaryStack<Result>(
  { cacheDir, offline, threads }: TemporaryStackOptions,
  work: (gateway: GatewayClient) => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), "kvault-"));
  try {
    throwIfAborted(signal);
    const stack = await startEmbedded({
      address: `unix:${join(folder, "gateway.sock")}`,
      storeUrl: `file:${join(folder, "store")}`,
      cacheDir,
      offline,
      ...(threads === undefined ? {} : { threads }),
    });
    try {
      const gateway = await connectGateway(stack.address);
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
