/**
 * A web page as text: bounded in size and time; HTML without its tags, scripts and pictures.
 *
 * @module
 */
import { invalidArgument, KvaultError, throwIfAborted } from "@kvault/core";

/** For connection, redirects and body together. */
const TIMEOUT_MS = 30_000;
const MAX_BODY_BYTES = 16 * 2 ** 20;
const HTML = /^(?:text\/html|application\/xhtml\+xml)$/;
const TEXT = /^(?:text\/.+|application\/(?:.+\+)?(?:json|xml|yaml|x-yaml|toml|javascript|typescript|x-sh|x-ndjson))$/;

export interface ReadUrlLimits {
  readonly timeoutMs?: number;
  readonly maxBodyBytes?: number;
}

/** INVALID_ARGUMENT naming the address when it gives no text that can be read. */
export async function readUrl(
  url: string,
  signal: AbortSignal,
  { timeoutMs = TIMEOUT_MS, maxBodyBytes = MAX_BODY_BYTES }: ReadUrlLimits = {},
): Promise<string> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(url, {
      signal: AbortSignal.any([signal, timeout]),
      headers: { accept: "text/html,text/plain,text/*;q=0.9,application/json;q=0.8" },
    });
    if (!response.ok) throw refused(url, `the server answered ${response.status} ${response.statusText}`.trimEnd());
    const [type = "", ...parameters] = (response.headers.get("content-type") ?? "text/plain").toLowerCase().split(/\s*;\s*/);
    const isHtml = HTML.test(type);
    if (!isHtml && !TEXT.test(type)) throw refused(url, `it is ${type}, not text`);
    const charset = parameters
      .find((each) => each.startsWith("charset="))
      ?.slice("charset=".length)
      .replaceAll('"', "");
    const decoded = decode(url, await bodyOf(url, response, maxBodyBytes), charset ?? "utf-8");
    const text = isHtml ? await textOfHtml(decoded) : decoded;
    if (text.trim() === "") throw refused(url, "there is no text in it");
    return text;
  } catch (error) {
    if (error instanceof KvaultError) throw error;
    throwIfAborted(signal);
    if (timeout.aborted) throw refused(url, `not read in ${timeoutMs} ms`);
    const { cause, message } = error as Error;
    throw refused(url, cause instanceof Error ? cause.message : message);
  }
}

async function bodyOf(url: string, { body }: Response, maxBytes: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of (body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += piece.byteLength;
    if (bytes > maxBytes) throw refused(url, `over ${maxBytes} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function decode(url: string, bytes: Buffer, charset: string): string {
  try {
    return new TextDecoder(charset, { fatal: true }).decode(bytes);
  } catch {
    throw refused(url, `it is not ${charset} text`);
  }
}

/** Headings and lists as in plain text; what is around the text is left out where the page says what that is. */
async function textOfHtml(html: string): Promise<string> {
  const { convert } = await import("html-to-text");
  const isMarked = /<(?:main|article)[\s>]/i.test(html);
  const skip = ["img", "script", "style", "noscript", "svg", "nav", "footer"].map((selector) => ({ selector, format: "skip" }));
  return convert(html, {
    wordwrap: false,
    ...(isMarked ? { baseElements: { selectors: ["main", "article"], returnDomByDefault: true } } : {}),
    selectors: [...skip, { selector: "a", options: { ignoreHref: true } }, { selector: "table", format: "dataTable" }],
  });
}

function refused(url: string, found: string): KvaultError {
  return invalidArgument("file", `Cannot read "${url}": ${found}`);
}
