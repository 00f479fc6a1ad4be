import { defineConfig } from "vitest/config";

const conditions = ["kvault-source"];
const shared = { resolve: { conditions }, ssr: { resolve: { conditions } } };

/**
 * `unit`: beside the source, no processes and no model files. `process`: beside the source, starts
 * processes. `model`: needs the real weights (fetched by `make models`). `servers`: real Redis, Prometheus
 * and S3 servers (set up by `make test-servers`). `e2e`: the compiled command, real processes on
 * loopback, real weights. `kubernetes`: a real Kubernetes API server (`make k8s-test`). All but the first run one file at a time: two cores serve one engine
 * well and two badly.
 */
export default defineConfig({
  test: {
    projects: [
      {
        ...shared,
        test: {
          name: "unit",
          include: [
            "{libs,services}/*/src/**/*.test.ts",
            "cli/src/**/*.test.ts",
            "{tools,examples}/**/*.test.ts",
            "tests/{chaos,autoscaling}/*.test.ts",
          ],
          exclude: ["**/*.{model,process,servers}.test.ts", "**/dist/**", "**/node_modules/**"],
          testTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...shared,
        test: {
          name: "process",
          sequence: { groupOrder: 1 },
          include: ["{libs,services}/*/src/**/*.process.test.ts"],
          exclude: ["**/dist/**", "**/node_modules/**"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        ...shared,
        test: {
          name: "model",
          sequence: { groupOrder: 2 },
          include: ["{libs,services}/*/src/**/*.model.test.ts"],
          exclude: ["**/dist/**", "**/node_modules/**"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
      {
        ...shared,
        test: {
          name: "servers",
          sequence: { groupOrder: 3 },
          include: ["tests/{servers,autoscaling}/**/*.servers.test.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        ...shared,
        test: {
          name: "kubernetes",
          sequence: { groupOrder: 5 },
          include: ["tests/kubernetes/**/*.kubernetes.test.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
      {
        ...shared,
        test: {
          name: "e2e",
          sequence: { groupOrder: 4 },
          include: ["tests/e2e/**/*.e2e.test.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
