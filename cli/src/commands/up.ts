/**
 * `kvault up`: the whole system in one command, until Ctrl-C.
 *
 * @module
 */
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import type { Command } from "commander";
import { startEmbedded } from "../embedded.ts";
import { addressOption, cacheDirOption, dataDirOption, offlineOption, threadsOption } from "../options.ts";
import { defaultCacheDir, defaultDataDir, storeUrlOf } from "../settings.ts";
import { define, type Host, runs } from "./command.ts";

interface UpOptions {
  readonly address: string;
  readonly dataDir?: string;
  readonly cacheDir?: string;
  readonly threads?: number;
  readonly offline?: boolean;
}

export function addUp(program: Command, host: Host): void {
  const up = define(program, {
    usage: "up",
    summary: "Run gateway, prefill worker and decode worker in one process",
    description: `Serves the gRPC API until Ctrl-C. Records stay in the data folder and answer again after a restart.
The services are the same as in a cluster and speak gRPC over private sockets; only the engines, which run
the model, are processes of their own.`,
    examples: [
      ["kvault up", "listens on 127.0.0.1:7717"],
      ["kvault up --address 127.0.0.1:0 --json", "a free port, printed as JSON when it is ready"],
    ],
  })
    .addOption(addressOption("where to listen (or unix:/path); port 0 takes a free one"))
    .addOption(dataDirOption())
    .addOption(cacheDirOption())
    .addOption(threadsOption())
    .addOption(offlineOption());
  runs<UpOptions>(up, host, async ({ terminal, signal, env }, options) => {
    const dataDir = options.dataDir ?? defaultDataDir(env);
    await mkdir(dataDir, { recursive: true });
    const stack = await startEmbedded({
      address: options.address,
      storeUrl: storeUrlOf(dataDir),
      cacheDir: options.cacheDir ?? defaultCacheDir(env),
      offline: options.offline ?? false,
      ...(options.threads === undefined ? {} : { threads: options.threads }),
    });
    try {
      const { address } = stack;
      terminal.result({ address, dataDir }, () => `kvault is up on ${address}, records in ${dataDir}. Ctrl-C stops it.`);
      if (!signal.aborted) await once(signal, "abort");
      terminal.note("stopping: waiting for calls under way; Ctrl-C again does not wait");
    } finally {
      await stack.close();
    }
  });
}
