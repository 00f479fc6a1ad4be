/**
 * `kvault up`: the whole system in one command, until Ctrl-C.
 *
 * @module
 */
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { KvaultError } from "@kvault/core";
import { tlsFiles } from "@kvault/rpc";
import { startTelemetry } from "@kvault/telemetry";
import { type Command, Option } from "commander";
import { configurable } from "../config-file.ts";
import { addressOption, dataDirOption, type EngineFlags, engineSettings, withEngineFlags } from "../options.ts";
import { defaultDataDir, storeUrlOf } from "../settings.ts";
import { define, type Host, runs } from "./command.ts";

/** From quiet to loud; services log JSON lines to stderr. */
const LOG_LEVELS = ["silent", "error", "warn", "info", "debug"] as const;

interface UpOptions extends EngineFlags {
  readonly address: string;
  readonly http?: string | false;
  readonly dataDir?: string;
  readonly tokensFile?: string;
  readonly tlsCertFile?: string;
  readonly tlsKeyFile?: string;
  readonly masterKeyFile?: string;
  readonly auditFile?: string;
  readonly logLevel: (typeof LOG_LEVELS)[number];
}

export function addUp(program: Command, host: Host): void {
  const up = define(program, {
    usage: "up",
    summary: "Run gateway, prefill worker and decode worker in one process",
    description: `Serves the gRPC API and, on a port of its own, OpenAI's protocol over HTTP until Ctrl-C. Records stay in the data folder and answer again after a restart.
The services are the same as in a cluster and speak gRPC over private sockets; only the engines, which run
the model, are processes of their own.

On a loopback address or a unix socket callers need no token, unless --tokens-file names an access file. An
address that others can reach needs one, and a certificate.

Traces and metrics: KVAULT_METRICS_ADDRESS and the OTEL_* variables, see docs/observability.md.`,
    examples: [
      ["kvault up", "listens on 127.0.0.1:7717"],
      ["kvault up --address 127.0.0.1:0 --http 127.0.0.1:0 --json", "free ports, printed as JSON when it is ready"],
    ],
  })
    .addOption(addressOption("where to listen (or unix:/path); port 0 takes a free one"))
    .addOption(
      new Option("--http <address>", "where the HTTP front listens")
        .env("KVAULT_HTTP_ADDRESS")
        .default(undefined, "the port after --address"),
    )
    .addOption(new Option("--no-http", "gRPC alone"))
    .addOption(dataDirOption())
    .addOption(new Option("--tokens-file <path>", "ask callers for tokens, see `kvault token`").env("KVAULT_TOKENS_FILE"))
    .addOption(new Option("--tls-cert-file <path>", "serve TLS with this certificate").env("KVAULT_TLS_CERT_FILE"))
    .addOption(new Option("--tls-key-file <path>", "key of the certificate").env("KVAULT_TLS_KEY_FILE"))
    .addOption(new Option("--master-key-file <path>", "encrypt records, see `kvault key`").env("KVAULT_MASTER_KEY_FILE"))
    .addOption(new Option("--audit-file <path>", "leave a line here for every call").env("KVAULT_AUDIT_FILE"))
    .addOption(
      configurable(
        new Option("--log-level <level>", "of the services").choices(LOG_LEVELS).env("KVAULT_LOG_LEVEL").default("warn"),
      ),
    );
  withEngineFlags(up);
  runs<UpOptions>(up, host, async ({ terminal, signal, env }, options) => {
    const dataDir = options.dataDir ?? defaultDataDir(env);
    await mkdir(dataDir, { recursive: true });
    const { startEmbedded } = await import("../embedded.ts");
    const { tokensFile, tlsCertFile, tlsKeyFile, masterKeyFile, auditFile } = options;
    const tls =
      tlsCertFile === undefined && tlsKeyFile === undefined ? {} : { tls: tlsFiles(tlsCertFile, tlsKeyFile, undefined) };
    const httpAddress = options.http === false ? undefined : (options.http ?? addressAfter(options.address));
    const failed = new AbortController();
    const telemetry = await startTelemetry({ service: "kvault", metricsAddress: env["KVAULT_METRICS_ADDRESS"], env });
    const stack = await startEmbedded({
      ...engineSettings(options, env),
      address: options.address,
      ...(httpAddress === undefined ? {} : { httpAddress }),
      storeUrl: storeUrlOf(dataDir),
      security: { ...tls, ...(tokensFile === undefined ? {} : { tokensFile }) },
      ...(masterKeyFile === undefined ? {} : { masterKeyFile }),
      ...(auditFile === undefined ? {} : { auditFile }),
      logLevel: options.logLevel,
      onEngineFailed: () => failed.abort(),
    });
    try {
      const { address } = stack;
      const scheme = "tls" in tls ? "https" : "http";
      const http = stack.httpAddress === undefined ? "" : `, HTTP on ${scheme}://${stack.httpAddress}`;
      terminal.result(
        { address, httpAddress: stack.httpAddress, dataDir },
        () => `kvault is up on ${address}${http}, records in ${dataDir}. Ctrl-C stops it.`,
      );
      const ended = AbortSignal.any([signal, failed.signal]);
      if (!ended.aborted) await once(ended, "abort");
      if (failed.signal.aborted)
        throw new KvaultError("ENGINE_DIED", "Cannot go on: an engine does not start any more", { retryable: false });
      terminal.note("stopping: waiting for calls under way; Ctrl-C again does not wait");
    } finally {
      await stack.close();
      await telemetry.close();
    }
  });
}

/** The next port of the same host (a free one after a free one); none beside a unix socket. */
function addressAfter(address: string): string | undefined {
  const found = /^(?<host>.+):(?<port>\d+)$/.exec(address)?.groups;
  if (address.startsWith("unix:") || found === undefined) return undefined;
  const port = Number(found["port"]);
  return `${found["host"]}:${port === 0 ? 0 : port + 1}`;
}
