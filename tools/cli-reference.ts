/**
 * The help of every command of `kvault`, as Markdown.
 *
 * @module
 */
import { createProgram } from "@kvault/cli";

const WIDTH = 100;

type Program = ReturnType<typeof createProgram>;

/** One section for every command that does something, in the order of the help. */
export function cliReference(): string {
  const sink = { write: () => undefined };
  const program = createProgram({ streams: { stdout: sink, stderr: sink }, env: {}, signal: new AbortController().signal });
  return leaves(program, "kvault")
    .map(({ path, command }) => `## ${path}\n\n\`\`\`text\n${helpOf(command)}\n\`\`\``)
    .join("\n\n");
}

function leaves(command: Program, path: string): { readonly path: string; readonly command: Program }[] {
  if (command.commands.length === 0) return [{ path, command }];
  return command.commands.flatMap((child) => leaves(child, `${path} ${child.name()}`));
}

function helpOf(command: Program): string {
  let text = "";
  command.configureOutput({
    writeOut: (piece) => {
      text += piece;
    },
    getOutHelpWidth: () => WIDTH,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text.trim();
}
