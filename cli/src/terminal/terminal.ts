/**
 * Where a command's words go: results to stdout, everything on the way to stderr. With `--json`
 * stdout carries JSON only, one value a line.
 *
 * @module
 */
import { createProgress, type Progress, type ProgressStream } from "./progress.ts";

export interface Terminal {
  readonly json: boolean;
  readonly stderr: ProgressStream;
  /** stdout is a terminal, not a pipe or a file. */
  readonly pictures: boolean;
  readonly progress: Progress;
  /** A line on stderr. */
  note(line: string): void;
  /** Text of a result as it comes; dropped with `--json`. */
  write(text: string): void;
  /** A result: its JSON with `--json`, else the text for people. */
  result(value: unknown, text: () => string): void;
}

export interface Streams {
  readonly stdout: ProgressStream;
  readonly stderr: ProgressStream;
}

export function createTerminal({ stdout, stderr }: Streams, json: boolean): Terminal {
  const progress = createProgress(stderr);
  return {
    json,
    stderr,
    pictures: stdout.isTTY === true,
    progress,
    note: (line) => progress.note(line),
    write(text) {
      if (!json) stdout.write(text);
    },
    result(value, text) {
      progress.close();
      stdout.write(`${json ? JSON.stringify(value) : text()}\n`);
    },
  };
}
