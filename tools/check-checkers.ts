/**
 * Checkers that pass while blind are worse than none: every one is shown a violation in a copy
 * of the tree and has to name it, and has to be content with the copy before.
 *
 * The copy has its own `node_modules` whose `@kvault/*` links lead into the copy, and no `dist`,
 * so that nothing built before hides a missing reference.
 *
 * @module
 */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

interface Planted {
  readonly checker: string;
  readonly command: readonly string[];
  /** Where the violation goes, and what. */
  readonly path: string;
  readonly text: string;
  /** What the checker must print. */
  readonly expected: RegExp;
  /** Skip the run on the clean copy: slow, and the same step of `make test` has just passed. */
  readonly cleanElsewhere?: boolean;
}

const biome = ["biome", "lint", "--max-diagnostics=200"];
const PLANTED: readonly Planted[] = [
  {
    checker: "biome: restricted import of the runtime's library",
    command: [...biome, "services/gateway/src"],
    path: "services/gateway/src/planted.ts",
    text: 'import * as ort from "onnxruntime-node";\n\nexport const planted: unknown = ort;\n',
    expected: /Only libs\/runtime runs models/,
  },
  {
    checker: "biome: restricted import of gRPC",
    command: [...biome, "cli/src"],
    path: "cli/src/planted.ts",
    text: 'import * as grpc from "@grpc/grpc-js";\n\nexport const planted: unknown = grpc;\n',
    expected: /Only libs\/rpc speaks gRPC/,
  },
  {
    checker: "biome: a service importing a service",
    command: [...biome, "services/gateway/src"],
    path: "services/gateway/src/planted.ts",
    text: 'import * as worker from "@kvault/decode-worker";\n\nexport const planted: unknown = worker;\n',
    expected: /Services meet on the wire/,
  },
  {
    checker: "biome: the runtime below the workers",
    command: [...biome, "libs/service/src"],
    path: "libs/service/src/planted.ts",
    text: 'import * as runtime from "@kvault/runtime";\n\nexport const planted: unknown = runtime;\n',
    expected: /arrows point at it/,
  },
  {
    checker: "biome: the environment read below main",
    command: [...biome, "libs/kvstore/src"],
    path: "libs/kvstore/src/planted.ts",
    text: 'export const planted: string | undefined = process.env["HOME"];\n',
    expected: /noProcessEnv/,
  },
  {
    checker: "biome: a floating promise",
    command: [...biome, "libs/core/src/planted.ts"],
    path: "libs/core/src/planted.ts",
    text: "async function later(): Promise<void> {}\nexport function planted(): void {\n  later();\n}\n",
    expected: /noFloatingPromises/,
    cleanElsewhere: true,
  },
  {
    checker: "tsc: an arrow that points back",
    command: ["tsc", "-b", "libs/core"],
    path: "libs/core/src/planted.ts",
    text: 'import * as back from "@kvault/compression";\n\nexport const planted: unknown = back;\n',
    expected: /TS2307|TS6307|TS6202/,
  },
  {
    checker: "knip: a file nobody imports",
    command: ["knip"],
    path: "libs/core/src/planted.ts",
    text: "export const planted = 1;\n",
    expected: /planted\.ts/,
    cleanElsewhere: true,
  },
  {
    checker: "buf: a name against the style",
    command: ["buf", "lint"],
    path: "proto/kvault/v1/planted.proto",
    text: 'syntax = "proto3";\n\npackage kvault.v1;\n\nmessage planted_message {}\n',
    expected: /planted_message/,
  },
  {
    checker: "check-docs: a broken link",
    command: ["tsx", "--conditions=kvault-source", "tools/check-docs.ts"],
    path: "docs/planted.md",
    text: "# Planted\n\nSee [nothing](nowhere.md).\n",
    expected: /nowhere\.md/,
    cleanElsewhere: true,
  },
  {
    checker: "check-docs: a stale generated section",
    command: ["tsx", "--conditions=kvault-source", "tools/check-docs.ts"],
    path: "docs/planted.md",
    text: "# Planted\n\n<!-- generated: errors -->\nstale\n<!-- end -->\n",
    expected: /section "errors" is not what/,
    cleanElsewhere: true,
  },
  {
    checker: "check-docs: a snippet that does not compile",
    command: ["tsx", "--conditions=kvault-source", "tools/check-docs.ts"],
    path: "docs/planted.md",
    text: '# Planted\n\n```ts\nconst planted: number = "text";\n```\n',
    expected: /docs\/planted\.md:3.*TS2322/,
    cleanElsewhere: true,
  },
];

const scratch = mkdtempSync(join(tmpdir(), "kvault-checkers-"));
const root = process.cwd();

/** Tracked and new files, without what is ignored. */
function copyTree(): void {
  const list = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "-z"], { encoding: "utf8" });
  for (const path of list.split("\0").filter((name) => name !== "")) {
    mkdirSync(dirname(join(scratch, path)), { recursive: true });
    cpSync(join(root, path), join(scratch, path), { force: true, errorOnExist: false });
  }
}

/** Packages by link to the real ones; `@kvault/*` by link into the copy. */
function linkPackages(): void {
  const own = join(scratch, "node_modules", "@kvault");
  mkdirSync(own, { recursive: true });
  for (const name of readdirSync(join(root, "node_modules"))) {
    if (name !== "@kvault") symlinkSync(join(root, "node_modules", name), join(scratch, "node_modules", name));
  }
  for (const folder of ["libs", "services"]) {
    for (const name of readdirSync(join(scratch, folder))) symlinkSync(join(scratch, folder, name), join(own, name));
  }
  for (const name of ["cli", "examples", "tests", "tools"]) symlinkSync(join(scratch, name), join(own, name));
}

function runIn(folder: string, command: readonly string[]): { readonly ok: boolean; readonly output: string } {
  const [name = "", ...args] = command;
  const { status, stdout, stderr } = spawnSync(resolve(root, "node_modules", ".bin", name), args, {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  return { ok: status === 0, output: `${stdout}\n${stderr}` };
}

function problemOf({ checker, command, path, text, expected, cleanElsewhere }: Planted): string | undefined {
  if (cleanElsewhere !== true) {
    const clean = runIn(scratch, command);
    if (!clean.ok) return `${checker}: fails on the tree as it is:\n${clean.output}`;
  }
  const target = join(scratch, path);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, text);
  try {
    const { ok, output } = runIn(scratch, command);
    if (ok) return `${checker}: did not see the planted violation`;
    return expected.test(output) ? undefined : `${checker}: failed without naming the planted violation:\n${output}`;
  } finally {
    rmSync(target, { force: true });
  }
}

try {
  copyTree();
  linkPackages();
  for (const planted of PLANTED) {
    const problem = problemOf(planted);
    console.log(problem ?? `caught: ${planted.checker}`);
    if (problem !== undefined) process.exitCode = 1;
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
