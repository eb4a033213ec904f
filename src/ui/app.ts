/** The routes of the page's server part: the page itself for anybody, its data for those that show the secret. */
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { stringify } from "yaml";
import type { Bindings, HttpApp } from "../http/app.ts";
import { Refusal } from "../http/request.ts";
import { OBSERVATION_EXCEPTIONS } from "../exceptions/kind.ts";
import { ApiError, hasStatus, type KubeApi, NetworkError } from "../kube/api.ts";
import { errorMessage } from "../model/error_message.ts";
import { isObject } from "../model/json.ts";
import { resourceNameOf } from "../read/row.ts";
import { OBSERVATIONS, type StoredObservation } from "../store/observations.ts";
import type { PageFiles } from "./page_files.ts";
import { findingCommands, listCommands } from "./commands.ts";
import { draftObject, draftOf, previewOf } from "./exceptions.ts";
import { criteriaOf, joinValues } from "./filter.ts";
import { groupPage } from "./groups.ts";
import { ownHeaders, ownRequestsOnly } from "./guard.ts";
import { compareWorst, Lists } from "./lists.ts";
import type { LiveView } from "./live.ts";
import { facetsOf, overviewOf } from "./overview.ts";
import type { ExceptionDraft, FindingDetail, FindingFilter } from "./protocol.ts";
import { type KeptRow, KeptRows, phaseOf, toFindingRow } from "./rows.ts";
import type { PageSession } from "./session.ts";
import type { Streams } from "./stream.ts";

/** Largest body: an exception with its justification. */
const MAX_BODY_BYTES = 65_536;
/** Other findings of a workload beside one. */
const MAX_RELATED = 50;

export interface PageAppOptions {
  readonly api: KubeApi;
  readonly live: LiveView;
  readonly session: PageSession;
  readonly streams: Streams;
  /** The page: its HTML, script, style and icon. */
  readonly files: PageFiles;
  /** The kubeconfig's context, for commands. */
  readonly contextName: string | undefined;
  readonly port: () => number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** A token was refused: the user needs a new address. */
  readonly onRefusedToken: () => void;
}

/** Builds the app. */
export function createPageApp(options: PageAppOptions): HttpApp {
  const { api, live, session, streams, files, contextName, now } = options;
  const { rows, exceptions, rights } = live;
  const lists = new Lists(rows);
  const app: HttpApp = new Hono<{ Bindings: Bindings }>();
  const place = () => ({ context: contextName, onlyNamespace: live.namespace });

  app.use(ownHeaders(), ownRequestsOnly(options.port));
  app.get("/", (c) => c.html(files.html));
  app.get(
    "/page.js",
    async (c) => c.body(await files.script(), 200, { "content-type": "text/javascript; charset=utf-8" }),
  );
  app.get("/page.css", (c) => c.body(files.style, 200, { "content-type": "text/css; charset=utf-8" }));
  app.get("/icon.svg", (c) => c.body(files.icon, 200, { "content-type": "image/svg+xml" }));

  app.use(
    "/api/*",
    bodyLimit({
      maxSize: MAX_BODY_BYTES,
      onError: (c) => c.json({ error: "Cannot take this request: its body is too large" }, 413),
    }),
  );
  app.post("/api/session", async (c) => {
    const body = await bodyOf(c);
    const token = isObject(body) ? body["token"] : undefined;
    const secret = typeof token === "string" ? session.exchange(token) : undefined;
    if (secret !== undefined) return c.json({ secret });
    options.onRefusedToken();
    throw new Refusal(
      401,
      "Cannot open the page: its address was used or is too old. Open the new one that zen-watcher printed, or press Enter there",
    );
  });
  app.use("/api/*", async (c, next) => {
    if (session.isSecret(c.req.header("x-zen-secret") ?? "")) return await next();
    throw new Refusal(
      401,
      "Cannot answer this request: it shows no valid secret. Open the page by the address that zen-watcher printed",
    );
  });
  app.get("/api/state", (c) => c.json(live.state()));
  app.get("/api/events", (c) => c.body(streams.open(), 200, { "content-type": "text/event-stream" }));
  app.get("/api/overview", (c) => {
    live.reports.shown();
    const nowMs = now();
    return c.json(overviewOf(rows, { nowMs, expiringExceptions: exceptions.expiringSoon(nowMs) }));
  });
  app.get("/api/findings", (c) => c.json(lists.page(queryOf(c), now())));
  app.get("/api/groups", (c) => c.json(groupPage(rows, queryOf(c), now())));
  app.get("/api/facets", (c) => c.json(facetsOf(rows, criteriaOf(queryOf(c)), now())));
  app.get("/api/commands", (c) => c.json(listCommands(queryOf(c), place())));
  app.get("/api/findings/:storedIn/:name", async (c) => {
    const { storedIn, name } = c.req.param();
    const observation = await api.get<StoredObservation>(OBSERVATIONS, name, {
      namespace: storedIn,
      signal: c.req.raw.signal,
    });
    return c.json(
      detailOf(observation, {
        rows,
        nowMs: now(),
        commands: findingCommands({ namespace: storedIn, name }, place()),
      }),
    );
  });
  app.get(
    "/api/exceptions",
    (c) =>
      c.json({
        served: exceptions.served,
        rows: exceptions.rows((namespace) => rights.mayDelete(namespace)),
      }),
  );
  app.post("/api/exceptions", async (c) => {
    const draft = draftOf(await bodyOf(c));
    if (c.req.query("preview") === "true") return c.json(previewOf(rows, draft, now()));
    const { name, namespace } = await createException(api, draft, now());
    return c.json({ namespace, name }, 201);
  });
  app.delete("/api/exceptions/:namespace/:name", async (c) => {
    const { namespace, name } = c.req.param();
    await api.delete(OBSERVATION_EXCEPTIONS, name, { namespace });
    return c.json({});
  });
  app.notFound((c) => c.json({ error: "Cannot find this path" }, 404));
  app.onError((error, c) => {
    const { status, headers, message } = problemOf(error);
    return c.json({ error: message }, status, headers);
  });
  return app;
}

