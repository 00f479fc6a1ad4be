/** Asks about a stored context with OpenAI's own client: `ask.ts CONTEXT QUESTION [BASE_URL [TOKEN]]`. */
import OpenAI from "openai";

const [context = "", question = "", baseURL = "http://127.0.0.1:7718/v1", apiKey = "none"] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const reply = await fetch(`${baseURL}/contexts/${context}`, { headers: { authorization: `Bearer ${apiKey}` } });
const { model } = (await reply.json()) as { readonly model: string };

const stream = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: question }],
  stream: true,
  // A field of ours, which OpenAI's types do not know.
  ...{ context },
});
for await (const { choices } of stream) process.stdout.write(choices[0]?.delta.content ?? "");
process.stdout.write("\n");
