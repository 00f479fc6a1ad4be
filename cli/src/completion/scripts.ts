/**
 * Completion scripts. All three do the same: find the command that the words before the cursor name,
 * complete the value of the option before the cursor when it takes one, else commands and options.
 *
 * @module
 */
import type { CommandWords, OptionWords } from "./command-words.ts";

export function bashScript(all: readonly CommandWords[]): string {
  return `# kvault completion for bash
_kvault() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" command="" word words=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$command $word" in
${indented(pathCases(all), 6)}
    esac
  done
  case "$command:$before" in
${indented(valueCases(all, bashValue), 4)}
  esac
  case "$command" in
${indented(wordCases(all), 4)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _kvault kvault
`;
}

export function zshScript(all: readonly CommandWords[]): string {
  return `#compdef kvault
# kvault completion for zsh
_kvault() {
  local before="\${words[CURRENT-1]}" command="" word
  local -a found
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$command $word" in
${indented(pathCases(all), 6)}
    esac
  done
  case "$command:$before" in
${indented(valueCases(all, zshValue), 4)}
  esac
  case "$command" in
${indented(describedCases(all), 4)}
  esac
  _describe kvault found || _files
}
compdef _kvault kvault
`;
}

export function fishScript(all: readonly CommandWords[]): string {
  const lines = all.flatMap(({ path, commands, options }) => {
    const at = `complete -c kvault -n ${quoted(`__kvault_at ${quotedInside(path)}`)}`;
    return [
      ...commands.map(({ text, summary }) => `${at} -f -a ${text} -d ${quoted(summary)}`),
      ...options.map((option) => `${at} ${fishOption(option)} -d ${quoted(option.summary)}`),
    ];
  });
  return `# kvault completion for fish
function __kvault_at
    set -l command
    for word in (commandline -opc)[2..]
        switch "$command $word"
            case ${all
              .filter(({ path }) => path !== "")
              .map(({ path }) => quoted(spaced(path)))
              .join(" ")}
                set command "$command $word"
        end
    end
    test "$command" = "$argv[1]"
end
${lines.join("\n")}
`;
}

/** Paths as the scripts gather them: every word with a space before it. */
const spaced = (path: string): string => (path === "" ? "" : ` ${path}`);

function pathCases(all: readonly CommandWords[]): string[] {
  const paths = all.filter(({ path }) => path !== "").map(({ path }) => `"${spaced(path)}"`);
  return [`${paths.join("|")}) command="$command $word" ;;`];
}

function valueCases(all: readonly CommandWords[], complete: (takes: OptionWords["takes"]) => string): string[] {
  return all.flatMap(({ path, options }) =>
    options
      .filter(({ takes }) => takes !== "nothing")
      .map(({ names, takes }) => `${names.map((name) => `"${spaced(path)}:${name}"`).join("|")}) ${complete(takes)}; return ;;`),
  );
}

function bashValue(takes: OptionWords["takes"]): string {
  if (takes === "file") return 'COMPREPLY=($(compgen -f -- "$cur"))';
  return `COMPREPLY=($(compgen -W "${typeof takes === "string" ? "" : takes.join(" ")}" -- "$cur"))`;
}

function zshValue(takes: OptionWords["takes"]): string {
  if (takes === "file") return "_files";
  return typeof takes === "string" ? "_message value" : `compadd -- ${takes.join(" ")}`;
}

function fishOption({ names, takes }: OptionWords): string {
  const flags = names.map((name) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`)).join(" ");
  if (takes === "nothing") return flags;
  if (takes === "file") return `${flags} -r -F`;
  return typeof takes === "string" ? `${flags} -x` : `${flags} -x -a ${quoted(takes.join(" "))}`;
}

function wordCases(all: readonly CommandWords[]): string[] {
  return all.map(({ path, commands, options }) => {
    const words = [...commands.map(({ text }) => text), ...options.flatMap(({ names }) => names)];
    return `"${spaced(path)}") words="${words.join(" ")}" ;;`;
  });
}

function describedCases(all: readonly CommandWords[]): string[] {
  return all.map(({ path, commands, options }) => {
    const words = [
      ...commands.map(({ text, summary }) => quoted(summary === "" ? text : `${text}:${summary}`)),
      ...options.flatMap(({ names, summary }) => names.map((name) => quoted(`${name}:${summary}`))),
    ];
    return `"${spaced(path)}") found=(${words.join(" ")}) ;;`;
  });
}

/** For all three shells: nothing inside is read by them. */
function quoted(text: string): string {
  return `'${text.replace(/\s+/g, " ").replaceAll("\\", "").replaceAll("'", "’")}'`;
}

function quotedInside(path: string): string {
  return `"${spaced(path)}"`;
}

function indented(lines: readonly string[], spaces: number): string {
  return lines.map((line) => `${" ".repeat(spaces)}${line}`).join("\n");
}
