import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ErrorCode } from "@kvault/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Api, ask, type CreateRequest, connect, createRequest, refusal } from "./support/api.ts";
import { kvault, type RunningProcess, start } from "./support/kvault.ts";
import { LETTER, OPTICKS } from "./support/texts.ts";

interface BadRequest {
  readonly what: string;
  readonly request: CreateRequest;
  readonly code: ErrorCode;
  /** The field that the error names. */
  readonly field?: string;
}

const BAD_REQUESTS: readonly BadRequest[] = [
  { what: "an empty context", request: createRequest(""), code: "INVALID_ARGUMENT", field: "content.text" },
  { what: "no content", request: createRequest("", { content: {} }), code: "INVALID_ARGUMENT", field: "content" },
  { what: "an unknown model", request: createRequest(LETTER, { model: "gpt-17" }), code: "MODEL_NOT_FOUND" },
  {
    what: "an unknown method",
    request: createRequest(LETTER, { compression: { spec: "kvunzip", keepRatio: 0.3 } }),
    code: "METHOD_NOT_FOUND",
  },
  {
    what: "a spec that cannot be read",
    request: createRequest(LETTER, { compression: { spec: "kvzip(chunk=|global", keepRatio: 0.3 } }),
    code: "SPEC_INVALID",
  },
  {
    what: "a keep ratio of 1.5",
    request: createRequest(LETTER, { compression: { spec: "kvzip", keepRatio: 1.5 } }),
    code: "INVALID_ARGUMENT",
    field: "compression.keep_ratio",
  },
  {
    what: "a negative keep ratio",
    request: createRequest(LETTER, { compression: { spec: "kvzip", keepRatio: -0.1 } }),
    code: "INVALID_ARGUMENT",
    field: "compression.keep_ratio",
  },
  {
    what: "a keep ratio that is not a number",
    request: createRequest(LETTER, { compression: { spec: "kvzip", keepRatio: Number.NaN } }),
    code: "INVALID_ARGUMENT",
    field: "compression.keep_ratio",
  },
  {
    what: "a lifetime under a minute",
    request: createRequest(LETTER, { ttl: { seconds: 5n } } as Partial<CreateRequest>),
    code: "INVALID_ARGUMENT",
    field: "ttl",
  },
];

describe("bad input", () => {
  let folder = "";
  let up: RunningProcess;
  let api: Api;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
    up = await start(["up", "--json", "--address", "127.0.0.1:0", "--data-dir", folder]);
    api = await connect(String(up.ready["address"]));
  });
  afterAll(async () => {
    api.close();
    await up.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** Names of everything a client or an administrator could see. */
  const leftovers = async (): Promise<string[]> => {
    const { contexts } = await api.contexts.listContexts({ pageSize: 1000 });
    const records = join(folder, "store", "v1", "contexts");
    return [...contexts.map((context) => context.name), ...(existsSync(records) ? readdirSync(records) : [])];
  };

  for (const { what, request, code, field } of BAD_REQUESTS) {
    test(`${what} is refused with ${code} and leaves nothing`, async () => {
      const error = await refusal(api.contexts.createContext(request));
      expect({ code: error.code, ...(field === undefined ? {} : { field: error.details["field"] }) }).toEqual({
        code,
        ...(field === undefined ? {} : { field }),
      });
      expect(error.message).toMatch(/^Cannot .+/);
      expect(await leftovers()).toEqual([]);
    });
  }

  test("a context over the model's length is refused with TOKEN_LIMIT and leaves nothing that answers", async () => {
    const long = OPTICKS.repeat(5);
    const error = await refusal(
      (async () => {
        const { submit, untilActive } = await import("./support/api.ts");
        await untilActive(api, await submit(api, createRequest(long)));
      })(),
    );
    expect(error.code).toBe("TOKEN_LIMIT");
    const records = join(folder, "store", "v1", "contexts");
    expect(existsSync(records) ? readdirSync(records) : []).toEqual([]);
  });

  test("a deadline already past is DEADLINE_EXCEEDED and leaves nothing", async () => {
    const before = await leftovers();
    const error = await refusal(
      api.contexts.createContext(createRequest(`${LETTER} Too late.`), { deadlineMs: Date.now() - 1000 }),
    );
    expect(error.code).toBe("DEADLINE_EXCEEDED");
    expect(await leftovers()).toEqual(before);
  });

  test("questions: an unknown context, an empty question, a bad name", async () => {
    const unknown = await refusal(ask(api, `contexts/c${"0".repeat(32)}`, "What?"));
    expect(unknown.code).toBe("CONTEXT_NOT_FOUND");
    const empty = await refusal(ask(api, `contexts/c${"0".repeat(32)}`, ""));
    expect({ code: empty.code, field: empty.details["field"] }).toEqual({ code: "INVALID_ARGUMENT", field: "question" });
    const name = await refusal(ask(api, "../../etc/passwd", "What?"));
    expect({ code: name.code, field: name.details["field"] }).toEqual({ code: "INVALID_ARGUMENT", field: "context" });
  });

  test("a truncated weight file is refused with MODEL_CORRUPT, by the command, before it is used", async () => {
    const cacheDir = join(folder, "cache");
    const { mkdir } = await import("node:fs/promises");
    await mkdir(cacheDir);
    const list = await kvault(["model", "list", "--json", "--cache-dir", cacheDir]);
    expect(list.code).toBe(0);
    await writeFile(join(folder, "text.txt"), LETTER);
    const args = [
      "ask",
      "-m",
      "smollm2-135m",
      "-f",
      join(folder, "text.txt"),
      "-q",
      "Who?",
      "--offline",
      "--cache-dir",
      cacheDir,
      "--json",
    ];
    const missing = await kvault(args);
    expect([missing.code, missing.json]).toMatchObject([1, { error: { code: "MODEL_UNAVAILABLE" } }]);
  });
});

describe("bad input of the command", () => {
  const cases: readonly (readonly [what: string, args: readonly string[], code: ErrorCode])[] = [
    ["keep ratio 0", ["--keep", "0"], "INVALID_ARGUMENT"],
    ["keep ratio 1.5", ["--keep", "1.5"], "INVALID_ARGUMENT"],
    ["keep ratio NaN", ["--keep", "NaN"], "INVALID_ARGUMENT"],
    ["an unknown model", ["--model", "gpt-17"], "MODEL_NOT_FOUND"],
    ["an unknown method", ["--method", "kvunzip"], "METHOD_NOT_FOUND"],
    ["an empty file", ["--file", "/dev/null"], "INVALID_ARGUMENT"],
    ["a missing file", ["--file", "/nowhere/at-all.txt"], "INVALID_ARGUMENT"],
  ];
  for (const [what, args, code] of cases) {
    test(`kvault ask refuses ${what} with ${code} and exit code 2`, async () => {
      const { code: exit, json, stderr } = await kvault(["ask", "--file", "README.md", "--question", "Who?", ...args, "--json"]);
      expect(json).toMatchObject({ error: { code } });
      expect(exit).toBe(2);
      expect(stderr).toContain(`[${code}]`);
    });
  }
  test("an unknown option is wrong usage: exit code 2 and a pointer to the help", async () => {
    const { code, stderr } = await kvault(["ask", "--kep", "0.3"]);
    expect(code).toBe(2);
    expect(stderr).toContain("--keep");
  });
});
