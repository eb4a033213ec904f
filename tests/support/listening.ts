/** The addresses in the controller's own log. */

/** The fields of the log line `Listening`, which is JSON. */
export interface Listening {
  readonly url: string;
  readonly metricsUrl: string;
  readonly tlsUrl: string;
  readonly address: string;
}

/** Reads that line; throws where there is none. */
export function listeningIn({ lines }: { readonly lines: readonly string[] }): Listening {
  const line = lines.find((line) => line.includes('"Listening"'));
  if (line === undefined) {
    throw new Error('Cannot read the addresses of the controller: it logged no "Listening"');
  }
  return JSON.parse(line);
}
