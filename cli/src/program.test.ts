import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KvaultError } from "@kvault/core";
import {
  anyPack,
  CacheInfo_Tier,
  Context_State,
  ContextSchema,
  Contexts,
  CreateContextMetadataSchema,
  create,
  FinishReason,
  Inference,
  implement,
  Progress_Phase,
  type RunningServer,
  startServer,
  timestampFromMs,
  toRpcStatus,
} from "@kvault/rpc";
import { CommanderError } from "commander";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createProgram } from "./program.ts";
import { describeFailure, ReportedFailure } from "./terminal/failure.ts";

const NAME = `contexts/c${"1".repeat(32)}`;
const ACTIVE = create(ContextSchema, {
  name: NAME,
  state: Context_State.ACTIVE,
  model: "tiny",
  spec: "kvzip|global|top-k(keep=0.3)|f16",
  createTime: { seconds: 1_700_000_000n, nanos: 0 },
  labels: { stage: "draft", kept: "yes" },
  etag: "e1",
  report: {
    contextTokens: 100,
    keptPairs: 300n,
    totalPairs: 1000n,
    rawBytesF16: 2_000_000n,
    storedBytes: 600_000n,
    seconds: { prefill: 1.5 },
  },
});
const ANSWER = {
  text: "Green.",
  finishReason: FinishReason.END,
  usage: { newTokens: 2 },
  timings: { ttftMs: 12, tpotMs: 5 },
  cache: { tier: CacheInfo_Tier.MEMORY, reason: "RESIDENT" },
};

/** Created with this text, a build fails. */
const FAILING = "fails";
const requests: unknown[] = [];

const contexts = implement(Contexts, {
  createContext: async (request) => {
    requests.push(request);
    const failing = request.content?.content.value === FAILING;
    const context = failing ? `contexts/c${"2".repeat(32)}` : NAME;
    return {
      name: "operations/1",
      metadata: anyPack(CreateContextMetadataSchema, create(CreateContextMetadataSchema, { context })),
    };
  },
  uploadContext: async () => {
    throw new KvaultError("INTERNAL", "not used");
  },
  getContext: async ({ name }) => {
    if (name !== NAME) throw new KvaultError("CONTEXT_NOT_FOUND", `Cannot find "${name}"`, { details: { context: name } });
    return ACTIVE;
  },
  listContexts: async ({ pageToken }) =>
    pageToken === "" ? { contexts: [ACTIVE], nextPageToken: "more" } : { contexts: [{ ...ACTIVE, displayName: "second" }] },
  updateContext: async (request) => {
    requests.push(request);
    if (request.context?.etag === "stale") throw new KvaultError("CONTEXT_CHANGED", "Cannot change it: changed");
    return { ...ACTIVE, ...request.context, state: Context_State.ACTIVE };
  },
  inspectContext: async () => ({}),
  undeleteContext: async ({ name }) => ({ ...ACTIVE, name }),
  warmContext: async ({ replicas }) => ({
    replicas: Array.from({ length: replicas }, (_, i) => ({ workerAddress: `w${i}`, cache: { bytesLoaded: 1_000n } })),
  }),
  deleteContext: async (request) => {
    requests.push(request);
    return request.purge
      ? {}
      : { context: { ...ACTIVE, state: Context_State.DELETED, purgeTime: timestampFromMs(1_800_000_000_000) } };
  },
  watchContext: async function* ({ name }) {
    const progress = { phase: Progress_Phase.PREFILL, done: 50, total: 100 };
    yield { context: { name, state: Context_State.CREATING, progress } };
    if (name === NAME) yield { context: ACTIVE };
    else
      yield {
        context: {
          name,
          state: Context_State.FAILED,
          error: toRpcStatus(new KvaultError("STORE_FULL", "Cannot publish: no room")),
        },
      };
  },
});
const inference = implement(Inference, {
  countTokens: async ({ content, question }) => ({
    contextTokens: content?.content.case === "text" ? content.content.value.length : 0,
    questionTokens: question.length,
    maxTokens: 32_768,
  }),
  query: async function* (request) {
    requests.push(request);
    yield { event: { case: "delta" as const, value: { text: "Gre" } } };
    yield { event: { case: "delta" as const, value: { text: "en." } } };
    yield { event: { case: "answer" as const, value: ANSWER } };
  },
  queryBatch: async function* ({ questions }) {
    for (const [index, { question }] of questions.entries()) {
      if (question === FAILING) {
        const error = toRpcStatus(new KvaultError("TOKEN_LIMIT", "Cannot answer: too long"));
        yield { index, event: { case: "error" as const, value: error } };
      } else yield { index, event: { case: "answer" as const, value: ANSWER } };
    }
  },
});