/** Writes the exception of a draft. Where it gives no name and the one made of its match is taken, that gets an end of its own. */
async function createException(
  api: KubeApi,
  draft: ExceptionDraft,
  nowMs: number,
): Promise<{ readonly namespace: string; readonly name: string }> {
  const object = draftObject(draft, nowMs);
  const { namespace } = draft;
  const { name = "" } = object.metadata;
  try {
    await api.create(OBSERVATION_EXCEPTIONS, object, { namespace });
    return { namespace, name };
  } catch (error) {
    if (draft.name || !hasStatus(error, 409)) throw error;
    const other = `${name.slice(0, 57)}-${crypto.randomUUID().slice(0, 5)}`;
    await api.create(OBSERVATION_EXCEPTIONS, { ...object, metadata: { ...object.metadata, name: other } }, {
      namespace,
    });
    return { namespace, name: other };
  }
}

/** What the API server refuses is refused with its words; what goes wrong on the way to it is 502. */
function problemOf(error: Error): Pick<Refusal, "status" | "headers" | "message"> {
  if (error instanceof Refusal) return error;
  if (error instanceof NetworkError) return new Refusal(502, error.message);
  if (hasStatus(error, 404)) return new Refusal(404, `${error.message}. It may have been deleted`);
  if (error instanceof ApiError) {
    const isTheirs = [400, 403, 409, 410, 413, 422, 429].includes(error.status);
    return new Refusal(isTheirs ? error.status as 403 : 502, error.message);
  }
  return new Refusal(500, `Cannot answer this request: ${errorMessage(error)}`);
}

interface Around {
  readonly rows: KeptRows;
  readonly nowMs: number;
  readonly commands: { readonly kubectl: string; readonly zen: string };
}

function detailOf(observation: StoredObservation, { rows, nowMs, commands }: Around): FindingDetail {
  const { managedFields: _, ...metadata } = observation.metadata;
  const shown = { ...observation, metadata };
  const row = rowOf(observation);
  const related = relatedTo(row, rows, nowMs);
  const exception = isObject(observation.status) ? observation.status["exception"] : undefined;
  return {
    row: toFindingRow(row, nowMs),
    observation: shown,
    yaml: stringify(shown),
    ...commands,
    ...(isObject(exception) && {
      exception: {
        namespace: String(exception["namespace"] ?? ""),
        name: String(exception["name"] ?? ""),
        expiresAt: String(exception["expiresAt"] ?? ""),
        since: String(exception["since"] ?? ""),
      },
    }),
    related: related.slice(0, MAX_RELATED).map((each) => toFindingRow(each, nowMs)),
    relatedTotal: related.length,
    relatedFilter: workloadFilter(row),
  };
}

/** As it is now, which may be newer than what the watch showed. */
function rowOf(observation: StoredObservation): KeptRow {
  const one = new KeptRows();
  one.apply(observation);
  const [row] = one.all();
  if (!row) throw new RangeError("no row was kept");
  return row;
}

function relatedTo(row: KeptRow, rows: KeptRows, nowMs: number): KeptRow[] {
  if (row.workload === "" && row.resource === "") return [];
  const related: KeptRow[] = [];
  for (const each of rows.all()) {
    if (each.namespace !== row.namespace || phaseOf(each, nowMs) === "Resolved") continue;
    if (each.name === row.name && each.storedIn === row.storedIn) continue;
    const isSame = row.workload === ""
      ? each.workload === "" && resourceNameOf(each) === resourceNameOf(row)
      : each.workload === row.workload;
    if (isSame) related.push(each);
  }
  return related.sort(compareWorst);
}

function workloadFilter(row: KeptRow): FindingFilter {
  const one = (value: string) => joinValues([value]);
  return {
    namespace: one(row.namespace),
    ...(row.workload === "" ? { resource: one(resourceNameOf(row)) } : { workload: one(row.workload) }),
    phase: "Active,Accepted",
  };
}

function queryOf(c: Context): URLSearchParams {
  return new URL(c.req.url).searchParams;
}

async function bodyOf(c: Context): Promise<unknown> {
  try {
    return await c.req.json();
  } catch {
    throw new Refusal(400, "Cannot read this request: expected JSON");
  }
}
