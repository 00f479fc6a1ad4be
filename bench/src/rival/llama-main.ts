/**
 * llama.cpp through node-llama-cpp, prebuilt, on the CPU: flash attention on, as many threads
 * for it as we take, every sequence of a batch decoded together.
 *
 * @module
 */
import type { RivalCall, RivalCalls } from "./protocol.ts";

/** What is used of node-llama-cpp, which only `make bench` installs. */
interface Sequence {
  readonly nextTokenIndex: number;
  evaluateWithoutGeneratingNewTokens(ids: readonly number[]): Promise<void>;
  evaluate(ids: readonly number[], options: { readonly temperature: number }): AsyncGenerator<number>;
  eraseContextTokenRanges(ranges: readonly { readonly start: number; readonly end: number }[]): Promise<void>;
  clearHistory(): Promise<void>;
  saveStateToFile(path: string): Promise<{ readonly fileSize: number }>;
  loadStateFromFile(path: string, options: { readonly acceptRisk: true }): Promise<void>;
}
interface Context {
  getSequence(): Sequence;
  dispose(): Promise<void>;
}
interface Model {
  createContext(options: object): Promise<Context>;
}
interface Library {
  getLlama(options: object): Promise<{ loadModel(options: object): Promise<Model> }>;
}

/** Any ordinary token, to decode from. */
const SOME_TOKEN = 264;

const [modelPath, threads] = [process.argv[2] as string, Number(process.argv[3])];
const name = "node-llama-cpp";
const { getLlama } = (await import(name)) as Library;
const llama = await getLlama({ build: "never", gpu: false, maxThreads: threads, logLevel: "error" });
const model = await llama.loadModel({ modelPath });
let context: Context | undefined;
let sequences: Sequence[] = [];

const calls: RivalCalls = {
  async open({ sequences: count, contextTokens, batchTokens }) {
    await context?.dispose();
    context = await model.createContext({
      sequences: count,
      contextSize: contextTokens,
      batchSize: batchTokens,
      threads: { ideal: threads, min: threads },
      flashAttention: true,
    });
    sequences = Array.from({ length: count }, () => (context as Context).getSequence());
    return null;
  },
  async prefill({ ids }) {
    const [sequence] = sequences;
    await sequence.clearHistory();
    const startMs = performance.now();
    await sequence.evaluateWithoutGeneratingNewTokens(ids);
    return { ms: performance.now() - startMs };
  },
  async firstToken({ ids }) {
    const [sequence] = sequences;
    const start = sequence.nextTokenIndex;
    const startMs = performance.now();
    const tokens = sequence.evaluate(ids, { temperature: 0 });
    await tokens.next();
    const ms = performance.now() - startMs;
    await tokens.return(undefined);
    await sequence.eraseContextTokenRanges([{ start, end: sequence.nextTokenIndex }]);
    return { ms };
  },
  async save({ path }) {
    return { bytes: (await sequences[0].saveStateToFile(path)).fileSize };
  },
  async restore({ path }) {
    const startMs = performance.now();
    for (const sequence of sequences) await sequence.loadStateFromFile(path, { acceptRisk: true });
    return { ms: performance.now() - startMs };
  },
  async decode({ steps }) {
    const streams = sequences.map((sequence) => sequence.evaluate([SOME_TOKEN], { temperature: 0 }));
    const stepMs: number[] = [];
    for (let step = 0; step < steps; step++) {
      const startMs = performance.now();
      await Promise.all(streams.map((stream) => stream.next()));
      stepMs.push(performance.now() - startMs);
    }
    await Promise.all(streams.map((stream) => stream.return(undefined)));
    return { stepMs };
  },
};

process.on("message", ({ name: called, call }: RivalCall) => {
  (calls[called] as (call: unknown) => Promise<unknown>)(call).then(
    (value) => process.send?.({ ok: true, value }),
    (error: Error) => process.send?.({ ok: false, message: error.message }),
  );
});
process.on("disconnect", () => process.exit(0));
process.send?.({ ok: true, value: "ready" });
