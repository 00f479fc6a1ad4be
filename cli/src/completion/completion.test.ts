import { execFileSync, spawnSync } from "node:child_process";
import { Command, Option } from "commander";
import { describe, expect, test } from "vitest";
import { createProgram } from "../program.ts";
import { commandWords } from "./command-words.ts";
import { bashScript, fishScript, zshScript } from "./scripts.ts";

const sink = { write: () => undefined };
const all = commandWords(
  createProgram({ streams: { stdout: sink, stderr: sink }, env: {}, signal: new AbortController().signal }),
);

/** What bash offers for the last of `words`. */
function offered(...words: string[]): string[] {
  const script = `${bashScript(all)}
COMP_WORDS=("$@"); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _kvault; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const printed = execFileSync("bash", ["-uc", script, "bash", "kvault", ...words], { encoding: "utf8" });
  return printed.split("\n").filter((line) => line !== "");
}

describe("bashScript()", () => {
  test("offers commands, those of a group, and options", () => {
    expect(offered("")).toContain("demo");
    expect(offered("co")).toEqual(["context", "completion"]);
    expect(offered("context", "u")).toEqual(["update", "unpin", "undelete"]);
    expect(offered("context", "create", "--ke")).toEqual(["--keep"]);
    expect(offered("query", "--to")).toEqual(["--top-p", "--top-k", "--token-file"]);
  });
  test("offers an argument that has few values", () =>
    expect(offered("completion", "")).toEqual(expect.arrayContaining(["bash", "zsh", "fish"])));
  test("finds the command behind options and arguments", () => {
    expect(offered("context", "create", "--keep", "0.5", "--m")).toEqual(["--model", "--method"]);
    expect(offered("query", "c0123", "up", "--see")).toEqual(["--seed"]);
  });
  test("offers values: choices, files, nothing", () => {
    expect(offered("up", "--log-level", "")).toEqual(["silent", "error", "warn", "info", "debug"]);
    expect(offered("context", "create", "--file", "package-l")).toEqual(["package-lock.json"]);
    expect(offered("context", "create", "--ttl", "")).toEqual([]);
  });
});

describe.each([
  ["zsh", zshScript, ["-n"]],
  ["fish", fishScript, ["--no-execute"]],
] as const)("%sScript()", (shell, script, check) => {
  test("names every command and option, and is read by the shell where there is one", () => {
    const text = script(all);
    for (const { commands, options } of all) {
      for (const { text: name } of commands) expect(text).toContain(name);
      for (const { names } of options) expect(text).toContain(names[0]?.replace(/^--/, "") ?? "");
    }
    const { error, status, stderr } = spawnSync(shell, [...check, "/dev/stdin"], { input: text, encoding: "utf8" });
    if (error === undefined) expect([status, stderr]).toEqual([0, ""]);
  });
});

test("what a description says is not read by a shell", () => {
  const program = new Command("kvault").addOption(new Option("--x <path>", 'it\'s `rm -rf` $HOME \\ "here"'));
  const words = commandWords(program);
  expect(words[0]?.options[0]?.takes).toBe("file");
  for (const script of [zshScript(words), fishScript(words)])
    expect(script).toContain("'it’s `rm -rf` $HOME  \"here\"'".replace("'it", script.includes("compdef") ? "'--x:it" : "'it"));
});
