/** A real API server as the tests see it: its address, its users, and requests to it that owe nothing to src/. */
import { parseAllDocuments, stringify } from "yaml";
import { isObject, type Json, type JsonObject } from "../../src/model/json.ts";
import { type CertAuthority, type CertKey, loadCertAuthority } from "./certs.ts";
import { eventually } from "./eventually.ts";

/** How a user proves who it is. */
export type Credentials = { readonly token: string } | CertKey;

/** Everything another process needs to use the server; plain JSON. */
export interface ClusterState {
  readonly url: string;
  readonly kubeconfigPath: string;
  readonly authority: { readonly commonName: string; readonly certPem: string; readonly keyPem: string };
  /** Bearer tokens by user name; `admin` is in system:masters. */
  readonly tokens: Readonly<Record<string, string>>;
}

export interface UserKubeconfigOptions {
  /** Default: admin. */
  readonly as?: Credentials;
  /** Another address of the same server, a proxy's for example. */
  readonly server?: string;
  readonly namespace?: string;
}

export interface AskOptions {
  /** Default: admin. */
  readonly as?: Credentials;
  /** The user whose rights are taken instead. */
  readonly impersonate?: string;
  readonly body?: Json;
  /** Default: application/json. */
  readonly contentType?: string;
  /** Default: application/json. */
  readonly accept?: string;
  /** Further headers. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer, whatever its status. */
export interface ClusterAnswer {
  readonly status: number;
  readonly body: JsonObject;
  /** The texts of the `Warning` headers, as kubectl would show them. */
  readonly warnings: readonly string[];
}

export class RealCluster implements Disposable {
  readonly state: ClusterState;
  readonly admin: Credentials;
  readonly #client: Deno.HttpClient;

  constructor(state: ClusterState) {
    this.state = state;
    this.admin = this.user("admin");
    this.#client = Deno.createHttpClient({ caCerts: [this.caPem] });
  }

  get url(): string {
    return this.state.url;
  }

  /** The root every certificate here comes from. */
  get authority(): CertAuthority {
    return loadCertAuthority(this.state.authority);
  }

  /** Its certificate. */
  get caPem(): string {
    return this.state.authority.certPem;
  }

  /** Path of the admin's kubeconfig. */
  get kubeconfigPath(): string {
    return this.state.kubeconfigPath;
  }

  /** The bearer token of a user the server was started with. */
  user(name: string): { readonly token: string } {
    const token = this.state.tokens[name];
    if (token === undefined) {
      throw new Error(`Cannot be user "${name}": users are ${Object.keys(this.state.tokens).join(", ")}`);
    }
    return { token };
  }

  /** An X.509 client certificate for any user in any groups. */
  clientCert(user: string, groups: readonly string[] = []): CertKey {
    return this.authority.issue({ usage: "client", commonName: user, organizations: groups });
  }

  /** A ServiceAccount's bearer token, as a Pod would be given. */
  async serviceAccountToken(namespace: string, name: string, expirationSeconds = 3600): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
    const { body } = await this.expect("POST", path, { body: { spec: { expirationSeconds } } });
    const { status } = body;
    if (isObject(status) && typeof status.token === "string") return status.token;
    throw new Error(`Cannot get a token of "${namespace}/${name}": ${JSON.stringify(body)}`);
  }

