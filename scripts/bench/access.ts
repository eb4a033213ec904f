/** How processes of the benchmark reach the API server. */

/** An address, its root of trust and a bearer token. */
export interface Access {
  readonly url: string;
  readonly caPem: string;
  readonly token: string;
}

/** Where the events' resources, and so their Observations, are. */
export const NAMESPACE = "bench";
/** Where the controller is. */
export const CONTROLLER_NAMESPACE = "zen-system";
/** The collection scenarios fill. */
export const OBSERVATIONS_PATH = `/apis/zen.kube-zen.io/v1/namespaces/${NAMESPACE}/observations`;
