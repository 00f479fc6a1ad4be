import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { invalidArgument, isKvaultError, type KvaultError } from "@kvault/core";
import { service as healthDefinition } from "grpc-health-check";
import { afterEach, describe, expect, test } from "vitest";
import { implement, type ServerCall, type ServiceHandlers, UNIMPLEMENTED } from "./call.ts";
import type { CallOptions } from "./call-options.ts";
import { type Channel, openChannel } from "./channel.ts";
import { createClient } from "./client.ts";
import { requestLog } from "./interceptors/request-log.ts";
import { MAX_MESSAGE_BYTES } from "./limits.ts";
import type { RpcLogger } from "./rpc-logger.ts";
import { type RunningServer, type ServerOptions, startServer } from "./server.ts";
import { type Echo, echoService } from "./testing/index.ts";

const Service = echoService();

interface EchoHandlers {
  unary(request: Echo, call: ServerCall): Promise<Echo>;
  down(request: Echo, call: ServerCall): AsyncIterable<Echo>;
  up(requests: AsyncIterable<Echo>, call: ServerCall): Promise<Echo>;
  both(requests: AsyncIterable<Echo>, call: ServerCall): AsyncIterable<Echo>;
}
interface EchoClient {
  unary(request: Echo, options?: CallOptions): Promise<Echo>;
  down(request: Echo, options?: CallOptions): AsyncIterableIterator<Echo>;
  up(requests: AsyncIterable<Echo>, options?: CallOptions): Promise<Echo>;
  both(requests: AsyncIterable<Echo>, options?: CallOptions): AsyncIterableIterator<Echo>;
}

const plain: EchoHandlers = {
  unary: async ({ text }) => ({ text: `<${text}>` }),
  async *down({ count = 0 }) {
    for (let i = 0; i < count; i++) yield { count: i };
  },
  async up(requests) {
    let text = "";
    for await (const request of requests) text += request.text;
    return { text };
  },
  async *both(requests) {
    for await (const request of requests) yield { text: `<${request.text}>` };
  },
};

const open: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function serve(
  handlers: Partial<EchoHandlers> = {},
  options: Partial<ServerOptions> = {},
): Promise<{ server: RunningServer; client: EchoClient; channel: Channel }> {
  const implementation = implement(Service, { ...plain, ...handlers } as unknown as ServiceHandlers<DescService>);
  const server = await startServer({ address: "127.0.0.1:0", services: [implementation], ...options });
  const channel = openChannel(server.address);
  open.push(() => server.close({ drainMs: 0 }));
  open.push(() => channel.close());
  return { server, channel, client: createClient(Service, channel) as unknown as EchoClient };
}

async function tempSocket(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "kv-"));
  open.unshift(() => rm(dir, { recursive: true, force: true }));
  return join(dir, "s.sock");
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function* from<T>(...items: T[]): AsyncGenerator<T> {
  yield* items;
}

const failure = (promise: Promise<unknown>): Promise<KvaultError> =>
  promise.then(
    () => Promise.reject(new Error("did not fail")),
    (error: unknown) => (isKvaultError(error) ? error : Promise.reject(error)),
  );

/** A promise and its resolver. */
function gate<T = void>(): { passed: Promise<T>; pass: (value: T) => void } {
  let pass: (value: T) => void = () => undefined;
  const passed = new Promise<T>((resolve) => {
    pass = resolve;
  });
  return { passed, pass };
}

const untilAborted = (signal: AbortSignal): Promise<unknown> =>
  new Promise((resolve) => signal.addEventListener("abort", () => resolve(signal.reason), { once: true }));

