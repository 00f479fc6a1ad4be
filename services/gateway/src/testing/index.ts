/**
 * For tests outside this package: catalogues and their conformance suite, and what asks Kubernetes.
 *
 * @module
 */
export { openCatalogue } from "../catalogue/open-catalogue.ts";
export { KubernetesApi } from "../kubernetes/kubernetes-api.ts";
export { ReadyEndpoints } from "../kubernetes/ready-endpoints.ts";
export { ACTIVE, catalogueConformance, recordOf } from "./catalogue-conformance.ts";
