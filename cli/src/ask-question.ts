/**
 * One question, streamed and timed on this side of the wire.
 *
 * @module
 */
import type { Answer, KvaultClient, QuestionSettings, QuestionTarget } from "@kvault/client";

export interface AskedQuestion {
  readonly answer: Answer;
  /** From sending to the first piece of text, milliseconds. */
  readonly ttftMs: number;
  /** Tokens after the first over the time after the first; with one token, over the whole time. */
  readonly tokensPerSecond: number;
}

/** Sends a question; `onText` sees the answer as it is made. */
export async function askQuestion(
  client: KvaultClient,
  target: QuestionTarget,
  question: string,
  { onText, ...settings }: QuestionSettings & { readonly onText?: (text: string) => void } = {},
): Promise<AskedQuestion> {
  const sentMs = performance.now();
  let firstMs: number | undefined;
  const stream = client.query(target, question, settings);
  for (;;) {
    const { done, value } = await stream.next();
    firstMs ??= performance.now();
    if (done !== true) {
      onText?.(value.text);
      continue;
    }
    const endMs = performance.now();
    const { newTokens } = value.usage;
    const seconds = (newTokens > 1 ? endMs - firstMs : endMs - sentMs) / 1000;
    return {
      answer: value,
      ttftMs: firstMs - sentMs,
      tokensPerSecond: seconds > 0 ? Math.max(1, newTokens - 1) / seconds : 0,
    };
  }
}
