/** What kubeconfigs need of YAML, as a chunk of its own. */
export { parse } from "yaml";
