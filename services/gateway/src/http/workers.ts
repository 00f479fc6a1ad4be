/**
 * GET /v1/workers: Cluster.ListWorkers as proto3 JSON.
 *
 * @module
 */
import { Cluster, type InProcessClients, type JsonValue, ListWorkersResponseSchema, toJson } from "@kvault/rpc";
import type { FastifyInstance } from "fastify";
import { httpCall } from "./http-call.ts";

export function workers(server: FastifyInstance, clients: InProcessClients): void {
  server.get("/v1/workers", async (request, reply): Promise<JsonValue> => {
    const { caller } = httpCall(request, reply);
    const found = await clients(Cluster, caller).listWorkers({});
    return toJson(ListWorkersResponseSchema, found, { useProtoFieldName: true, alwaysEmitImplicit: true });
  });
}
