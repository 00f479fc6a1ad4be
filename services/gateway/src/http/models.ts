/**
 * GET /v1/models and /v1/models/{name}: OpenAI's shape of Models.
 *
 * @module
 */
import { type InProcessClients, type Model, Models } from "@kvault/rpc";
import type { FastifyInstance } from "fastify";
import { httpCall } from "./http-call.ts";

export function models(server: FastifyInstance, clients: InProcessClients): void {
  server.get("/v1/models", async (request, reply) => {
    const { caller } = httpCall(request, reply);
    const { models: found } = await clients(Models, caller).listModels({ pageSize: 1_000 });
    return { object: "list", data: found.map(modelObject) };
  });

  server.get<{ Params: { name: string } }>("/v1/models/:name", async (request, reply) => {
    const { caller } = httpCall(request, reply);
    return modelObject(await clients(Models, caller).getModel({ name: `models/${request.params.name}` }));
  });
}

function modelObject({ name, architecture, maxTokens, present, licence }: Model): object {
  return {
    id: name.replace(/^models\//, ""),
    object: "model",
    created: 0,
    owned_by: "kvault",
    kvault: { architecture, max_tokens: maxTokens, present, licence },
  };
}
