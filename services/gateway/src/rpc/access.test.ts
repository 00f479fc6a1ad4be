/** The gateway as it is started asks for a token under every method of its services, taken from their descriptors. */
import { setTimeout as sleep } from "node:timers/promises";
import { KvaultError } from "@kvault/core";
import { collect, failureOf } from "@kvault/core/testing";
import { createClient, openChannel, type ServerAuthentication } from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { startFakeWorker } from "../testing/fake-worker.ts";
import { RELOADED_MS, startSecureStack } from "../testing/secure-stack.ts";
import { closeAll, created, MODEL, onClose, startStack, textOf } from "../testing/stack.ts";
import { gatewayServices, type SharedDeps } from "./services.ts";

afterEach(closeAll);

type Call = (request: object, options: object) => Promise<unknown> | AsyncIterable<unknown>;

/** Every method of every service that a gateway has, by descriptor. */
const METHODS = gatewayServices({} as SharedDeps).flatMap(({ descriptor }) => descriptor.methods);

async function* none(): AsyncGenerator<object> {}

describe("a gateway with an access file", () => {
  test("answers expired, revoked, wrong and absent tokens with UNAUTHENTICATED on every method", async () => {
    const stack = await startSecureStack();
    const expired = await stack.issue("acme", { expireTimeMs: 1 });
    const revoked = await stack.issue("acme");
    await stack.revoke(revoked.id);
    const machine = await stack.issue("acme", { role: "service" });
    const good = await stack.issue("acme");
    await sleep(RELOADED_MS);
    const wrong = `${good.token.slice(0, -4)}AAAA`;
    const expectations = [
      [undefined, "UNAUTHENTICATED", "absent"],
      [wrong, "UNAUTHENTICATED", "wrong"],
      [expired.token, "UNAUTHENTICATED", "expired"],
      [revoked.token, "UNAUTHENTICATED", "revoked"],
      [machine.token, "PERMISSION_DENIED", undefined],
    ] as const;
    let calls = 0;
    for (const [token, code, reason] of expectations) {
      const channel = openChannel(stack.gateway.address, token === undefined ? {} : { token });
      onClose(() => channel.close());
      for (const method of METHODS) {
        const client = createClient(method.parent, channel) as unknown as Record<string, Call>;
        const streamsIn = method.methodKind === "client_streaming";
        const call = client[method.localName] as Call;
        const error = await failureOf(call(streamsIn ? none() : {}, { deadlineMs: Date.now() + 5_000 }) as Promise<unknown>);
        expect(error.code).toBe(code);
        if (reason !== undefined) expect(error.details["reason"]).toBe(reason);
        calls++;
      }
    }
    expect(calls).toBe(METHODS.length * expectations.length);
    expect((await stack.as(good.token).models.listModels({})).models.length).toBeGreaterThan(0);
    const refused = (await stack.audit()).filter(({ outcome }) => outcome === "UNAUTHENTICATED");
    expect(refused).toHaveLength(METHODS.length * 4);
  });

  test("shows workers its token; without one it finds nobody who builds", async () => {
    const asking: ServerAuthentication = {
      roles: ["service"],
      authenticate(token) {
        if (token === "machine") return { tenant: "default", role: "service", tokenId: "1" };
        throw new KvaultError("UNAUTHENTICATED", "Cannot take the call");
      },
    };
    const worker = await startFakeWorker("127.0.0.1:0", {}, { auth: asking });
    onClose(() => worker.server.close({ drainMs: 0 }));
    const workers = { prefillWorkers: [worker.address], decodeWorkers: [worker.address] };
    const known = await startStack({}, { ...workers, workerAccess: { token: "machine" } });
    const name = await created(known, "Text.");
    expect(textOf(await collect(known.inference.query({ source: { case: "context", value: name }, question: "?" })))).toBe("a b");
    const stranger = await startStack({}, { ...workers, workerAccess: { token: "other" } });
    const inline = { model: MODEL, content: { content: { case: "text", value: "Text." } as const } };
    const failure = failureOf(stranger.inference.query({ source: { case: "inline", value: inline }, question: "?" }));
    expect((await failure).code).toBe("NO_CAPACITY");
  });
});

describe("a gateway without an access file", () => {
  test("does not start where others can reach it", async () => {
    await expect(startStack({}, { address: "0.0.0.0:0", security: { allowPlaintext: true } })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { field: "tokensFile" },
    });
    await expect(startStack({}, { address: "0.0.0.0:0", security: { auth: "off" } })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { field: "tls" },
    });
  });

  test("serves whoever is on this machine", async () => {
    const stack = await startStack();
    expect((await stack.models.listModels({})).models.length).toBeGreaterThan(0);
  });
});
