/** What the gateway serves as `vendor/uPlot.esm.js`: the package's own file. */
export { default } from "uplot";
