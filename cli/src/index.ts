/**
 * The `kvault` command as a library: its commands, and the embedded stack.
 *
 * @module
 */
export type { Host } from "./commands/command.ts";
export { createProgram } from "./program.ts";
