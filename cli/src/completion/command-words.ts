/**
 * What can be typed after every command: commands, options, and what options take.
 *
 * @module
 */
import type { Command, Option } from "commander";

/** Names of values, and ends of options' names, that are files or folders. */
const FILES = /^<(?:path|file|source|folder)>$|-(?:file|dir)$/;

interface Word {
  readonly text: string;
  readonly summary: string;
}

export interface OptionWords {
  /** `--model`, `-m`. */
  readonly names: readonly string[];
  readonly summary: string;
  /** What it takes: nothing, a file, one of some words, or anything. */
  readonly takes: "nothing" | "file" | "anything" | readonly string[];
}

export interface CommandWords {
  /** `context create`; empty for the program. */
  readonly path: string;
  /** What can be typed next: commands, or choices of an argument. */
  readonly commands: readonly Word[];
  readonly options: readonly OptionWords[];
}

/** Every command of the program, itself included. */
export function commandWords(command: Command, path = ""): CommandWords[] {
  const commands = [
    ...command.commands.map((child) => ({ text: child.name(), summary: child.summary() })),
    ...command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []).map((text) => ({ text, summary: "" })),
  ];
  const options = [
    ...command.options.filter((option) => !option.hidden).map(optionWords),
    { names: ["--help", "-h"], summary: "show help", takes: "nothing" as const },
  ];
  const below = command.commands.flatMap((child) => commandWords(child, `${path} ${child.name()}`.trim()));
  return [{ path, commands, options }, ...below];
}

function optionWords(option: Option): OptionWords {
  const names = [option.long, option.short].filter((name) => name !== undefined);
  return { names, summary: option.description, takes: takenBy(option) };
}

function takenBy({ required, optional, argChoices, flags, long }: Option): OptionWords["takes"] {
  if (!required && !optional) return "nothing";
  if (argChoices !== undefined) return argChoices;
  const value = /[<[].*$/.exec(flags)?.[0].replace(/^\[(.*)\]$/, "<$1>") ?? "";
  return FILES.test(value) || FILES.test(long ?? "") ? "file" : "anything";
}
