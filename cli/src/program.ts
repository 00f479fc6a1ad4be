/**
 * Every command of `kvault`, composed. Each command's file adds itself to the program.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { addAsk } from "./commands/ask.ts";
import { addCalibrate } from "./commands/calibrate.ts";
import { type Host, reflow } from "./commands/command.ts";
import { addCompletion } from "./commands/completion.ts";
import { addContext } from "./commands/context.ts";
import { addDemo } from "./commands/demo.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addExplain } from "./commands/explain.ts";
import { addGc } from "./commands/gc.ts";
import { addInspect } from "./commands/inspect.ts";
import { addKey } from "./commands/key.ts";
import { addMethods } from "./commands/methods.ts";
import { addModel } from "./commands/model.ts";
import { addQuery } from "./commands/query.ts";
import { addServices } from "./commands/services.ts";
import { addStatus } from "./commands/status.ts";
import { addTenant, addToken } from "./commands/token.ts";
import { addTokens } from "./commands/tokens.ts";
import { addUp } from "./commands/up.ts";
import { applyConfigFile } from "./config-file.ts";

const DESCRIPTION = `Compressed KV caches of long contexts: read once, stored, queried many times.

Start with \`kvault demo\`, which needs nothing. Then \`kvault up\` in one terminal, and
\`kvault context create\` and \`kvault query\` in another.`;

const EPILOGUE = `
Every command takes --json: results on stdout as JSON, progress on stderr.
Defaults of options: a flag, else a KVAULT_* variable, else ~/.config/kvault/config.yaml.
Exit codes: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted.`;

export function createProgram(host: Host): Command {
  const program = new Command("kvault")
    .description(reflow(DESCRIPTION))
    .version(version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .addHelpText("after", EPILOGUE)
    .exitOverride()
    .configureOutput({ writeOut: (text) => host.streams.stdout.write(text), writeErr: (text) => host.streams.stderr.write(text) })
    .showSuggestionAfterError()
    .showHelpAfterError("Add --help to see how it is used.")
    .hook("preAction", (_, command) => applyConfigFile(program, command, host.env));
  for (const add of [
    addDemo,
    addUp,
    addAsk,
    addContext,
    addQuery,
    addTokens,
    addModel,
    addMethods,
    addCalibrate,
    addInspect,
    addGc,
    addStatus,
    addExplain,
    addDoctor,
    addToken,
    addTenant,
    addKey,
    addServices,
    addCompletion,
  ])
    add(program, host);
  return program;
}

function version(): string {
  const { version: found } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return found;
}
