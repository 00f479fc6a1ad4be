/**
 * Every `KVAULT_*` environment variable there is, so that each process can refuse a misspelt one
 * without knowing what the others read. What a variable means is said where it is read.
 *
 * @module
 */
export const ENVIRONMENT_VARIABLES: readonly string[] = [
  // all services
  "KVAULT_LOG_LEVEL",
  "KVAULT_METRICS_ADDRESS",
  "KVAULT_STORE_URL",
  "KVAULT_CACHE_DIR",
  "KVAULT_OFFLINE",
  "KVAULT_DRAIN_MS",
  "KVAULT_AUTH",
  "KVAULT_TOKENS_FILE",
  "KVAULT_TLS_CERT_FILE",
  "KVAULT_TLS_KEY_FILE",
  "KVAULT_TLS_CLIENT_CA_FILE",
  "KVAULT_ALLOW_PLAINTEXT",
  "KVAULT_HEALTH_ADDRESS",
  // gateway
  "KVAULT_GATEWAY_ADDRESS",
  "KVAULT_QUEUE_URL",
  "KVAULT_CATALOGUE_URL",
  "KVAULT_REGISTRY_URL",
  "KVAULT_PREFILL_WORKERS",
  "KVAULT_DECODE_WORKERS",
  "KVAULT_DEFAULT_SPEC",
  "KVAULT_SWEEP_INTERVAL_MS",
  "KVAULT_DELETE_RETENTION_MS",
  "KVAULT_DRAIN_NOTICE_MS",
  "KVAULT_MAX_STREAMS",
  "KVAULT_MAX_QUEUED_BYTES",
  "KVAULT_AUDIT_FILE",
  "KVAULT_HTTP_ADDRESS",
  "KVAULT_SERVICE_TOKEN_FILE",
  "KVAULT_WORKER_CA_FILE",
  "KVAULT_WORKER_CERT_FILE",
  "KVAULT_WORKER_KEY_FILE",
  "KVAULT_WORKER_SERVER_NAME",
  "KVAULT_DISCOVERY",
  "KVAULT_DECODE_SERVICE",
  "KVAULT_SERVICE_ACCOUNT_DIR",
  // workers
  "KVAULT_MASTER_KEY_FILE",
  "KVAULT_WORKER_ADDRESS",
  "KVAULT_ADVERTISE_ADDRESS",
  "KVAULT_PRELOAD_MODEL",
  "KVAULT_CHECKPOINT_TOKENS",
  "KVAULT_RESIDENT_BYTES",
  "KVAULT_ACTIVATIONS",
  "KVAULT_DEVICE",
  "KVAULT_THREADS",
  "KVAULT_MAX_QUERIES",
  "KVAULT_MAX_WAITING_BUILDS",
  // command line
  "KVAULT_ADDRESS",
  "KVAULT_TOKEN_FILE",
  "KVAULT_TLS_CA_FILE",
  "KVAULT_DATA_DIR",
  "KVAULT_DEBUG",
  "KVAULT_CONFIG_FILE",
  // tests and tools
  "KVAULT_REPORT",
];

/** Names in `env` that look like ours and are not. */
export function unknownVariables(env: Readonly<Record<string, string | undefined>>): string[] {
  return Object.keys(env)
    .filter((name) => name.startsWith("KVAULT_") && !ENVIRONMENT_VARIABLES.includes(name))
    .sort();
}
