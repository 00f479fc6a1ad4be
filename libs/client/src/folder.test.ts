import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readFolder } from "./folder.ts";

describe("readFolder()", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "kvault-folder-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function write(files: Readonly<Record<string, string | Uint8Array>>): void {
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), content);
    }
  }

  test("joins files in the order of their paths, each under its own", async () => {
    write({ "b.txt": "second\n", "a/z.txt": "first", "c.md": "third\n" });
    const { text, files } = await readFolder(folder);
    expect(text).toBe("=== a/z.txt ===\nfirst\n\n=== b.txt ===\nsecond\n\n=== c.md ===\nthird\n");
    expect(files).toEqual([
      { path: "a/z.txt", bytes: 5 },
      { path: "b.txt", bytes: 7 },
      { path: "c.md", bytes: 6 },
    ]);
  });

  test("ignore files hold where they lie, nearer ones last, and .git is never read", async () => {
    write({
      ".gitignore": "*.log\n/build/\n!keep.log\n",
      ".kvaultignore": "*.lock\n",
      ".git/config": "secret",
      "a.log": "no",
      "keep.log": "yes",
      "build/out.txt": "no",
      "src/build/in.txt": "yes",
      "src/.gitignore": "!b.log\nlocal.txt\n",
      "src/b.log": "yes",
      "src/local.txt": "no",
      "local.txt": "yes",
      "npm.lock": "no",
      "notes.tmp": "no",
    });
    const { files } = await readFolder(folder, { ignore: ["*.tmp", ".gitignore", ".kvaultignore"] });
    expect(files.map(({ path }) => path)).toEqual(["keep.log", "local.txt", "src/b.log", "src/build/in.txt"]);
  });

  test("ignore files above hold up to the repository that the folder is in, and no further", async () => {
    write({
      ".gitignore": "*.txt\n",
      "repo/.gitignore": "dist\n/src/local.md\n",
      "repo/src/a.txt": "a",
      "repo/src/dist/b": "b",
      "repo/src/local.md": "c",
    });
    const paths = async (): Promise<string[]> => (await readFolder(join(folder, "repo", "src"))).files.map(({ path }) => path);
    expect(await paths()).toEqual(["a.txt", "dist/b", "local.md"]);
    write({ "repo/.git/HEAD": "ref: x" });
    expect(await paths()).toEqual(["a.txt"]);
  });

  test("says what it left out: binaries, links, large files", async () => {
    write({
      "a.txt": "text",
      "bin.dat": Uint8Array.from([1, 0, 2]),
      "latin.txt": Uint8Array.from([0xe9, 0x20]),
      "big.txt": "x".repeat(100),
    });
    symlinkSync("/", join(folder, "root"));
    const { files, skipped } = await readFolder(folder, { maxFileBytes: 50 });
    expect(files).toHaveLength(1);
    expect(skipped).toEqual([
      { path: "big.txt", reason: "too large" },
      { path: "bin.dat", reason: "not text" },
      { path: "latin.txt", reason: "not text" },
      { path: "root", reason: "link" },
    ]);
  });

  test("refuses, by name, a folder that is missing or has no text", async () => {
    for (const path of [join(folder, "nowhere"), folder]) {
      await expect(readFolder(path)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining(path) });
    }
  });

  test("of a repository it reads what git tracks", async () => {
    const root = fileURLToPath(new URL("..", import.meta.url));
    const tracked = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "."], {
      cwd: root,
      encoding: "utf8",
    });
    const { files } = await readFolder(root);
    expect(files.map(({ path }) => path).sort()).toEqual(tracked.trim().split("\n").sort());
  });
});
