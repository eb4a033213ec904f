/** API requests, read from a kube-apiserver's metrics. */

/** Totals since the server started. */
export interface Requests {
  /** By the identity under measurement: a ServiceAccount's, which have a flow schema to themselves. */
  readonly own: number;
  /** On leases, by whomever. */
  readonly leases: number;
}

/** The requests in the text of `/metrics`. */
export function requestsOf(text: string): Requests {
  let own = 0;
  let leases = 0;
  for (const line of text.split("\n")) {
    const value = Number(line.slice(line.lastIndexOf(" ") + 1));
    if (line.startsWith("apiserver_flowcontrol_dispatched_requests_total{")) {
      if (line.includes('flow_schema="service-accounts"')) own += value;
    } else if (line.startsWith("apiserver_request_total{") && line.includes('resource="leases"')) {
      leases += value;
    }
  }
  return { own, leases };
}
