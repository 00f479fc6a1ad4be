/**
 * A worker that speaks the real Workers protocol over a real socket and does what a test scripts.
 *
 * @module
 */
import {
  type BuildRequest,
  type BuildResponseSchema,
  type ExecuteRequest,
  type ExecuteResponseSchema,
  type InspectRequest,
  implement,
  type LoadRequest,
  type MessageInitShape,
  Progress_Phase,
  type RunningServer,
  type ServerCall,
  type ServerOptions,
  startServer,
  Workers,
} from "@kvault/rpc";

export type BuildEvent = MessageInitShape<typeof BuildResponseSchema>;
export type ExecuteEvent = MessageInitShape<typeof ExecuteResponseSchema>;

export interface WorkerScript {
  build?(request: BuildRequest, call: ServerCall): AsyncIterable<BuildEvent>;
  execute?(request: ExecuteRequest, call: ServerCall): AsyncIterable<ExecuteEvent>;
  load?(request: LoadRequest, call: ServerCall): Promise<void>;
  /** What its Status says; not checked. */
  maxQueries?: number;
}

export interface FakeWorker {
  readonly address: string;
  readonly builds: BuildRequest[];
  readonly executes: ExecuteRequest[];
  readonly loads: LoadRequest[];
  readonly evicted: string[];
  readonly inspects: InspectRequest[];
  /** Times it was asked for its Status. */
  statuses(): number;
  readonly server: RunningServer;
}

export const REPORT: BuildEvent = {
  event: {
    case: "report",
    value: { spec: "as asked", contextTokens: 12, keptPairs: 100n, totalPairs: 400n, keepRatio: 0.25, seconds: { prefill: 1 } },
  },
};

/** Reports progress once and is done. */
export async function* quickBuild(): AsyncGenerator<BuildEvent> {
  yield { event: { case: "progress", value: { phase: Progress_Phase.PREFILL, done: 5, total: 12 } } };
  yield REPORT;
}

/** Answers "a b" for any question, in two pieces. */
export async function* quickAnswer(request: ExecuteRequest): AsyncGenerator<ExecuteEvent> {
  yield { event: { case: "delta", value: { text: "a ", tokenIds: [1] } } };
  yield { event: { case: "delta", value: { text: "b", tokenIds: [2] } } };
  yield { event: { case: "answer", value: { text: "a b", seed: request.sampling?.seed ?? 0n } } };
}

/** Starts a worker; anything not scripted succeeds quickly. */
export async function startFakeWorker(
  address: string,
  script: WorkerScript = {},
  options: Partial<ServerOptions> = {},
): Promise<FakeWorker> {
  const builds: BuildRequest[] = [];
  const executes: ExecuteRequest[] = [];
  const loads: LoadRequest[] = [];
  const evicted: string[] = [];
  const inspects: InspectRequest[] = [];
  const resident = new Set<string>();
  let statuses = 0;
  const workers = implement(Workers, {
    build: (request, call) => {
      builds.push(request);
      return (script.build ?? quickBuild)(request, call);
    },
    execute: (request, call) => {
      executes.push(request);
      if (request.source.case === "contextId") resident.add(request.source.value);
      return (script.execute ?? quickAnswer)(request, call);
    },
    load: async (request, call) => {
      loads.push(request);
      await script.load?.(request, call);
      resident.add(request.contextId);
      return {};
    },
    evict: async ({ contextId }) => {
      evicted.push(contextId);
      resident.delete(contextId);
      return {};
    },
    countTokens: async ({ content, question }) => {
      const text = content?.content.case === "text" ? content.content.value : "";
      return { contextTokens: text.length, prefixTokens: 3, questionTokens: question.length, maxTokens: 1_000 };
    },
    inspect: async (request) => {
      inspects.push(request);
      const text = request.content?.content.case === "text" ? request.content.content.value : "";
      return {
        ...{ prefixTokens: 3, contextTokens: 5, binTokens: 4, textRows: 1 },
        rows: [{ layer: 0, kvHead: 0, keptPerBin: [4, 1] }],
        text: text === "" ? [] : [{ text, tokens: 5, keptPairs: 2 }],
      };
    },
    status: async () => {
      statuses++;
      return { incarnation: address, maxQueries: script.maxQueries ?? 0, residentContextIds: [...resident] };
    },
  });
  const server = await startServer({ address, services: [workers], ...options });
  return { address: server.address, builds, executes, loads, evicted, inspects, statuses: () => statuses, server };
}
