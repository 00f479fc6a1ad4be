/**
 * An HTTP proxy that spoils answers as told: between a client and a real server, so that the
 * client meets real bytes of a broken wire. What no fault is planned for goes through untouched.
 *
 * @module
 */
import { once } from "node:events";
import http from "node:http";
import type net from "node:net";

export type WireFault = {
  /** Only requests of this method. */
  readonly method?: string;
  /** Only requests whose URL contains this. */
  readonly urlPart?: string;
  /** How many requests are spoilt; all by default. */
  readonly times?: number;
} & (
  | { readonly effect: "slow"; readonly ms: number }
  /** Never answers. */
  | { readonly effect: "hang" }
  | { readonly effect: "status"; readonly status: number; readonly code: string }
  /** The connection breaks in the middle of the body. */
  | { readonly effect: "truncate" }
  /** Five bytes less than there are, and a Content-Length that agrees. */
  | { readonly effect: "wrong-length" }
  /** The server does what was asked, and its answer is lost. */
  | { readonly effect: "lose-answer" }
);

export interface FaultProxy {
  readonly port: number;
  /** From now on; replaces what was planned before. */
  plan(...faults: readonly WireFault[]): void;
  /** Requests that came in since the last `plan`. */
  readonly numRequests: number;
  close(): Promise<void>;
}

export async function startFaultProxy(targetPort: number): Promise<FaultProxy> {
  let planned: { readonly fault: WireFault; left: number }[] = [];
  let numRequests = 0;
  const take = ({ method, url = "" }: http.IncomingMessage): WireFault | undefined => {
    const due = planned.find(
      ({ fault, left }) => left > 0 && (fault.method ?? method) === method && url.includes(fault.urlPart ?? ""),
    );
    if (due !== undefined) due.left--;
    return due?.fault;
  };
  const agent = new http.Agent({ keepAlive: true });
  const server = http.createServer((request, response) => {
    numRequests++;
    void answer(request, response, targetPort, agent, take(request)).catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as net.AddressInfo).port,
    plan(...faults) {
      planned = faults.map((fault) => ({ fault, left: fault.times ?? Number.POSITIVE_INFINITY }));
      numRequests = 0;
    },
    get numRequests() {
      return numRequests;
    },
    async close() {
      server.closeAllConnections();
      agent.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

async function answer(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  targetPort: number,
  agent: http.Agent,
  fault: WireFault | undefined,
): Promise<void> {
  const body = await readAll(request);
  if (fault?.effect === "hang") return;
  if (fault?.effect === "status") {
    const xml = `<?xml version="1.0"?><Error><Code>${fault.code}</Code><Message>planned</Message></Error>`;
    response.writeHead(fault.status, { "content-type": "application/xml", "content-length": Buffer.byteLength(xml) }).end(xml);
    return;
  }
  if (fault?.effect === "slow") await new Promise((resolve) => setTimeout(resolve, fault.ms));
  // Host and signature stay as the client wrote them.
  const { method = "GET", url = "/", headers } = request;
  const forwarded = http.request({ agent, host: "127.0.0.1", port: targetPort, method, path: url, headers }).end(body);
  const [incoming] = (await once(forwarded, "response")) as [http.IncomingMessage];
  const found = await readAll(incoming);
  if (fault?.effect === "lose-answer") {
    response.destroy();
    return;
  }
  const status = incoming.statusCode ?? 500;
  if (fault?.effect === "truncate") {
    response.writeHead(status, incoming.headers);
    response.write(found.subarray(0, found.length >> 1), () => response.destroy());
    return;
  }
  const sent = fault?.effect === "wrong-length" ? found.subarray(0, -5) : found;
  const length = method === "HEAD" ? incoming.headers["content-length"] : sent.length;
  const { "transfer-encoding": _, ...rest } = incoming.headers;
  response
    .writeHead(status, { ...rest, ...(status === 204 || length === undefined ? {} : { "content-length": length }) })
    .end(sent);
}

async function readAll(message: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
