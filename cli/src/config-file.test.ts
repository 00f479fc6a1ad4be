import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isKvaultError } from "@kvault/core";
import { Command, Option } from "commander";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { applyConfigFile, configurable } from "./config-file.ts";
import { addressOption, engineSettings, keepOption, modelOption, withEngineFlags } from "./options.ts";

describe("applyConfigFile()", () => {
  let home = "";
  let file = "";
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), "kvault-home-"));
    file = join(home, ".config", "kvault", "config.yaml");
    mkdirSync(join(home, ".config", "kvault"), { recursive: true });
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  /** Options of a command after parsing `args`, or what it is refused with. */
  async function options(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Record<string, unknown>> {
    let found: Record<string, unknown> = {};
    const host = { HOME: home, ...env };
    const program = new Command("kvault").exitOverride();
    program.hook("preAction", (_, command) => applyConfigFile(program, command, host));
    const command = program.command("run");
    command.addOption(addressOption()).addOption(modelOption()).addOption(keepOption());
    command.addOption(configurable(new Option("--token-file <path>", "")));
    command.addOption(new Option("--seed <n>", ""));
    withEngineFlags(command).action((given: Record<string, unknown>) => {
      found = { ...given, offline: engineSettings(given, host).offline };
    });
    const before = { ...process.env };
    Object.assign(process.env, env);
    try {
      await program.parseAsync(["node", "kvault", "run", ...args]);
    } finally {
      for (const key of Object.keys(env)) delete process.env[key];
      Object.assign(process.env, before);
    }
    return found;
  }

  test("a flag goes before a variable, a variable before the file, the file before the default", async () => {
    expect(await options([])).toMatchObject({ address: "127.0.0.1:7717" });
    writeFileSync(file, "address: file:1\nmodel: other\nkeep: 0.5\nthreads: 3\n");
    expect(await options([])).toMatchObject({ address: "file:1", model: "other", keep: 0.5, threads: 3 });
    expect(await options([], { KVAULT_ADDRESS: "variable:1" })).toMatchObject({ address: "variable:1", model: "other" });
    expect(await options(["--address", "flag:1", "--keep", "0.1"], { KVAULT_ADDRESS: "variable:1" })).toMatchObject({
      address: "flag:1",
      keep: 0.1,
    });
  });

  test("switches are true or false, and their variable goes before them", async () => {
    writeFileSync(file, "offline: true\n");
    expect(await options([])).toMatchObject({ offline: true });
    expect(await options([], { KVAULT_OFFLINE: "false" })).toMatchObject({ offline: false });
  });

  test("paths may begin in the user's folder", async () => {
    writeFileSync(file, "token-file: ~/token\n");
    expect(await options([])).toMatchObject({ tokenFile: join(home, "token") });
  });

  test("is found where a variable says; only then it must be there", async () => {
    expect(await options([])).toBeDefined();
    const elsewhere = join(home, "other.yaml");
    await expect(options([], { KVAULT_CONFIG_FILE: elsewhere })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { field: "KVAULT_CONFIG_FILE", file: elsewhere },
    });
    writeFileSync(elsewhere, "model: there\n");
    expect(await options([], { KVAULT_CONFIG_FILE: elsewhere })).toMatchObject({ model: "there" });
    expect(await options([], { KVAULT_CONFIG_FILE: "/dev/null" })).toMatchObject({ model: "qwen2.5-coder-0.5b" });
  });

  test("everything that is wrong is told at once, and its keys are named", async () => {
    writeFileSync(file, "adress: x:1\nkeep: 3\noffline: maybe\nseed: 4\nmodel: [a]\n");
    const error = await options([]).catch((thrown: unknown) => thrown);
    if (!isKvaultError(error, "INVALID_ARGUMENT")) throw error;
    expect(error.details).toMatchObject({ field: "adress", file });
    for (const part of [
      "adress is unknown, known are address",
      "keep: Cannot keep a fraction of 3",
      'offline must be true or false, found "maybe"',
      "seed is unknown",
      'model must be one value, found ["a"]',
    ])
      expect(error.message).toContain(part);
  });

  test.each(["- a\n- b\n", "a: [\n", "just words"])("a file that says something else is refused: %j", async (text) => {
    writeFileSync(file, text);
    await expect(options([])).rejects.toMatchObject({ code: "INVALID_ARGUMENT", details: { file } });
  });
});
