import { existsSync, readdirSync } from "node:fs";
import { copyFile, type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { ErrorCode } from "@kvault/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Api, ask, build, type CreateRequest, connect, createRequest, refusal } from "./support/api.ts";
import { kvault, type RunningProcess, SMALL_MODEL, start } from "./support/kvault.ts";
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
    what: "a keep ratio of 0",
    request: createRequest(LETTER, { compression: { spec: "kvzip", keepRatio: 0 } }),
    code: "INVALID_ARGUMENT",
    field: "keep_ratio",
  },
  {
    what: "a keep ratio of 1.5",
    request: createRequest(LETTER, { compression: { spec: "kvzip", keepRatio: 1.5 } }),
    code: "INVALID_ARGUMENT",
    field: "keep_ratio",
  },
  {
    what: "a negative keep ratio",
    request: createRequest(LETTER, { compression: { spec: "kvzip", keepRatio: -0.1 } }),
    code: "INVALID_ARGUMENT",
    field: "keep_ratio",
  },
  {
    what: "a keep ratio that is not a number",
    request: createRequest(LETTER, { compression: { spec: "kvzip", keepRatio: Number.NaN } }),
    code: "INVALID_ARGUMENT",
    field: "keep_ratio",
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
    const error = await refusal(build(api, createRequest(long)));
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
  test("an unknown option is wrong usage: exit code 2, the nearest option, a pointer to the help", async () => {
    const { code, stderr } = await kvault(["context", "list", "--limt", "3"]);
    expect(code).toBe(2);
    expect(stderr).toContain("--limit");
    expect(stderr).toContain("--help");
  });

  describe("a damaged weight file", () => {
    let folder = "";
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
    });
    afterAll(() => rm(folder, { recursive: true, force: true }));

    /** `kvault ask --offline` with what `damage` makes of the small model's file. */
    const askWith = async (damage: (file: FileHandle, bytes: number) => Promise<unknown>) => {
      const { json } = await kvault(["model", "pull", SMALL_MODEL, "--json"]);
      const { path } = json as { path: string };
      const copy = join(folder, basename(path));
      await copyFile(path, copy);
      const file = await open(copy, "r+");
      await damage(file, (await file.stat()).size);
      await file.close();
      return kvault(["ask", "-m", SMALL_MODEL, "-f", "README.md", "-q", "Who?", "--offline", "--cache-dir", folder, "--json"]);
    };

    test("that is truncated is refused with MODEL_CORRUPT, naming both sizes", async () => {
      const { code, json } = await askWith((file, bytes) => file.truncate(bytes >> 1));
      expect(code).toBe(1);
      expect(json).toMatchObject({
        error: { code: "MODEL_CORRUPT", message: expect.stringMatching(/has \d+ bytes, expected \d+/) },
      });
    });
    test("with one other byte is refused with MODEL_CORRUPT, naming both digests", async () => {
      const { code, json } = await askWith(async (file, bytes) => {
        const { buffer } = await file.read(Buffer.alloc(1), 0, 1, bytes >> 1);
        await file.write(Buffer.of(buffer.readUInt8() ^ 1), 0, 1, bytes >> 1);
      });
      expect(code).toBe(1);
      expect(json).toMatchObject({
        error: { code: "MODEL_CORRUPT", message: expect.stringMatching(/has sha256 \w+, expected \w+/) },
      });
    });
    test("that is not there is MODEL_UNAVAILABLE offline", async () => {
      const empty = await mkdtemp(join(folder, "empty-"));
      const { code, json } = await kvault(["model", "pull", SMALL_MODEL, "--offline", "--cache-dir", empty, "--json"]);
      expect(code).toBe(1);
      expect(json).toMatchObject({ error: { code: "MODEL_UNAVAILABLE" } });
    });
  });
});
