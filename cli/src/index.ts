/**
 * The `kvault` command as a library: its commands, and the embedded stack.
 *
 * @module
 */
export type { Host } from "./commands/command.ts";
export { describeRun } from "./demo/describe-run.ts";
export { createProgram } from "./program.ts";
export type { RunReport } from "./run-report.ts";
