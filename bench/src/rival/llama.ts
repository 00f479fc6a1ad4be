/**
 * The bench's side of the rival process.
 *
 * @module
 */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { RivalCalls, RivalReply } from "./protocol.ts";

export interface Llama extends RivalCalls {
  close(): Promise<void>;
}

export const LLAMA_NAME = "llama.cpp (node-llama-cpp)";

/** Longest wait for one answer: a long context read in tens of minutes on a slow machine. */
const CALL_MS = 60 * 60 * 1_000;

export async function startLlama(modelPath: string, threads: number): Promise<Llama> {
  const entry = fileURLToPath(new URL("./llama-main.ts", import.meta.url));
  const child = fork(entry, [modelPath, String(threads)], { serialization: "advanced" });
  await reply(child);
  let last: Promise<unknown> = Promise.resolve();
  const call = (name: keyof RivalCalls, argument: unknown): Promise<never> => {
    const answer = last.then(() => {
      const received = reply(child);
      child.send({ name, call: argument } as object);
      return received;
    });
    last = answer.catch(() => undefined);
    return answer as Promise<never>;
  };
  return {
    open: (argument) => call("open", argument),
    prefill: (argument) => call("prefill", argument),
    firstToken: (argument) => call("firstToken", argument),
    save: (argument) => call("save", argument),
    restore: (argument) => call("restore", argument),
    decode: (argument) => call("decode", argument),
    async close() {
      const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
      child.kill("SIGKILL");
      await ended;
    },
  };
}

function reply(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      child.off("message", onMessage);
      child.off("exit", onExit);
      act();
    };
    const onMessage = (message: RivalReply): void =>
      settle(() => (message.ok ? resolve(message.value) : reject(new Error(`llama.cpp: ${message.message}`))));
    const onExit = (code: number | null): void => settle(() => reject(new Error(`llama.cpp's process ended with ${code}`)));
    const timer = setTimeout(() => settle(() => reject(new Error("llama.cpp's process does not answer"))), CALL_MS);
    child.on("message", onMessage);
    child.once("exit", onExit);
  });
}