describe("the kvault command", () => {
  let folder = "";
  let file = "";
  let server: RunningServer;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "kvault-cli-"));
    file = join(folder, "text.txt");
    writeFileSync(file, "The boat is green.");
    server = await startServer({ address: `unix:${join(folder, "s")}`, services: [contexts, inference] });
  });
  afterAll(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });

  const kvault = async (...args: string[]) => {
    const written = { stdout: "", stderr: "" };
    const stream = (name: keyof typeof written) => ({
      write: (text: string) => {
        written[name] += text;
      },
    });
    const host = {
      streams: { stdout: stream("stdout"), stderr: stream("stderr") },
      env: {},
      signal: new AbortController().signal,
    };
    const addressed = args.includes("--help") || args[0] === "methods" ? args : [...args, "--address", server.address];
    const error = await createProgram(host)
      .parseAsync(addressed, { from: "user" })
      .then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
    return { ...written, error };
  };

  test("methods --json says which presets rest on a measurement, and which models have it", async () => {
    const { stdout } = await kvault("methods", "--json", "--cache-dir", "/nowhere");
    const { presets } = JSON.parse(stdout) as { presets: { name: string; needsProfile: string[]; profiledFor: string[] }[] };
    expect(presets.find(({ name }) => name === "kvault")).toMatchObject({
      needsProfile: ["surrogate"],
      profiledFor: ["qwen2.5-coder-0.5b"],
    });
    expect(presets.find(({ name }) => name === "kvzip")).toMatchObject({ needsProfile: [], profiledFor: [] });
  });

  test("context create shows every phase on stderr and the figures on stdout", async () => {
    const { stdout, stderr, error } = await kvault(
      "context",
      "create",
      "--file",
      file,
      "--keep",
      "0.3",
      "--label",
      "a=b",
      "--ttl",
      "2m",
    );
    expect(error).toBeUndefined();
    expect(stderr).toContain("prefill: 50% 50 of 100 tokens");
    expect(stdout).toContain(NAME);
    expect(stdout).toContain("300 of 1,000 KV pairs");
    expect(requests.at(-1)).toMatchObject({
      content: { content: { case: "text", value: "The boat is green." } },
      compression: { spec: "", keepRatio: 0.3 },
      labels: { a: "b" },
      ttl: { seconds: 120n },
    });
  });

  test("context create --json ends with one JSON document", async () => {
    const { stdout } = await kvault("context", "create", "--file", file, "--json");
    expect(JSON.parse(stdout)).toMatchObject({
      name: NAME,
      state: "ACTIVE",
      report: { keptPairs: 300, seconds: { prefill: 1.5 } },
    });
    expect(requests.at(-1)).not.toHaveProperty("compression.keepRatio");
  });

  test("a failed build is the error that the server gave", async () => {
    writeFileSync(file, FAILING);
    const { error } = await kvault("context", "create", "--file", file);
    expect(error).toMatchObject({ code: "STORE_FULL" });
  });

  test("context list follows the pages; --limit ends it", async () => {
    expect((await kvault("context", "list", "--json")).stdout.trim().split("\n")).toHaveLength(2);
    expect((await kvault("context", "list", "--limit", "1", "--json")).stdout.trim().split("\n")).toHaveLength(1);
    expect((await kvault("context", "list")).stdout).toContain("second");
  });

  test("context get and delete take the bare id", async () => {
    const id = NAME.replace("contexts/", "");
    expect((await kvault("context", "get", id)).stdout).toContain("ACTIVE");
    expect((await kvault("context", "delete", id, "--purge", "--json")).stdout).toBe(`${JSON.stringify({ deleted: NAME })}\n`);
    const kept = await kvault("context", "delete", id, "--force", "--json");
    expect(JSON.parse(kept.stdout)).toEqual({ deleted: NAME, purgeTime: "2027-01-15T08:00:00.000Z" });
    expect(requests.at(-1)).toMatchObject({ force: true, purge: false });
    expect((await kvault("context", "get", "c0")).error).toMatchObject({ code: "CONTEXT_NOT_FOUND" });
  });

  test("context update names what is changed and nothing else", async () => {
    await kvault("context", "update", NAME, "--name", "n", "--ttl", "12h", "--refresh-on-use");
    expect(requests.at(-1)).toMatchObject({
      context: { name: NAME, displayName: "n", ttl: { seconds: 43_200n }, refreshOnUse: true },
      updateMask: { paths: ["display_name", "ttl", "refresh_on_use"] },
    });
    await kvault("context", "update", NAME, "--no-expire");
    expect(requests.at(-1)).toMatchObject({ updateMask: { paths: ["expire_time"] } });
    expect((await kvault("context", "update", NAME)).error).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect((await kvault("context", "update", NAME, "--ttl", "1h", "--no-expire")).error).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  test("context update adds and removes single labels under the etag that it read", async () => {
    await kvault("context", "update", NAME, "--label", "a=b", "--remove-label", "stage");
    expect(requests.at(-1)).toMatchObject({
      context: { labels: { kept: "yes", a: "b" }, etag: "e1" },
      updateMask: { paths: ["labels"] },
    });
  });

  test("context pin, unpin, undelete and warm say what they did", async () => {
    expect((await kvault("context", "pin", NAME)).stdout).toBe(`pinned ${NAME}\n`);
    expect(requests.at(-1)).toMatchObject({ context: { name: NAME, pinned: true }, updateMask: { paths: ["pinned"] } });
    expect((await kvault("context", "unpin", NAME)).stdout).toBe(`unpinned ${NAME}\n`);
    expect((await kvault("context", "undelete", NAME)).stdout).toBe(`undeleted ${NAME}\n`);
    const warmed = await kvault("context", "warm", NAME, "--replicas", "2", "--json");
    expect(JSON.parse(warmed.stdout)).toMatchObject({ replicas: [{ worker: "w0", bytesLoaded: 1_000 }, { worker: "w1" }] });
  });

  test("tokens counts a file and a question", async () => {
    writeFileSync(file, "abc");
    const { stdout } = await kvault("tokens", "--file", file, "--question", "Who?", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ contextTokens: 3, questionTokens: 4, maxTokens: 32_768 });
    expect((await kvault("tokens")).error).toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("query --recompute sends the text along", async () => {
    writeFileSync(file, "The boat is green.");
    await kvault("query", NAME, "What colour?", "--recompute", file);
    expect(requests.at(-1)).toMatchObject({
      onMiss: { action: { case: "recompute", value: { content: { content: { case: "text", value: "The boat is green." } } } } },
    });
  });

  test("query streams one answer and sums it up on stderr", async () => {
    const { stdout, stderr } = await kvault("query", NAME, "What colour?", "--seed", "7");
    expect(stdout).toBe("Green.\n");
    expect(stderr).toContain("2 tokens, first after 12 ms, 200 tokens/s, context from memory: RESIDENT");
    expect(requests.at(-1)).toMatchObject({ question: "What colour?", sampling: { seed: 7n } });
  });

  test("query with several questions prints one JSON line each", async () => {
    const { stdout } = await kvault("query", NAME, "What colour?", "Which boat?", "--json");
    const lines = stdout.trim().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { question: "What colour?", answer: "Green.", finishReason: "END", cache: { tier: "memory" } },
      { question: "Which boat?" },
    ]);
  });

  test("query goes on after a question that fails, and fails at the end", async () => {
    const { stdout, error } = await kvault("query", NAME, FAILING, "Which boat?", "--json");
    const lines = stdout.trim().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { question: FAILING, error: { code: "TOKEN_LIMIT", message: "Cannot answer: too long" } },
      { question: "Which boat?", answer: "Green." },
    ]);
    expect(error).toBeInstanceOf(ReportedFailure);
    expect(describeFailure(error, false)).toEqual({ exitCode: 1, text: "1 of 2 questions failed." });
  });

  test.each([
    [["context", "create", "--file", "/nowhere.txt"], "INVALID_ARGUMENT"],
    [["context", "create", "--file", "/dev/null"], "INVALID_ARGUMENT"],
    [["context", "create", "--file", "/dev/null", "--keep", "0"], "INVALID_ARGUMENT"],
    [["context", "create", "--file", "/dev/null", "--keep", "NaN"], "INVALID_ARGUMENT"],
    [["query", NAME, " "], "INVALID_ARGUMENT"],
    [["context", "list", "--token-file", "/nowhere.txt"], "INVALID_ARGUMENT"],
  ])("%j is refused before any call with %s", async (args, code) => {
    const before = requests.length;
    expect((await kvault(...args)).error).toMatchObject({ code });
    expect(requests.length).toBe(before);
  });

  test("wrong usage points at the help and is no error of ours", async () => {
    const { error, stderr } = await kvault("context", "create");
    expect(error).toBeInstanceOf(CommanderError);
    expect(stderr).toContain("Add --help to see how it is used.");
    expect((await kvault("contxt")).stderr).toContain("Did you mean context?");
  });

  test("every command has a summary, --json, and examples in its help", async () => {
    const host = {
      streams: { stdout: { write: () => undefined }, stderr: { write: () => undefined } },
      env: {},
      signal: AbortSignal.abort(),
    };
    const walk = (command: ReturnType<typeof createProgram>, path: readonly string[]): (readonly string[])[] =>
      command.commands.length === 0 ? [path] : command.commands.flatMap((child) => walk(child, [...path, child.name()]));
    const paths = walk(createProgram(host), []);
    expect(paths.length).toBeGreaterThan(12);
    for (const path of paths) {
      const { stdout } = await kvault(...path, "--help");
      expect(stdout, path.join(" ")).toContain("--json");
      expect(stdout, path.join(" ")).toContain("Examples:");
    }
  });
});
