import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { failureOf } from "@kvault/core/testing";
import { changeAccessFile, createClient, openChannel, type Role, Workers, withNewToken } from "@kvault/rpc";
import { spawnToyEngine } from "@kvault/runtime/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RunningWorker, startDecodeWorker } from "./start-decode-worker.ts";

const SILENT = { info: () => undefined, warn: () => undefined, error: () => undefined };

type Call = (request: object, options: object) => Promise<unknown> | AsyncIterable<unknown>;

let folder: string;
let worker: RunningWorker;
let tokensFile: string;

async function issue(role: Role): Promise<string> {
  let token = "";
  await changeAccessFile(tokensFile, (before) => {
    const { file, token: made } = withNewToken(before, { tenant: "acme", role, expireTimeMs: 0, note: "", nowMs: Date.now() });
    token = made;
    return file;
  });
  return token;
}

let tenantToken = "";
let serviceToken = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kvault-access-"));
  tokensFile = join(folder, "access.json");
  [tenantToken, serviceToken] = [await issue("tenant"), await issue("service")];
  worker = await startDecodeWorker({
    storeUrl: `file:${folder}/store`,
    cacheDir: folder,
    offline: true,
    numThreads: 1,
    residentBytes: 1_000_000,
    activations: "int8",
    spawn: spawnToyEngine,
    address: "127.0.0.1:0",
    log: SILENT,
    security: { tokensFile },
  });
});
afterAll(async () => {
  await worker.close({ drainMs: 0 });
  await rm(folder, { recursive: true, force: true });
});

/** The code that a method called with nothing in its request fails with; OK when it does not. */
async function codeOf(localName: string, token: string | undefined): Promise<string> {
  const channel = openChannel(worker.address, token === undefined ? {} : { token });
  const client = createClient(Workers, channel) as unknown as Record<string, Call>;
  try {
    const call = (client[localName] as Call)({}, { deadlineMs: Date.now() + 5_000 });
    return (await failureOf(call as Promise<unknown>)).code;
  } catch (error) {
    if (error instanceof Error && error.message.includes("nothing failed")) return "OK";
    throw error;
  } finally {
    channel.close();
  }
}

test.each(Workers.methods.map(({ localName }) => localName))("%s takes tokens of role service alone", async (localName) => {
  expect(await codeOf(localName, undefined)).toBe("UNAUTHENTICATED");
  expect(await codeOf(localName, `${serviceToken.slice(0, -4)}AAAA`)).toBe("UNAUTHENTICATED");
  expect(await codeOf(localName, tenantToken)).toBe("PERMISSION_DENIED");
  expect(["UNAUTHENTICATED", "PERMISSION_DENIED"]).not.toContain(await codeOf(localName, serviceToken));
});
