/**
 * Chat with a code base: reads a folder as git would, keeps it as one context, and talks about it.
 *
 *     chat.ts FOLDER [--address HOST:PORT] [--model NAME] [--keep RATIO] [--max-tokens N] [--ignore PATTERN]…
 *
 * The code is read by the model once; every start after that finds the context and asks at once,
 * until a file changes: then it is another text, and another context.
 */
import { stdin, stdout } from "node:process";
import { createInterface } from "node:readline/promises";
import { parseArgs } from "node:util";
import { type Context, isKvaultError, openClient, readFolder } from "@kvault/client";

const HOW_TO_USE = `Ask anything about the code. /files lists it, /usage tells what the last answer took, /exit ends.`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    address: { type: "string", default: "127.0.0.1:7717" },
    model: { type: "string", default: "qwen2.5-coder-0.5b" },
    keep: { type: "string", default: "0.5" },
    "max-tokens": { type: "string", default: "400" },
    ignore: { type: "string", multiple: true, default: [] },
  },
});
const [folder = "."] = positionals;
const { address, model } = values;

const code = await readFolder(folder, { ignore: values.ignore });
using kvault = openClient(address);

// Before anything is read by the model: does it fit?
const counted = await kvault.countTokens({ model, content: { text: code.text } }).catch((error: unknown) => {
  if (isKvaultError(error, "TOKEN_LIMIT")) return undefined;
  throw error;
});
const size = counted === undefined ? "far too much" : `${counted.contextTokens} tokens; ${model} reads ${counted.maxTokens}`;
console.log(`${code.files.length} files, ${size}`);
if (counted === undefined || counted.contextTokens >= counted.maxTokens) {
  const largest = [...code.files].sort((a, b) => b.bytes - a.bytes).slice(0, 5);
  console.error(
    `Too much: leave something out with --ignore. The largest files:\n${largest.map(({ path }) => `  ${path}`).join("\n")}`,
  );
  process.exit(1);
}

const context = await kvault.contexts.create(
  { text: code.text },
  {
    model,
    keepRatio: Number(values.keep),
    displayName: folder,
    labels: { kind: "code" },
    ttlSeconds: 7 * 24 * 3600,
    onChange: showProgress,
  },
);
console.log(`${context.name}\n${HOW_TO_USE}`);

const chat = kvault.conversation(context.name, { maxTokens: Number(values["max-tokens"]) });
let usage = "";
const terminal = createInterface({ input: stdin, output: stdout, prompt: "> " });
terminal.prompt();
for await (const line of terminal) {
  const question = line.trim();
  if (question === "/exit") break;
  if (question === "/files") console.log(code.files.map(({ path }) => path).join("\n"));
  else if (question === "/usage") console.log(usage);
  else if (question !== "") usage = await ask(question);
  terminal.prompt();
}
terminal.close();

/** Streams an answer; Ctrl-C ends it, not the chat. */
async function ask(question: string): Promise<string> {
  const abort = new AbortController();
  terminal.once("SIGINT", () => abort.abort());
  try {
    const stream = chat.ask(question, { signal: abort.signal });
    for (;;) {
      const { done, value } = await stream.next();
      if (done !== true) {
        stdout.write(value.text);
        continue;
      }
      const { usage: tokens, timings } = value;
      return `${tokens.contextTokens} tokens of code not read again, ${tokens.questionTokens} read, first word after ${Math.round(timings.ttftMs)} ms`;
    }
  } catch (error) {
    if (!isKvaultError(error)) throw error;
    return `no answer: ${error.message} [${error.code}]`;
  } finally {
    stdout.write("\n");
  }
}

function showProgress({ progress }: Context): void {
  if (progress !== undefined && stdout.isTTY)
    stdout.write(`\r\u001b[2K${progress.phase.toLowerCase()} ${progress.done} of ${progress.total}`);
}
