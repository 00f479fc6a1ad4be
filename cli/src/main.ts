/**
 * The `kvault` command: parses, runs one command, and turns its end into an exit code.
 *
 * @module
 */
import { CommanderError } from "commander";
import { createProgram } from "./program.ts";
import { describeFailure, EXIT } from "./terminal/failure.ts";

const interrupt = new AbortController();
let interrupts = 0;
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.on(name, () => {
    interrupts += 1;
    // The second one does not wait for anything.
    if (interrupts > 1) process.exit(EXIT.interrupted);
    interrupt.abort();
  });
}
// A reader that left (`kvault … | head`) is no failure of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(EXIT.ok);
  throw error;
});

const streams = { stdout: process.stdout, stderr: process.stderr };
try {
  await createProgram({ streams, env: process.env, signal: interrupt.signal }).parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  } else {
    const { exitCode, text, json } = describeFailure(error, interrupt.signal.aborted);
    process.stderr.write(`${text}\n`);
    if (json !== undefined && process.argv.includes("--json")) process.stdout.write(`${JSON.stringify(json)}\n`);
    if (process.env["KVAULT_DEBUG"] !== undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    process.exitCode = exitCode;
  }
}
