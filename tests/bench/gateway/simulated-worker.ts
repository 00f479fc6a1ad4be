/**
 * A worker process that speaks the real protocol and runs no model: builds are done at once,
 * answers are tokens at a steady pace. Takes `ADDRESS TOKEN_MS MAX_QUERIES TOKENS`; says "ready"
 * to its parent.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  BuildResponseSchema,
  create,
  EvictResponseSchema,
  ExecuteResponseSchema,
  StatusResponseSchema,
  toBinary,
  Workers,
} from "@kvault/rpc";
import { framed, type LightReply, serveLight } from "./light-grpc.ts";

const [address = "", ...numbers] = process.argv.slice(2);
const [tokenMs = 0, maxQueries = 0, tokens = 16] = numbers.map(Number);
let runningQueries = 0;

const report = { contextTokens: 1, keptPairs: 1n, totalPairs: 1n, keptRatio: 1 };
const built = framed(toBinary(BuildResponseSchema, create(BuildResponseSchema, { event: { case: "report", value: report } })));
const deltas = Array.from({ length: tokens }, (_, token) => {
  const value = { text: " word", tokenIds: [token] };
  return framed(toBinary(ExecuteResponseSchema, create(ExecuteResponseSchema, { event: { case: "delta", value } })));
});
const answer = { text: " word".repeat(tokens), usage: { newTokens: tokens } };
const answered = framed(
  toBinary(ExecuteResponseSchema, create(ExecuteResponseSchema, { event: { case: "answer", value: answer } })),
);
const nothing = framed(toBinary(EvictResponseSchema, create(EvictResponseSchema)));

function single(reply: LightReply, message: Buffer): void {
  reply.send(message);
  reply.end();
}

async function execute(reply: LightReply): Promise<void> {
  if (runningQueries >= maxQueries) {
    reply.end(8, `Cannot take the query: ${runningQueries} run here`);
    return;
  }
  runningQueries++;
  try {
    for (const delta of deltas) {
      if (tokenMs > 0) await sleep(tokenMs);
      if (reply.isOver) return;
      reply.send(delta);
    }
    single(reply, answered);
  } finally {
    runningQueries--;
  }
}

function status(reply: LightReply): void {
  const said = {
    incarnation: String(process.pid),
    runningQueries,
    maxQueries,
    meanQueries: runningQueries,
    secondsPerQuery: 0.01,
  };
  single(reply, framed(toBinary(StatusResponseSchema, create(StatusResponseSchema, said))));
}

const path = (method: { readonly name: string }): string => `/${Workers.typeName}/${method.name}`;
const server = await serveLight(address, {
  [path(Workers.method.build)]: (reply) => single(reply, built),
  [path(Workers.method.execute)]: (reply) => void execute(reply),
  [path(Workers.method.load)]: (reply) => single(reply, nothing),
  [path(Workers.method.evict)]: (reply) => single(reply, nothing),
  [path(Workers.method.status)]: status,
});
process.send?.("ready");
process.once("SIGTERM", () => {
  server.close();
  process.exit(0);
});
