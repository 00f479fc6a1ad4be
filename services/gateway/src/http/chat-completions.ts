/**
 * POST /v1/chat/completions: OpenAI's protocol in front of Inference.Query.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { type Answer, Contexts, Inference, type InProcessClients } from "@kvault/rpc";
import type { FastifyInstance } from "fastify";
import { chunks, completion, type ReplyHead } from "./chat-reply.ts";
import { type ChatRequest, readChatRequest } from "./chat-request.ts";
import { type HttpCall, httpCall } from "./http-call.ts";
import { sendEvents } from "./server-sent-events.ts";

export function chatCompletions(server: FastifyInstance, clients: InProcessClients): void {
  server.post("/v1/chat/completions", async (request, reply) => {
    const call = httpCall(request, reply);
    const asked = readChatRequest(request.body);
    const model = await modelOf(asked, clients, call);
    const head: ReplyHead = { requestId: call.requestId, model, createdMs: Date.now() };
    const events = clients(Inference, call.caller).query(asked.query);
    if (asked.stream) {
      const options = { requestId: call.requestId, end: "[DONE]" };
      return sendEvents(reply, chunks(head, events, asked.includeUsage), options);
    }
    let answer: Answer | undefined;
    // To its end, not to its answer: a call that is left early counts as cancelled.
    for await (const { event } of events) if (event.case === "answer") answer = event.value;
    if (answer !== undefined) return completion(head, answer);
    throw new KvaultError("INTERNAL", "Cannot read the answer: the stream ended without one");
  });
}

/** A context has one model: naming another is a mistake to be told, not an answer to be given. */
async function modelOf({ model, context }: ChatRequest, clients: InProcessClients, { caller }: HttpCall): Promise<string> {
  if (context === undefined) return model;
  const { model: own } = await clients(Contexts, caller).getContext({ name: context });
  if (model === "" || model === own || model === `models/${own}`) return own;
  throw new KvaultError(
    "INCOMPATIBLE_MODEL",
    `Cannot answer with model "${model}": context "${context}" was made with "${own}"`,
    {
      details: { field: "model", found: model, expected: own },
    },
  );
}
