/** The YAML parser for kubeconfigs, in a file of its own so that it is loaded only when a kubeconfig is read. */
export { parse } from "yaml";