describe("startServer() and createClient()", () => {
  test.each(["tcp", "unix"])("carry all four kinds of calls over %s", async (kind) => {
    const address = kind === "tcp" ? "127.0.0.1:0" : `unix:${await tempSocket()}`;
    const { client, server } = await serve({}, { address });
    expect(server.address).toMatch(kind === "tcp" ? /^127\.0\.0\.1:[1-9]\d*$/ : /^unix:\//);
    expect((await client.unary({ text: "a" })).text).toBe("<a>");
    expect((await collect(client.down({ count: 100 }))).map((reply) => reply.count)).toEqual([...Array(100).keys()]);
    expect((await client.up(from({ text: "a" }, { text: "b" }))).text).toBe("ab");
    expect((await collect(client.both(from({ text: "a" }, { text: "b" })))).map((reply) => reply.text)).toEqual(["<a>", "<b>"]);
  });

  test("replies that came while their reader was busy are joined, in order and none lost", async () => {
    const { client } = await serve({});
    const joined = (waiting: Echo, next: Echo): Echo | undefined =>
      next.count === 50 ? undefined : { ...next, text: `${waiting.text || waiting.count} ${next.count}` };
    const seen: string[] = [];
    for await (const { text, count } of client.down({ count: 100 }, { join: joined })) {
      seen.push(text || String(count));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(seen.length).toBeLessThan(50);
    expect(seen.join(" ")).toBe([...Array(100).keys()].join(" "));
    expect(seen.some((piece) => piece.startsWith("50"))).toBe(true);
  });

  test("an error keeps code, message and details, before and after the first reply", async () => {
    const fail = (): never => {
      throw invalidArgument("text", "Cannot echo it: found nothing", { length: 0 });
    };
    const { client } = await serve({
      unary: async () => fail(),
      async *down() {
        yield { text: "first" };
        fail();
      },
      up: async () => fail(),
    });
    const expected = {
      code: "INVALID_ARGUMENT",
      message: "Cannot echo it: found nothing",
      details: { field: "text", length: "0" },
    };
    expect(await failure(client.unary({}))).toMatchObject(expected);
    expect(await failure(client.up(from({ text: "x" })))).toMatchObject(expected);
    const replies = client.down({});
    expect((await replies.next()).value).toMatchObject({ text: "first" });
    expect(await failure(replies.next())).toMatchObject(expected);
  });

  test("a bug in a handler is logged with its text and sent without", async () => {
    const logged: object[] = [];
    const log: RpcLogger = { info: () => undefined, warn: () => undefined, error: (fields) => logged.push(fields) };
    const { client } = await serve({ unary: async () => Promise.reject(new TypeError("secret path")) }, { log });
    const error = await failure(client.unary({}, { requestId: "req-1" }));
    expect(error.code).toBe("INTERNAL");
    expect(error.message).toContain("req-1");
    expect(error.message).not.toContain("secret");
    expect(logged).toEqual([
      expect.objectContaining({ requestId: "req-1", err: expect.objectContaining({ message: "secret path" }) }),
    ]);
  });

  test("requestLog writes one line per call with outcome and messages sent", async () => {
    const lines: Record<string, unknown>[] = [];
    const write = (fields: object): void => void lines.push(fields as Record<string, unknown>);
    const { client } = await serve({}, { log: { info: write, warn: write, error: write }, interceptors: [requestLog] });
    await collect(client.down({ count: 3 }, { requestId: "abc" }));
    expect(lines).toEqual([
      { requestId: "abc", method: "/kvault.testing.EchoService/Down", outcome: "OK", durationMs: expect.any(Number), sent: 3 },
    ]);
  });

  test("a request id that does not look like one is replaced", async () => {
    const seen: string[] = [];
    const { client } = await serve({
      unary: async (_, call) => {
        seen.push(call.requestId);
        return {};
      },
    });
    await client.unary({}, { requestId: "has spaces" });
    await client.unary({});
    expect(seen).toEqual([expect.stringMatching(/^[0-9a-f-]{36}$/), expect.stringMatching(/^[0-9a-f-]{36}$/)]);
  });

  test("a message over the limit is refused by the server, and the connection goes on", async () => {
    const { channel, client } = await serve();
    const path = "/kvault.testing.EchoService/Unary";
    const bytes = (size: number): Buffer => Buffer.concat([Buffer.from([0x0a, ...varint(size)]), Buffer.alloc(size, 0x61)]);
    const raw = new grpc.Client(channel.address, grpc.credentials.createInsecure(), { "grpc.max_send_message_length": -1 });
    open.push(() => raw.close());
    const code = await new Promise((resolve) =>
      raw.makeUnaryRequest(
        path,
        (b: Buffer) => b,
        (b) => b,
        bytes(MAX_MESSAGE_BYTES),
        (error: grpc.ServiceError | null) => resolve(error?.code),
      ),
    );
    expect(code).toBe(grpc.status.RESOURCE_EXHAUSTED);
    expect((await failure(client.unary({ text: "a".repeat(MAX_MESSAGE_BYTES) }))).code).toBe("QUOTA_EXCEEDED");
    expect((await client.unary({ text: "ok" })).text).toBe("<ok>");
  });
});

describe("UNIMPLEMENTED", () => {
  test("in place of a handler tells callers so", async () => {
    const { client } = await serve({ unary: UNIMPLEMENTED as never });
    expect((await failure(client.unary({}))).message).toContain("does not implement");
  });
});

describe("deadlines", () => {
  test("a deadline already past is refused before any work", async () => {
    let called = 0;
    const { channel } = await serve({ unary: async () => ({ count: ++called }) });
    // grpc-js clients do not even send such a call; another client may.
    const metadata = new grpc.Metadata();
    metadata.set("grpc-timeout", "0m");
    const raw = new grpc.Client(channel.address, grpc.credentials.createInsecure());
    open.push(() => raw.close());
    const code = await new Promise((resolve) =>
      raw.makeUnaryRequest(
        "/kvault.testing.EchoService/Unary",
        () => Buffer.alloc(0),
        (bytes) => bytes,
        {},
        metadata,
        (error: grpc.ServiceError | null) => resolve(error?.code),
      ),
    );
    expect(code).toBe(grpc.status.DEADLINE_EXCEEDED);
    expect(called).toBe(0);
  });

  test("the handler's signal aborts with DEADLINE_EXCEEDED and the caller gets the same", async () => {
    const reason = gate<unknown>();
    const { client } = await serve({
      async *down(_, call) {
        yield { text: "first" };
        reason.pass(await untilAborted(call.signal));
      },
    });
    const replies = client.down({}, { deadlineMs: Date.now() + 80 });
    await replies.next();
    expect((await failure(replies.next())).code).toBe("DEADLINE_EXCEEDED");
    expect(await reason.passed).toMatchObject({ code: "DEADLINE_EXCEEDED" });
  });

  test("the handler is told the absolute deadline", async () => {
    const seen: number[] = [];
    const { client } = await serve({ unary: async (_, call) => ({ count: seen.push(call.deadlineMs) }) });
    const deadlineMs = Date.now() + 5_000;
    await client.unary({}, { deadlineMs });
    await client.unary({}, { signal: new AbortController().signal });
    expect(Math.abs((seen[0] ?? 0) - deadlineMs)).toBeLessThan(1_000);
    expect(seen[1]).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("cancellation", () => {
  test("leaving a stream early aborts the handler", async () => {
    const reason = gate<unknown>();
    const { client } = await serve({
      async *down(_, call) {
        yield { text: "first" };
        reason.pass(await untilAborted(call.signal));
      },
    });
    for await (const _ of client.down({})) break;
    expect(await reason.passed).toMatchObject({ code: "CANCELLED" });
  });

  test("aborting the signal mid-stream rejects at once with CANCELLED and aborts the handler", async () => {
    const reason = gate<unknown>();
    const { client } = await serve({
      async *down(_, call) {
        yield { text: "first" };
        reason.pass(await untilAborted(call.signal));
      },
    });
    const controller = new AbortController();
    const replies = client.down({}, { signal: controller.signal });
    await replies.next();
    controller.abort();
    expect((await failure(replies.next())).code).toBe("CANCELLED");
    expect(await reason.passed).toMatchObject({ code: "CANCELLED" });
  });

  test("a signal already aborted makes no call", async () => {
    let called = 0;
    const { client } = await serve({ unary: async () => ({ count: ++called }) });
    expect((await failure(client.unary({}, { signal: AbortSignal.abort() }))).code).toBe("CANCELLED");
    expect(called).toBe(0);
  });

  test("a caller that vanishes while sending aborts the handler of an upload", async () => {
    const reason = gate<unknown>();
    const started = gate();
    const { client } = await serve({
      async up(requests, call) {
        started.pass();
        try {
          for await (const _ of requests);
        } catch {
          reason.pass(call.signal.reason);
        }
        return {};
      },
    });
    const controller = new AbortController();
    async function* endless(): AsyncGenerator<Echo> {
      yield { text: "x" };
      await untilAborted(controller.signal);
    }
    const reply = failure(client.up(endless(), { signal: controller.signal }));
    await started.passed;
    controller.abort();
    expect((await reply).code).toBe("CANCELLED");
    expect(await reason.passed).toMatchObject({ code: "CANCELLED" });
  });

  test("an upload whose source fails ends with the source's error and aborts the handler", async () => {
    const reason = gate<unknown>();
    const started = gate();
    const { client } = await serve({
      async up(requests, call) {
        started.pass();
        await collect(requests).catch(() => reason.pass(call.signal.reason));
        return {};
      },
    });
    async function* failing(): AsyncGenerator<Echo> {
      yield { text: "x" };
      await started.passed;
      throw invalidArgument("file", "Cannot read it: gone");
    }
    expect(await failure(client.up(failing()))).toMatchObject({ code: "INVALID_ARGUMENT", message: "Cannot read it: gone" });
    expect(await reason.passed).toMatchObject({ code: "CANCELLED" });
  });
});

describe("backpressure", () => {
  test("a slow reader holds the handler back instead of filling memory", async () => {
    const piece = "x".repeat(64 * 1024);
    let produced = 0;
    const { client } = await serve({
      async *down() {
        for (; produced < 2_000; produced++) yield { text: piece };
      },
    });
    const replies = client.down({});
    await replies.next();
    // Production must come to rest although 2,000 are on offer: wait until it has not moved for a while.
    let before = -1;
    while (before !== produced) {
      before = produced;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(produced).toBeLessThan(200);
    let count = 1;
    for await (const _ of replies) count++;
    expect(count).toBe(2_000);
  });

  test("a reader that takes nothing is given up and the handler returns", async () => {
    const returned = gate();
    const { client } = await serve(
      {
        async *down() {
          try {
            while (true) yield { text: "x".repeat(64 * 1024) };
          } finally {
            returned.pass();
          }
        },
      },
      { stalledReaderMs: 50 },
    );
    const replies = client.down({});
    await replies.next();
    await returned.passed;
    expect((await failure(collect(replies))).message).toContain("took nothing for 50 ms");
  });
});

describe("close()", () => {
  test("lets a running call finish and refuses what comes after", async () => {
    const started = gate();
    const finish = gate();
    const { server, client } = await serve({
      async unary() {
        started.pass();
        await finish.passed;
        return { text: "done" };
      },
    });
    const reply = client.unary({});
    await started.passed;
    const closed = server.close({ drainMs: 5_000 });
    finish.pass();
    expect((await reply).text).toBe("done");
    await closed;
    expect((await failure(client.unary({}))).code).toBe("UNREACHABLE");
  });

  test("while a call finishes, those that come on old and new connections are told DRAINING", async () => {
    const started = gate();
    const finish = gate();
    const { server, client } = await serve({
      async unary() {
        started.pass();
        await finish.passed;
        return { text: "done" };
      },
    });
    const reply = client.unary({});
    await started.passed;
    const closed = server.close({ drainMs: 5_000 });
    const late = openChannel(server.address);
    open.push(() => late.close());
    for (const each of [client, createClient(Service, late) as unknown as EchoClient]) {
      expect(await failure(each.unary({}))).toMatchObject({ code: "DRAINING", retryable: true });
    }
    finish.pass();
    expect((await reply).text).toBe("done");
    await closed;
  });

  test("cuts what is left after the deadline with DRAINING, and aborts its handler", async () => {
    const reason = gate<unknown>();
    const { server, client } = await serve({
      async *down(_, call) {
        yield { text: "first" };
        reason.pass(await untilAborted(call.signal));
      },
    });
    const replies = client.down({});
    await replies.next();
    await server.close({ drainMs: 20 });
    expect(await failure(replies.next())).toMatchObject({ code: "DRAINING", retryable: true });
    expect(await reason.passed).toMatchObject({ code: "DRAINING" });
  });

  test("is not held up by a health watcher, and may be called twice", async () => {
    const { server } = await serve();
    const health = healthClient(server.address);
    const stream = health.makeServerStreamRequest(...healthMethod("Watch"), { service: "" });
    const statuses: string[] = [];
    stream.on("error", () => undefined);
    await new Promise<void>((resolve) =>
      stream.on("data", ({ status }: { status: string }) => {
        statuses.push(status);
        resolve();
      }),
    );
    const startMs = Date.now();
    await Promise.all([server.close(), server.close()]);
    expect(Date.now() - startMs).toBeLessThan(2_000);
    expect(statuses).toEqual(["SERVING", "NOT_SERVING"]);
  });

  test("a socket left by a killed process is taken over; one that answers is not", async () => {
    const path = await tempSocket();
    await serve({}, { address: `unix:${path}` });
    expect((await failure(startServer({ address: `unix:${path}`, services: [] }))).message).toContain("Cannot listen");

    const stale = await tempSocket();
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(stale, resolve));
    // Closing removes the file; put a socket file back as SIGKILL would have left it.
    const kept = `${stale}.kept`;
    await import("node:fs/promises").then((fs) => fs.link(stale, kept));
    await new Promise((resolve) => dead.close(resolve));
    const { client } = await serve({}, { address: `unix:${kept}` });
    expect((await client.unary({ text: "a" })).text).toBe("<a>");
  });

  test("a file that is no socket is not removed", async () => {
    const path = await tempSocket();
    await writeFile(path, "mine");
    expect((await failure(startServer({ address: `unix:${path}`, services: [] }))).message).toContain("Cannot listen");
  });

  test("a socket path that is too long is refused by name", async () => {
    expect((await failure(startServer({ address: `unix:/tmp/${"x".repeat(120)}`, services: [] }))).message).toMatch(
      /125 bytes, at most 103/,
    );
  });
});

describe("health", () => {
  test("knows the whole server, readiness, liveness and every service", async () => {
    const { server } = await serve();
    const health = healthClient(server.address);
    const check = (service: string): Promise<string> =>
      new Promise((resolve) =>
        health.makeUnaryRequest(
          ...healthMethod("Check"),
          { service },
          (error: grpc.ServiceError | null, reply?: { status: string }) =>
            resolve(reply?.status ?? grpc.status[error?.code ?? 0] ?? ""),
        ),
      );
    const all = ["", "readiness", "kvault.testing.EchoService", "liveness"];
    expect(await Promise.all(all.map(check))).toEqual(Array(4).fill("SERVING"));
    server.setServing(false);
    expect(await Promise.all(all.map(check))).toEqual(["NOT_SERVING", "NOT_SERVING", "NOT_SERVING", "SERVING"]);
    server.setServing(true);
    expect(await check("")).toBe("SERVING");
    expect(await check("nobody")).toBe("NOT_FOUND");
  });

  test("has a port of its own where asked: nothing else is served there, and a server that drains is alive", async () => {
    const begun = gate();
    const held = gate();
    const { server, client } = await serve(
      {
        unary: async () => {
          begun.pass();
          await held.passed;
          return {};
        },
      },
      { healthAddress: "127.0.0.1:0" },
    );
    const probe = healthClient(server.healthAddress ?? "");
    const ask = (service: string, method = healthMethod("Check")): Promise<string> =>
      new Promise((resolve) =>
        probe.makeUnaryRequest(...method, { service }, (error: grpc.ServiceError | null, reply?: { status: string }) =>
          resolve(reply?.status ?? grpc.status[error?.code ?? 0] ?? ""),
        ),
      );
    const [, ...coding] = healthMethod("Check");
    expect(await ask("readiness")).toBe("SERVING");
    expect(await ask("", ["/kvault.testing.EchoService/Unary", ...coding])).toBe("UNIMPLEMENTED");
    const call = client.unary({});
    await begun.passed;
    const closed = server.close({ drainMs: 5_000 });
    expect([await ask("readiness"), await ask("liveness")]).toEqual(["NOT_SERVING", "SERVING"]);
    held.pass();
    await call;
    await closed;
    expect(await ask("liveness")).not.toBe("SERVING");
  });
});

describe("reflection", () => {
  test.each(["v1", "v1alpha"])("%s lists the services and gives a file with its imports", async (version) => {
    const { server } = await serve();
    const root = new URL("../../../node_modules/@grpc/reflection/build/proto/", import.meta.url).pathname;
    const definition = loadSync(`grpc/reflection/${version}/reflection.proto`, { includeDirs: [root] });
    const path = `grpc.reflection.${version}.ServerReflection`;
    const { ServerReflectionInfo } = definition[path] as grpc.ServiceDefinition as Record<
      string,
      grpc.MethodDefinition<object, Reply>
    >;
    const client = new grpc.Client(server.address, grpc.credentials.createInsecure());
    open.push(() => client.close());
    const { path: method, requestSerialize, responseDeserialize } = ServerReflectionInfo as grpc.MethodDefinition<object, Reply>;
    const stream = client.makeBidiStreamRequest(method, requestSerialize, responseDeserialize);
    stream.write({ listServices: "" });
    stream.write({ fileContainingSymbol: "kvault.testing.EchoService" });
    stream.end();
    const [services, files] = (await collect(stream)) as Reply[];
    expect(services?.listServicesResponse?.service.map(({ name }) => name)).toEqual([
      "kvault.testing.EchoService",
      "grpc.health.v1.Health",
    ]);
    expect(files?.fileDescriptorResponse?.fileDescriptorProto.length).toBeGreaterThan(0);
  });

  interface Reply {
    readonly listServicesResponse?: { readonly service: readonly { readonly name: string }[] };
    readonly fileDescriptorResponse?: { readonly fileDescriptorProto: readonly Buffer[] };
  }
});

function healthClient(address: string): grpc.Client {
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  open.push(() => client.close());
  return client;
}

function healthMethod(name: "Check" | "Watch"): [string, (value: object) => Buffer, (bytes: Buffer) => { status: string }] {
  const definition = (
    healthDefinition as unknown as grpc.ServiceDefinition as Record<string, grpc.MethodDefinition<object, { status: string }>>
  )[name];
  if (definition === undefined) throw new TypeError(`Cannot find health method "${name}"`);
  return [definition.path, definition.requestSerialize, definition.responseDeserialize];
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return [...bytes, rest];
}
