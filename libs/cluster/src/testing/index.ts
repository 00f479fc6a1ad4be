export type { ConformanceCheck } from "./check.ts";
export { leasesConformance } from "./leases-conformance.ts";
export { registryConformance } from "./registry-conformance.ts";
