/**
 * `kvault gateway`, `kvault prefill-worker`, `kvault decode-worker`: one service, configured by
 * the environment, as in a cluster.
 *
 * @module
 */
import type { Command } from "commander";
import { define, type Host } from "./command.ts";

export function addServices(program: Command, host: Host): void {
  void host;
  void define;
  void program;
}
