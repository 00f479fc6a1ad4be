/**
 * OpenAI's chat completion request → a question on a context.
 *
 * `context` names a stored context; the messages are then a conversation about it: earlier turns,
 * and a last message that is the question. Without one the messages are read for this request
 * alone. Sampling is greedy where `temperature` is not given, because the same question on the
 * same context should have one answer.
 *
 * Fields that would change the answer and that we do not have (tools, penalties, several choices)
 * are refused by name; those that would not (`user`, `metadata`, …) are taken and left unread.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import { ChatMessage_Role, type MessageInitShape, type QueryRequestSchema, ServiceClass } from "@kvault/rpc";
import { z } from "zod";

/** Between the end of a context and what is asked of it. */
const APART = "\n\n";

const part = z.strictObject({ type: z.literal("text", "only text can be read"), text: z.string() });
const content = z
  .union([z.string(), z.array(part)], "must be a text, or a list of parts of type text")
  .transform((given) => (typeof given === "string" ? given : given.map(({ text }) => text).join("")));

const message = z.object({
  role: z.enum(["system", "developer", "user", "assistant"]),
  content,
});

/** Taken when it asks for nothing but what is done anyway. */
const only = <T extends number | boolean>(value: T, why: string): z.ZodType<T | null | undefined> =>
  z.literal(value, why).nullish();

const schema = z.strictObject({
  model: z.string().min(1),
  context: z.string().min(1).optional(),
  messages: z.array(message).min(1).max(1_000),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().optional() }).nullish(),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  temperature: z.number().nullish(),
  top_p: z.number().nullish(),
  top_k: z.int().min(0).nullish(),
  seed: z.int().nullish(),
  stop: z.union([z.string(), z.array(z.string())]).nullish(),
  service_tier: z.enum(["auto", "default", "priority", "flex"]).nullish(),
  // what is done anyway
  n: only(1, "one choice is made"),
  logprobs: only(false, "probabilities are not reported"),
  frequency_penalty: only(0, "there are no penalties"),
  presence_penalty: only(0, "there are no penalties"),
  response_format: z.strictObject({ type: z.literal("text", "answers are text") }).nullish(),
  tools: z.array(z.unknown()).max(0, "there are no tools").nullish(),
  // what changes no answer
  user: z.unknown().optional(),
  metadata: z.unknown().optional(),
  store: z.unknown().optional(),
  safety_identifier: z.unknown().optional(),
  prompt_cache_key: z.unknown().optional(),
});

type Parsed = z.infer<typeof schema>;

export interface ChatRequest {
  /** Must be the context's own; "" when only the context was named. */
  readonly model: string;
  /** `contexts/{id}`, or undefined for a conversation that is read for this request alone. */
  readonly context: string | undefined;
  readonly query: MessageInitShape<typeof QueryRequestSchema>;
  readonly stream: boolean;
  readonly includeUsage: boolean;
}

/** INVALID_ARGUMENT naming the first field at fault. */
export function readChatRequest(body: unknown): ChatRequest {
  const parsed = schema.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const unknown = issue?.code === "unrecognized_keys" ? issue.keys[0] : undefined;
    const field = [...(issue?.path ?? []), ...(unknown === undefined ? [] : [unknown])].join(".");
    throw invalidArgument(
      field,
      `Cannot answer: ${field === "" ? "body" : field}: ${unknown === undefined ? issue?.message : "no such field"}`,
    );
  }
  const { data } = parsed;
  // Programs that let their user choose nothing but a model can still name a context.
  const isModelContext = data.context === undefined && /^contexts\//.test(data.model);
  const named = isModelContext ? data.model : data.context;
  const context = named === undefined || named.startsWith("contexts/") ? named : `contexts/${named}`;
  return {
    model: isModelContext ? "" : data.model,
    context,
    query: { ...conversation(data, context), ...parameters(data) },
    stream: data.stream ?? false,
    includeUsage: data.stream_options?.include_usage ?? false,
  };
}

type Conversation = Pick<Exclude<ChatRequest["query"], { $typeName: string }>, "source" | "question" | "turns">;

function conversation({ model, messages }: Parsed, context: string | undefined): Conversation {
  const last = messages.at(-1);
  if (last?.role !== "user")
    throw invalidArgument("messages", `Cannot answer: the last message is by "${last?.role}", expected "user"`);
  if (context === undefined) {
    const read = messages.map(({ role, content: text }) => ({ role: ROLES[role], content: text }));
    return { source: { case: "inline", value: { model, content: { content: { case: "chat", value: { messages: read } } } } } };
  }
  // A context's own beginning was fixed when it was made: instructions come with the next question.
  const turns: { role: ChatMessage_Role; content: string }[] = [];
  let instructions: string[] = [];
  for (const { role, content: text } of messages) {
    if (role === "system" || role === "developer") {
      instructions.push(text);
      continue;
    }
    const asked = role === "user" ? [...instructions, text].join(APART) : text;
    if (role === "user") instructions = [];
    turns.push({ role: ROLES[role], content: turns.length === 0 ? `${APART}${asked}` : asked });
  }
  const { content: question = "" } = turns.pop() ?? {};
  return { source: { case: "context", value: context }, question, turns };
}

const ROLES = {
  system: ChatMessage_Role.SYSTEM,
  developer: ChatMessage_Role.SYSTEM,
  user: ChatMessage_Role.USER,
  assistant: ChatMessage_Role.ASSISTANT,
} as const;

function parameters(
  data: Parsed,
): Pick<Exclude<ChatRequest["query"], { $typeName: string }>, "sampling" | "limits" | "serviceClass"> {
  const maxTokens = data.max_completion_tokens ?? data.max_tokens ?? 0;
  const { seed } = data;
  if (typeof seed === "number" && seed < 0) throw invalidArgument("seed", `Cannot use seed ${seed}: must not be negative`);
  return {
    sampling: {
      temperature: data.temperature ?? 0,
      // 1 is "off" there, 0 here.
      topP: data.top_p === 1 ? 0 : (data.top_p ?? 0),
      topK: data.top_k ?? 0,
      seed: BigInt(seed ?? 0),
    },
    limits: { maxTokens, stop: typeof data.stop === "string" ? [data.stop] : (data.stop ?? []) },
    serviceClass: data.service_tier === "flex" ? ServiceClass.BATCH : ServiceClass.INTERACTIVE,
  };
}
