/**
 * What every command has in common: a summary, examples in its help, `--json`, and a terminal
 * and an abort signal handed to its action.
 *
 * @module
 */
import type { Command } from "commander";
import type { Environment } from "../settings.ts";
import { createTerminal, type Streams, type Terminal } from "../terminal/terminal.ts";

/** The process around a command. */
export interface Host {
  readonly streams: Streams;
  readonly env: Environment;
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
}

export interface Call {
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  readonly env: Environment;
}

export interface CommandText {
  /** `name`, followed by its arguments as commander writes them. */
  readonly usage: string;
  readonly summary: string;
  /** What it does, beyond the summary. */
  readonly description?: string;
  /** Command lines with what they do. */
  readonly examples: readonly (readonly [line: string, meaning: string])[];
}

/** Adds a command to `parent`; give it options and then an action with {@link runs}. */
export function define(parent: Command, { usage, summary, description, examples }: CommandText): Command {
  const command = parent
    .command(usage)
    .summary(summary)
    .description(reflow(description ?? `${summary}.`));
  command.option("--json", "print JSON instead of text");
  command.helpOption("-h, --help", "show help");
  return command.addHelpText("after", exampleText(examples));
}

/** Sets the action: arguments as strings, options as commander made them. */
export function runs<Options>(
  command: Command,
  host: Host,
  action: (call: Call, options: Options, ...args: string[]) => Promise<void>,
): void {
  command.action(async (...given: unknown[]) => {
    const options = given.at(-2) as Options & { readonly json?: boolean };
    const args = given.slice(0, -2).flat() as string[];
    const terminal = createTerminal(host.streams, options.json === true);
    try {
      await action({ terminal, signal: host.signal, env: host.env }, options, ...args);
    } finally {
      terminal.progress.close();
    }
  });
}

/** A group of commands: `kvault context …`. */
export function group(parent: Command, name: string, summary: string): Command {
  return parent.command(name).summary(summary).description(`${summary}.`).helpOption("-h, --help", "show help");
}

/** Lines of a paragraph joined: the help wraps to the width of the terminal. */
export function reflow(text: string): string {
  return text.replace(/([^\n])\n(?!\n)/g, "$1 ");
}

function exampleText(examples: CommandText["examples"]): string {
  if (examples.length === 0) return "";
  return ["", "Examples:", ...examples.flatMap(([line, meaning]) => [`  ${line}`, `      ${meaning}`])].join("\n");
}
