/**
 * Every RPC of every service, by its descriptor: a method that is added is asked for its token
 * here, whoever wrote it.
 */
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { status as GrpcCode, Metadata } from "@grpc/grpc-js";
import { KvaultError } from "@kvault/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Operations } from "#gen/google/longrunning/operations_pb.js";
import { Cluster } from "#gen/kvault/v1/cluster_pb.js";
import { Contexts } from "#gen/kvault/v1/contexts_pb.js";
import { Inference } from "#gen/kvault/v1/inference_pb.js";
import { Models } from "#gen/kvault/v1/models_pb.js";
import { Workers } from "#gen/kvault/v1/worker_pb.js";
import { implement, type ServerCall, type ServiceHandlers } from "../call.ts";
import { type Channel, openChannel } from "../channel.ts";
import { type RunningServer, startServer } from "../server.ts";
import { methodDefinition } from "../service-definition.ts";
import { fromGrpcError } from "../status.ts";
import type { Refusal } from "./authentication.ts";
import type { Principal } from "./principal.ts";

const SERVICES: readonly DescService[] = [Contexts, Inference, Models, Cluster, Operations, Workers];
const METHODS = SERVICES.flatMap((service) => service.methods);
const PATHS: readonly (readonly [string, DescMethod])[] = METHODS.map((method) => [
  `${method.parent.typeName}/${method.name}`,
  method,
]);

const unauthenticated = (reason: string): KvaultError =>
  new KvaultError("UNAUTHENTICATED", "Cannot take the call", { details: { reason } });

/** Stands in for the registry, which has tests of its own. */
function authenticate(token: string | undefined): Principal {
  if (token === "good") return { tenant: "acme", role: "tenant", tokenId: "1" };
  if (token === "machine") return { tenant: "acme", role: "service", tokenId: "2" };
  throw unauthenticated(token ?? "absent");
}

/** Handlers that answer with nothing and note who called. */
function handlersOf(service: DescService, seen: Principal[]): ServiceHandlers<DescService> {
  const handlers = service.methods.map((method) => {
    const streams = method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming";
    const unary = async (_: unknown, call: ServerCall): Promise<object> => {
      seen.push(call.principal);
      return {};
    };
    const stream = async function* (_: unknown, call: ServerCall): AsyncGenerator<object> {
      yield await unary(_, call);
    };
    return [method.localName, streams ? stream : unary];
  });
  return Object.fromEntries(handlers) as ServiceHandlers<DescService>;
}

let server: RunningServer;
let channel: Channel;
const seen: Principal[] = [];
const refusals: Refusal[] = [];

beforeAll(async () => {
  server = await startServer({
    address: "127.0.0.1:0",
    services: SERVICES.map((service) => implement(service, handlersOf(service, seen))),
    auth: { authenticate, roles: ["tenant"], onRefused: (refusal) => void refusals.push(refusal) },
  });
  channel = openChannel(server.address);
});
afterAll(async () => {
  channel.close();
  await server.close({ drainMs: 0 });
});

/** Calls a path with an empty message and this header; resolves with the error, or undefined. */
function call(path: string, authorization: string | undefined): Promise<KvaultError | undefined> {
  const metadata = new Metadata();
  if (authorization !== undefined) metadata.set("authorization", authorization);
  const empty = (): Buffer => Buffer.alloc(0);
  const stream = channel.grpc().makeBidiStreamRequest(path, empty, (bytes) => bytes, metadata, { deadline: Date.now() + 10_000 });
  stream.on("data", () => undefined);
  stream.on("error", () => undefined);
  stream.write(undefined);
  stream.end();
  return new Promise((resolve) =>
    stream.once("status", (status) => {
      if (status.code === GrpcCode.OK) resolve(undefined);
      else resolve(fromGrpcError(Object.assign(new Error(status.details), status)));
    }),
  );
}

describe("a server with authentication", () => {
  test("serves more than nothing", () => {
    expect(METHODS.length).toBeGreaterThan(15);
  });

  test.each(PATHS)("%s: refuses absent, wrong, expired and revoked tokens", async (_, method) => {
    const { path } = methodDefinition(method);
    const before = seen.length;
    for (const [header, reason] of [
      [undefined, "absent"],
      ["", "absent"],
      ["Basic good", "absent"],
      ["good", "absent"],
      ["Bearer wrong", "wrong"],
      ["Bearer expired", "expired"],
      ["Bearer revoked", "revoked"],
    ] as const) {
      expect(await call(path, header)).toMatchObject({ code: "UNAUTHENTICATED", details: { reason } });
      expect(refusals.at(-1)).toMatchObject({ path, error: { code: "UNAUTHENTICATED" } });
    }
    expect(await call(path, "Bearer machine")).toMatchObject({ code: "PERMISSION_DENIED" });
    expect(seen.length).toBe(before);
  });

  test.each(PATHS)("%s: lets a good token in, and the handler knows whose it is", async (_, method) => {
    const before = seen.length;
    expect(await call(methodDefinition(method).path, "Bearer good")).toBeUndefined();
    expect(seen.slice(before)).toEqual([{ tenant: "acme", role: "tenant", tokenId: "1" }]);
  });

  test.each(["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"])(
    "%s needs a token",
    async (service) => {
      const path = `/${service}/ServerReflectionInfo`;
      expect(await call(path, undefined)).toMatchObject({ code: "UNAUTHENTICATED" });
      expect(await call(path, "Bearer good")).toBeUndefined();
    },
  );

  test("health needs none", async () => {
    expect(await call("/grpc.health.v1.Health/Check", undefined)).toBeUndefined();
  });
});
