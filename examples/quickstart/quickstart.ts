/** Makes a context of a text once and asks about it: `quickstart.ts FILE QUESTION [ADDRESS [MODEL]]`. */
import { openClient } from "@kvault/client";

const [file = "", question = "", address = "127.0.0.1:7717", model = "qwen2.5-coder-0.5b"] = process.argv.slice(2);

using kvault = openClient(address);
// The same text, model and compression again are the same context: the second run asks at once.
const context = await kvault.contexts.create(
  { file },
  {
    model,
    keepRatio: 0.3,
    ttlSeconds: 24 * 3600,
    onChange: ({ progress }) => progress && console.error(`${progress.phase} ${progress.done} of ${progress.total}`),
  },
);
const { keptPairs = 0, totalPairs = 0, storedBytes = 0 } = context.report ?? {};
console.error(`${context.name}: ${keptPairs} of ${totalPairs} pairs kept in ${storedBytes} bytes`);

const answer = kvault.query(context.name, question, { maxTokens: 64 });
for await (const { text } of answer) process.stdout.write(text);
process.stdout.write("\n");