  /** A kubeconfig as text. */
  kubeconfig({ as = this.admin, server = this.url, namespace }: UserKubeconfigOptions = {}): string {
    const user = "token" in as
      ? { token: as.token }
      : { "client-certificate-data": btoa(as.certPem), "client-key-data": btoa(as.keyPem) };
    return stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "test", cluster: { server, "certificate-authority-data": btoa(this.caPem) } }],
      users: [{ name: "user", user }],
      contexts: [{
        name: "test",
        context: { cluster: "test", user: "user", ...(namespace && { namespace }) },
      }],
      "current-context": "test",
    });
  }

  /** One request, one answer. */
  async ask(method: string, path: string, options: AskOptions = {}): Promise<ClusterAnswer> {
    const as = options.as ?? this.admin;
    if ("token" in as) return await this.#ask(method, path, { ...options, as, client: this.#client });
    using client = Deno.createHttpClient({ caCerts: [this.caPem], cert: as.certPem, key: as.keyPem });
    return await this.#ask(method, path, { ...options, as, client });
  }

  async #ask(
    method: string,
    path: string,
    { as, client, ...options }: AskOptions & { readonly as: Credentials; readonly client: Deno.HttpClient },
  ): Promise<ClusterAnswer> {
    const response = await fetch(this.url + path, {
      method,
      client,
      headers: {
        ...options.headers,
        accept: options.accept ?? "application/json",
        ...(options.impersonate !== undefined && { "impersonate-user": options.impersonate }),
        ...("token" in as && { authorization: `Bearer ${as.token}` }),
        ...(options.body !== undefined && { "content-type": options.contentType ?? "application/json" }),
      },
      ...(options.body !== undefined && { body: JSON.stringify(options.body) }),
    });
    const text = await response.text();
    return { status: response.status, body: parseObject(text), warnings: warningsOf(response.headers) };
  }

  /** The answer of a server that has started: retries 429 and 503 for half a minute. */
  async settled(method: string, path: string, options: AskOptions = {}): Promise<ClusterAnswer> {
    const deadline = performance.now() + 30_000;
    while (true) {
      const answer = await this.ask(method, path, options);
      const starting = answer.status === 429 || answer.status === 503;
      if (!starting || performance.now() > deadline) return answer;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** A settled answer that must be a success. */
  async expect(method: string, path: string, options: AskOptions = {}): Promise<ClusterAnswer> {
    const answer = await this.settled(method, path, options);
    if (answer.status < 300) return answer;
    throw new Error(`Cannot ${method} "${path}": ${answer.status} ${JSON.stringify(answer.body)}`);
  }

  /** The minor version of its Kubernetes: 30 for 1.30. */
  async minorVersion(): Promise<number> {
    const { body: { minor } } = await this.expect("GET", "/version");
    return Number.parseInt(String(minor));
  }

  /** Makes a namespace of a new name that begins with `prefix`. */
  async createNamespace(prefix: string): Promise<string> {
    const name = `${prefix}-${crypto.randomUUID().slice(0, 8)}`;
    await this.expect("POST", "/api/v1/namespaces", { body: { metadata: { name } } });
    return name;
  }

  /** Creates or replaces the CustomResourceDefinitions of these files, waits until they are served, returns the warnings. */
  async applyCrds(files: readonly (string | URL)[]): Promise<string[]> {
    const warnings: string[] = [];
    for (const file of files) {
      for (const document of parseAllDocuments(await Deno.readTextFile(file))) {
        if (!document.contents) continue;
        const crd: unknown = document.toJS();
        if (!isObject(crd)) throw new Error(`Cannot apply "${file}": it holds something that is no object`);
        warnings.push(...await this.#applyCrd(crd));
      }
    }
    return warnings;
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  async #applyCrd(crd: JsonObject): Promise<readonly string[]> {
    const { metadata, spec } = crd;
    if (!isObject(metadata) || !isObject(spec)) {
      throw new Error("Cannot apply a CRD without metadata and spec");
    }
    const all = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    const one = `${all}/${metadata.name}`;
    const { status, body } = await this.ask("GET", one);
    const found = isObject(body.metadata) ? body.metadata : {};
    const { warnings } = status === 200
      ? await this.expect("PUT", one, {
        body: { ...crd, metadata: { ...metadata, resourceVersion: found.resourceVersion ?? "" } },
      })
      : await this.expect("POST", all, { body: crd });
    await this.#served(spec);
    return warnings;
  }

  /** A CRD can be established a moment before its paths answer. */
  async #served(spec: JsonObject): Promise<void> {
    const plural = isObject(spec.names) ? spec.names.plural : undefined;
    for (const version of Array.isArray(spec.versions) ? spec.versions : []) {
      if (!isObject(version) || version.served !== true) continue;
      const path = `/apis/${spec.group}/${version.name}/${plural}?limit=1`;
      await eventually(`${path} to be served`, async () => (await this.ask("GET", path)).status === 200);
    }
  }
}

function parseObject(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : { value: text };
  } catch {
    return { text };
  }
}

/** `299 - "text"`, one or several in a header. */
function warningsOf(headers: Headers): string[] {
  const header = headers.get("warning") ?? "";
  return [...header.matchAll(/\d{3} \S+ "((?:[^"\\]|\\.)*)"/g)].map((match) => match[1] ?? "");
}
