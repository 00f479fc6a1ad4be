/**
 * Several lines that change in place while answers stream in; without a terminal, each line is
 * printed once, when it is final.
 *
 * @module
 */
import type { ProgressStream } from "./progress.ts";

const MAX_LINE_CHARS = 100;

export interface LiveLines {
  set(index: number, text: string): void;
  /** The last text of a line. */
  finish(index: number, text: string): void;
}

export function createLiveLines(stream: ProgressStream, count: number): LiveLines {
  // A line that wraps would move those below it.
  const width = Math.min(MAX_LINE_CHARS, (stream.columns ?? MAX_LINE_CHARS + 1) - 1);
  if (stream.isTTY !== true) {
    return { set: () => undefined, finish: (_, text) => void stream.write(`${oneLine(text, MAX_LINE_CHARS)}\n`) };
  }
  const lines = Array.from({ length: count }, () => "");
  stream.write("\n".repeat(count));
  const set = (index: number, text: string): void => {
    lines[index] = oneLine(text, width);
    const up = count - index;
    stream.write(`\u001b[${up}A\r\u001b[2K${lines[index]}\u001b[${up}B\r`);
  };
  return { set, finish: set };
}

function oneLine(text: string, width: number): string {
  const line = text.replace(/\s+/g, " ").trimEnd();
  return line.length > width ? `${line.slice(0, width - 1)}…` : line;
}
