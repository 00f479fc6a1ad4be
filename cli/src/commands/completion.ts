/**
 * `kvault completion`: a script that completes commands, options and their values in a shell. It is
 * made from the commands themselves, and asks nobody when it runs.
 *
 * @module
 */
import type { Command } from "commander";
import { commandWords } from "../completion/command-words.ts";
import { bashScript, fishScript, zshScript } from "../completion/scripts.ts";
import { define, type Host, runs } from "./command.ts";

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

export function addCompletion(program: Command, host: Host): void {
  const completion = define(program, {
    usage: "completion <shell>",
    summary: "Print a completion script for bash, zsh or fish",
    examples: [
      ['eval "$(kvault completion bash)"', "in ~/.bashrc"],
      ['eval "$(kvault completion zsh)"', "in ~/.zshrc, after compinit"],
      ["kvault completion fish > ~/.config/fish/completions/kvault.fish", "once, and after an update"],
    ],
  });
  completion.registeredArguments[0]?.choices(Object.keys(SCRIPTS));
  runs(completion, host, async ({ terminal }, _options, shell = "") => {
    const script = SCRIPTS[shell as keyof typeof SCRIPTS](commandWords(program));
    terminal.result({ shell, script }, () => script.trimEnd());
  });
}
