/**
 * From a service's settings to what its server asks of callers and shows to them.
 *
 * `auto` asks for tokens when there is an access file and wherever others can reach the address:
 * a service that is open to a network by accident does not start. A unix socket or a loopback
 * address without an access file takes every caller: whoever can reach it is on this machine.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import { isLoopback } from "../address.ts";
import type { RpcLogger } from "../rpc-logger.ts";
import type { ServerOptions } from "../server.ts";
import type { TlsFiles } from "../tls.ts";
import { AccessRegistry } from "./access-registry.ts";
import type { Refusal } from "./authentication.ts";
import type { Role } from "./principal.ts";

export interface SecuritySettings {
  /** Ask callers for tokens; `auto`. */
  readonly auth?: "auto" | "on" | "off";
  /** The access file. */
  readonly tokensFile?: string;
  /** How often it is looked at; 1 s. */
  readonly tokensFileIntervalMs?: number;
  readonly tls?: TlsFiles;
  readonly allowPlaintext?: boolean;
  /** Where health alone is served, to whoever asks. */
  readonly healthAddress?: string;
}

/** The `KVAULT_*` variables that every service has. */
export interface SecurityVariables {
  readonly KVAULT_AUTH: "auto" | "on" | "off";
  readonly KVAULT_TOKENS_FILE?: string | undefined;
  readonly KVAULT_TLS_CERT_FILE?: string | undefined;
  readonly KVAULT_TLS_KEY_FILE?: string | undefined;
  readonly KVAULT_TLS_CLIENT_CA_FILE?: string | undefined;
  readonly KVAULT_ALLOW_PLAINTEXT: "true" | "false";
  readonly KVAULT_HEALTH_ADDRESS?: string | undefined;
}

export function securitySettings(variables: SecurityVariables): SecuritySettings {
  const { KVAULT_TOKENS_FILE: tokensFile, KVAULT_TLS_CERT_FILE: certFile } = variables;
  const { KVAULT_TLS_KEY_FILE: keyFile, KVAULT_TLS_CLIENT_CA_FILE: caFile, KVAULT_HEALTH_ADDRESS: healthAddress } = variables;
  const asksForTls = certFile !== undefined || keyFile !== undefined || caFile !== undefined;
  return {
    auth: variables.KVAULT_AUTH,
    allowPlaintext: variables.KVAULT_ALLOW_PLAINTEXT === "true",
    ...(tokensFile === undefined ? {} : { tokensFile }),
    ...(healthAddress === undefined ? {} : { healthAddress }),
    ...(asksForTls ? { tls: tlsFiles(certFile, keyFile, caFile) } : {}),
  };
}

/** Those that are given. */
export function tlsFiles(certFile: string | undefined, keyFile: string | undefined, caFile: string | undefined): TlsFiles {
  return {
    ...(certFile === undefined ? {} : { certFile }),
    ...(keyFile === undefined ? {} : { keyFile }),
    ...(caFile === undefined ? {} : { caFile }),
  };
}

export interface ServerSecurity {
  /** Undefined when nobody is asked for a token. */
  readonly access: AccessRegistry | undefined;
  readonly serverOptions: Pick<ServerOptions, "auth" | "allowPlaintext" | "healthAddress"> & { readonly tls?: TlsFiles };
  /** Idempotent. */
  close(): void;
}

export interface SecurityContext {
  readonly address: string;
  readonly roles: readonly Role[];
  readonly log?: RpcLogger;
  readonly onRefused?: (refusal: Refusal) => void;
}

/** INVALID_ARGUMENT when tokens are asked for and there is no usable access file. */
export function openSecurity(settings: SecuritySettings, { address, roles, log, onRefused }: SecurityContext): ServerSecurity {
  const { auth = "auto", tokensFile, tokensFileIntervalMs: intervalMs, tls, allowPlaintext, healthAddress } = settings;
  const asks = auth === "on" || (auth === "auto" && (tokensFile !== undefined || !isLoopback(address)));
  if (asks && tokensFile === undefined) {
    throw invalidArgument(
      "tokensFile",
      `Cannot listen on "${address}": callers are asked for tokens and there is no access file`,
    );
  }
  const registryOptions = { ...(log === undefined ? {} : { log }), ...(intervalMs === undefined ? {} : { intervalMs }) };
  const access = asks && tokensFile !== undefined ? new AccessRegistry(tokensFile, registryOptions) : undefined;
  if (access === undefined) log?.info({ address }, "callers are not asked for tokens");
  return {
    access,
    serverOptions: {
      ...(access === undefined
        ? {}
        : {
            auth: {
              authenticate: (token) => access.authenticate(token),
              roles,
              ...(onRefused === undefined ? {} : { onRefused }),
            },
          }),
      ...(tls === undefined ? {} : { tls }),
      ...(allowPlaintext === undefined ? {} : { allowPlaintext }),
      ...(healthAddress === undefined ? {} : { healthAddress }),
    },
    close: () => access?.close(),
  };
}
