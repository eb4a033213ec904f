/** Where the API server is and who we are to it. Filled from a Pod's service account (`auth.ts`) or a kubeconfig. */

/** What one request needs to know. Compared by value: new TLS clients are built only when the server or the TLS part changes. */
export interface Endpoint {
  /** `https://host:port`, perhaps with a path; `http://` for a development cluster. */
  readonly server: string;
  /** The whole `Authorization` header. */
  readonly authorization?: string;
  /** Other headers that say who we are, e.g. `Impersonate-User`. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly caPem?: string;
  readonly certPem?: string;
  readonly keyPem?: string;
  readonly proxyUrl?: string;
}

/** A cluster. */
export interface Connection {
  /** For people: where it came from, without secrets. */
  readonly description: string;
  /** The namespace of the Pod or of the kubeconfig's context. */
  readonly namespace: string | undefined;
  /** The present endpoint. `fresh` after a 401: read it anew (implementations bound how often). */
  endpoint(options?: { readonly fresh?: boolean }): Promise<Endpoint>;
}

/** A connection that never changes, e.g. to the embedded development API server or in tests. */
export function fixedConnection(endpoint: Endpoint, namespace?: string): Connection {
  return { description: endpoint.server, namespace, endpoint: () => Promise.resolve(endpoint) };
}
