/**
 * For tests outside this package: catalogues and their conformance suite.
 *
 * @module
 */
export { openCatalogue } from "../catalogue/open-catalogue.ts";
export { ACTIVE, catalogueConformance, recordOf } from "./catalogue-conformance.ts";
