/**
 * Who may call a worker: one access file with a tenant's and a service's token, and what each RPC
 * answers to them. By descriptor, so that a new RPC cannot be forgotten.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isKvaultError } from "@kvault/core";
import { changeAccessFile, createClient, openChannel, type Role, Workers, withNewToken } from "@kvault/rpc";
import type { RunningWorker, WorkerOptions } from "../worker.ts";

type Call = (request: object, options: object) => Promise<unknown> | AsyncIterable<unknown>;

export interface WorkerAccess {
  readonly tenantToken: string;
  readonly serviceToken: string;
  /** The code that a method called with nothing in its request fails with; OK when it does not. */
  codeOf(localName: string, token: string | undefined): Promise<string>;
  close(): Promise<void>;
}

const SILENT = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** A worker that `start` makes of these options, behind an access file. */
export async function openWorkerAccess(
  start: (options: Omit<WorkerOptions, "spawn">) => Promise<RunningWorker>,
): Promise<WorkerAccess> {
  const folder = await mkdtemp(join(tmpdir(), "kvault-access-"));
  const tokensFile = join(folder, "access.json");
  const issue = async (role: Role): Promise<string> => {
    let token = "";
    await changeAccessFile(tokensFile, (before) => {
      const { file, token: made } = withNewToken(before, {
        tenant: "acme",
        role,
        expireTimeMs: 0,
        note: "",
        nowMs: Date.now(),
      });
      token = made;
      return file;
    });
    return token;
  };
  const [tenantToken, serviceToken] = [await issue("tenant"), await issue("service")];
  const worker = await start({
    storeUrl: `file:${folder}/store`,
    cacheDir: folder,
    offline: true,
    numThreads: 1,
    residentBytes: 1_000_000,
    activations: "int8",
    address: "127.0.0.1:0",
    log: SILENT,
    security: { tokensFile },
  });
  return {
    tenantToken,
    serviceToken,
    async codeOf(localName, token) {
      const channel = openChannel(worker.address, token === undefined ? {} : { token });
      const client = createClient(Workers, channel) as unknown as Record<string, Call>;
      try {
        const reply = (client[localName] as Call)({}, { deadlineMs: Date.now() + 5_000 });
        if (Symbol.asyncIterator in reply) for await (const _ of reply);
        else await reply;
        return "OK";
      } catch (error) {
        if (isKvaultError(error)) return error.code;
        throw error;
      } finally {
        channel.close();
      }
    },
    async close() {
      await worker.close({ drainMs: 0 });
      await rm(folder, { recursive: true, force: true });
    },
  };
}
