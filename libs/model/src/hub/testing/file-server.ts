/**
 * A file server on loopback for tests, with range requests as RFC 9110 has them and faults on demand.
 *
 * @module
 */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface FileServer {
  readonly url: string;
  /** One line per request: `GET bytes=0-`, `HEAD`. */
  readonly requests: string[];
  close(): Promise<void>;
}

export interface FileServerOptions {
  readonly bytes: Uint8Array;
  /** Status of the n-th GET (0-based) instead of the file; undefined serves it. */
  readonly status?: (get: number) => number | undefined;
  /** Cut the connection of the n-th GET after this many bytes. */
  readonly cutAfterBytes?: (get: number) => number | undefined;
  /** Ignore ranges, as simple servers do. @default false */
  readonly ignoreRange?: boolean;
  /** Send requests for the file elsewhere on this server, as the model hub does. @default false */
  readonly redirect?: boolean;
  /** Never answer at all. @default false */
  readonly silent?: boolean;
}

export async function startFileServer(options: FileServerOptions): Promise<FileServer> {
  const requests: string[] = [];
  let gets = 0;
  const server = createServer((request, response) => {
    const range = request.headers.range;
    requests.push(range === undefined ? `${request.method}` : `${request.method} ${range}`);
    if (options.silent) return;
    if (options.redirect && request.url !== "/elsewhere") response.writeHead(302, { location: "/elsewhere" }).end();
    else if (request.method === "HEAD") response.end();
    else serve(options, gets++, range, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function serve(options: FileServerOptions, get: number, range: string | undefined, response: ServerResponse): void {
  const status = options.status?.(get);
  if (status !== undefined) {
    response.writeHead(status).end();
    return;
  }
  const { bytes } = options;
  const start = options.ignoreRange ? 0 : Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  const body = bytes.subarray(start);
  const headers = {
    "content-length": body.byteLength,
    "content-range": `bytes ${start}-${bytes.byteLength - 1}/${bytes.byteLength}`,
  };
  if (options.ignoreRange || range === undefined) response.writeHead(200, { "content-length": body.byteLength });
  else response.writeHead(206, headers);
  const cut = options.cutAfterBytes?.(get);
  if (cut === undefined) response.end(body);
  else response.write(body.subarray(0, cut), () => response.destroy());
}
