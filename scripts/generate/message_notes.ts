/**
 * Cause and mend of each message of the program, for docs/reference/messages.md. The key is the text in the code with `…` for
 * each placeholder; the generator fails where a message has no note here, and where a note has no message.
 */

/** Why the program says it, and what to do; "nothing" where no one has to act. */
export type Note = readonly [cause: string, mend: string];

const NOTHING = "nothing";

/** Log lines at INFO and above. */
export const LOG_NOTES: Readonly<Record<string, Note>> = {
  // Start and stop
  "Starting": ["the process started; the line names version, commit and Deno", NOTHING],
  "Cluster found": ["the address and the rights to use are known", NOTHING],
  "Listening": ["the ports are open; the line names each address", NOTHING],
  "Stopping": ["SIGTERM or SIGINT arrived", NOTHING],
  "Stopped": ["every request and write is finished", NOTHING],
  "Requests under way did not finish in time": [
    "requests took longer than `HTTP_SHUTDOWN_TIMEOUT` while the process ended",
    "their senders resend them; raise the setting and the Pod's grace period where this is usual",
  ],
  "Connections did not close in time and are ended": [
    "clients kept connections open while the process ended",
    NOTHING,
  ],
  "A part of the program ended": [
    "a task that runs for ever ended: a defect. `/health` answers 503 and names it, and Kubernetes starts the Pod again",
    "report it with the line's stack (SECURITY.md says where)",
  ],
  "Waiting for the API server and the Observation CRD": [
    "the API server does not answer, refuses, or does not serve Observations",
    "look at `error`: install the CRDs, or mend the network or the rights",
  ],
  "Webhooks accept events from everyone who can reach them": [
    "no token, client certificate or address list protects the webhooks",
    "set one of the settings that the line names",
  ],
  // Findings
  "Findings created": [
    "sources reported new findings; the line counts them by source and names the first ten",
    NOTHING,
  ],
  "Findings resolved": [
    "findings ended; the line counts them by reason and source and names the first ten",
    NOTHING,
  ],
  "Findings reported again": [
    "findings that were Resolved were reported again; the line names the first ten",
    "look whether a fix was undone, or a workload came back with an old image",
  ],
  // HTTP
  "The limit of open files allows fewer connections than MAX_CONNECTIONS": [
    "the process may open fewer files than `MAX_CONNECTIONS` needs",
    "raise the limit of open files, or lower `MAX_CONNECTIONS`",
  ],
  "The port accepts no connections and is opened again": [
    "the process ran out of open files and the listener stopped accepting",
    "raise the limit of open files, or lower `MAX_CONNECTIONS`, if it comes again",
  ],
  "The port cannot be opened again yet": [
    "the port is still taken, or there is no free descriptor; it is tried again",
    NOTHING,
  ],
  "Request failed": [
    "an unexpected error while a request was answered: a defect",
    "report it with the line's stack",
  ],
  "Secret file reloaded": [
    "the webhook token, or the files of the certificate, changed, or can be used again after a fault, and are in force",
    NOTHING,
  ],
  "Secret file cannot be used, the last good one stays in force": [
    "the file is missing, empty or not readable, a token has white space inside, or key and certificate do not belong together",
    "write the file again; `error` says what is wrong",
  ],
  "Webhook requests refused": [
    "a sender showed no valid token, certificate or signature, came from an address that is not allowed, or sent too much",
    "mend the sender's configuration; where the sender is unknown, find it by its address",
  ],
  "Write refused": [
    "the admission webhook refused a write to an Observation or a status by someone else than the controller",
    "find out why that user writes it; list restorers in the chart's values for a restore",
  ],
  // Filters
  "Filter is not in force while TENANT_FILTERS is off": [
    "an ObservationFilter outside the controller's namespace, while `TENANT_FILTERS` is off",
    "move it to the controller's namespace, or set `TENANT_FILTERS=true`",
  ],
  "Filters are valid but look like a mistake": [
    "a filter names an unknown source, or a category that its source never reports; the filter is in force all the same",
    "correct the name in `message`, which also suggests a similar one",
  ],
  "Filters loaded": ["a filter document is in force", NOTHING],
  "Filters changed": ["the set of documents in force changed; stored state is evaluated again", NOTHING],
  "Filters can be read again": ["the filters' ConfigMap can be read after an outage", NOTHING],
  "Filters rejected": [
    "a filter document has a mistake; what was in force before stays in force",
    "mend the document at the path that the line names; `zen-watcher check -f FILE` shows every mistake",
  ],
  "ObservationFilters cannot be read": [
    "the right to list and watch ObservationFilters is missing, or the API server does not answer",
    "`zen-watcher check --rbac` prints the missing right",
  ],
  "No filters are in force: every event is allowed": [
    "no filter was ever read with success",
    "write the filters' ConfigMap, or mend it",
  ],
  "The last good filters are kept in memory alone: the ConfigMap for them does not exist. The chart creates it":
    [
      "`zen-watcher-filter-status` is missing in the namespace of the filters: after a restart a mistake in the filters lets every event in",
      "upgrade the chart's release, or create the empty ConfigMap",
    ],
  "The last good filters are kept in memory alone: they are too long to be stored": [
    "the text of the filters is longer than 700 KiB",
    "shorten it, or move parts into ObservationFilters",
  ],
  "The last good filters are restored": [
    "the filters have a mistake; what was in force before the restart is in force again",
    "mend the mistake that the next line names",
  ],
  "The last good filters of an earlier run cannot be read": [
    "the right to get the ConfigMap `zen-watcher-filter-status` is missing, or its text is not that of filters",
    "`zen-watcher check --rbac` prints the missing right",
  ],
  // Leader and lease
  "Leading": ["this replica holds the lease", NOTHING],
  "Leading no more": [
    "this replica released or lost the lease",
    "nothing; where it comes often, look at the API server's latency and the CPU limit",
  ],
  "Cannot try for the lease": [
    "the Lease cannot be read or written",
    "look at `error`; `zen-watcher check --rbac` prints a missing right",
  ],
  "Cannot renew the lease": [
    "the API server did not take the renewal in time; after ten seconds without one another replica takes over",
    "look at the API server's load and the network",
  ],
  "Cannot release the lease": [
    "the API server did not answer while the process ended",
    "nothing: the lease runs out after 15 s",
  ],
  "The own clock and the API server's disagree: nothing is deleted": [
    "the two clocks differ by more than an hour",
    "mend the node's time (NTP); deleting goes on by itself",
  ],
  "The own clock and the API server's agree again": ["the clocks agree again", NOTHING],
  // Sources
  "Watch broke and goes on": [
    "the API server ended a watch or a list failed; it is tried again",
    "look at `error` where it does not stop",
  ],
  "Resource cannot be read": [
    "the resource is not served, or the right to read it is missing",
    "install its CRD, grant the right (`zen-watcher check --rbac`), or leave it: the other sources go on",
  ],
  "Reading a source ended": [
    "the task that reads a source ended: a defect",
    "report it with the line's stack",
  ],
  "Document could not be evaluated": [
    "a report or ConfigMap was refused by the pipeline or the API server; it is tried again",
    "look at `error`",
  ],
  "Cannot discover": [
    "the API server does not say what it serves",
    "look at `error`; an aggregated API that is down is the usual cause",
  ],
  "Source by configuration in force": ["an Ingester or ObservationMapping is compiled and reads", NOTHING],
  "Source by configuration waits": [
    "an Ingester or ObservationMapping is disabled, or its resource is not discovered yet",
    NOTHING,
  ],
  "Source by configuration refused": [
    "an Ingester or ObservationMapping has a mistake, or lacks a right or a Secret",
    "look at `error`, or at its condition `Ready`",
  ],
  // Events and the store
  "Part of a payload could not be read": [
    "an item of a request, report or ConfigMap is garbled or lacks a field; the rest of it is kept",
    "compare the item at `path` with what the tool usually sends; `zen-watcher explain` shows each step",
  ],
  "Event could not be stored now": [
    "the API server refused or did not answer; the sender gets 503, a report is read again",
    "look at `error`: rights, quota, webhooks of the cluster, or the API server",
  ],
  "Event could not be stored because of a defect": [
    "zen-watcher failed on this event; the sender gets 503, a report is read again",
    "report it with the line's `error` (SECURITY.md says where)",
  ],
  "Observations were deleted before their last repeats were counted": [
    "an Observation was deleted, and repeats of it came before zen-watcher saw that; `others` counts lines left out",
    "nothing: the next event creates the Observation again",
  ],
  "Event can never be stored": [
    "the API server's schema refuses the Observation, it is too large, or its name belongs to another object",
    "look at `error`; delete the object that has the name, or report the input",
  ],
  "Storage budget is used up": [
    "`OBSERVATION_MAX_TOTAL` or `OBSERVATION_MAX_BYTES` is reached; the least important are deleted",
    "raise the budget, or filter what is not wanted (docs/scaling.md)",
  ],
  "ObservationExceptions cannot be read": [
    "a right is missing, or their CRD is not installed; what is known holds until it expires",
    "grant get, list and watch on observationexceptions, or install the CRD",
  ],
  "Exception refused": [
    "an ObservationException has a mistake or lasts too long; it accepts nothing",
    "correct what `error` names: its condition Ready says the same",
  ],
  "Findings follow their exceptions": [
    "findings became Accepted, or Active again, as the ObservationExceptions say",
    NOTHING,
  ],
  "Exceptions ended": [
    "ObservationExceptions expired, were deleted or no longer match: their findings are Active again",
    "decide anew: mend the finding, or write a new exception",
  ],
  "Acceptances could not be evaluated now": [
    "this replica is about to lose the lease; the next leader goes on",
    NOTHING,
  ],
  "Storage budget has room again": ["what is stored is within the budget", NOTHING],
  "Observations deleted": ["expired or evicted Observations were deleted; the line counts them", NOTHING],
  "Garbage collection ended early": [
    "a run took longer than `GC_TIMEOUT`, or the API server failed",
    "nothing: the next run goes on",
  ],
  "Deleting Observations ended early": [
    "the API server refused or did not answer",
    "look at `error`; the next run goes on",
  ],
  "Finding could not be read now": ["the API server did not answer; it is tried again", NOTHING],
  "Finding could not be resolved now": [
    "the API server did not take the status write; it is tried again",
    NOTHING,
  ],
  "Findings could not be evaluated now": [
    "an error while the leader compared findings with their reports; it is tried again",
    "look at `error` where it does not stop",
  ],
  "Observations that are not ours are set aside": [
    "an object with the kind Observation was not written by zen-watcher, is malformed or too large; it is never read for dedup",
    "find out who wrote it, and delete it",
  ],
  "The API server's revision went back, as after a restore of etcd: Observations are listed anew": [
    "an answer showed an older state of the cluster",
    "nothing: what sources report is stored again",
  ],
  "Cannot record an Event": [
    "the Event was refused, or too many wait",
    "`zen-watcher check --rbac` prints a missing right",
  ],
  // Status
  "Status is refused: it is kept and tried again": [
    "a status write of our own kinds was refused",
    "`zen-watcher check --rbac` prints a missing right",
  ],
  "Status writes are refused: they are kept and tried again": [
    "the status of Observations may not be written",
    "`zen-watcher check --rbac` prints a missing right",
  ],
  "Status could not be written: what it said is lost": [
    "the API server refuses the status for good",
    "look at `error`; the object itself is stored",
  ],
  "Too many status writes are waiting: the repeats of this event are not counted": [
    "more objects repeat than the queue of status writes can hold",
    "nothing: each finding is stored, its count is too low",
  ],
  "Status writes are left undone at the end: what they said is lost": [
    "the process ended before each count was written",
    "nothing: no Observation is lost",
  ],
};

/** Reasons of conditions and Events. */
export const REASON_NOTES: Readonly<Record<string, Note>> = {
  InForce: [
    "the Ingester or ObservationMapping is compiled and reads; the ObservationException accepts what it matches",
    NOTHING,
  ],
  Loaded: ["the filter document is in force", NOTHING],
  KeyMissing: [
    "the filters' ConfigMap has no key `FILTER_CONFIGMAP_KEY`; the last good filters stay in force",
    "add the key, or name the one that it has",
  ],
  Missing: [
    "the filters' ConfigMap is gone; the last good filters stay in force",
    'create it again; `{"sources":{}}` ends filtering',
  ],
  Unreadable: [
    "the filters' ConfigMap cannot be read; the last good filters stay in force",
    "grant the right that the message names",
  ],
  Disabled: ["`spec.enabled` is false", "set it to true to use the object"],
  Discovering: ["the API server has not said yet whether it serves the resource", NOTHING],
  DiscoveryFailed: [
    "the API server does not say what it serves",
    "look at the condition's message; it is tried every 30 s",
  ],
  Invalid: [
    "the object has a mistake; what was in force before stays in force",
    "mend it at the path in the message; `zen-watcher check -f FILE`",
  ],
  Expired: [
    "the time of the ObservationException is over: its findings are Active again",
    "delete it, or write a new one",
  ],
  TooLong: [
    "`expiresAt` is more than `EXCEPTION_MAX_DAYS` after the creation; the exception accepts nothing",
    "write an earlier date",
  ],
  NamespaceNotWatched: [
    "no shard watches the namespace of the ObservationException",
    "add the namespace to `WATCH_NAMESPACE` of a shard, or delete the exception",
  ],
  ExceptionEnded: [
    "an ObservationException expired, was deleted or no longer matches: its findings are Active again",
    "decide anew: mend the finding, or write a new exception",
  ],
  LimitExceeded: [
    "there are more objects of this kind than are taken; the oldest are in force",
    "delete some, or merge them",
  ],
  Forbidden: ["a right is missing", "grant the rule in the message, e.g. by the chart's `extraSourceRules`"],
  NotServed: ["the API server does not serve the resource", "install the tool's CRDs, or delete the object"],
  Failing: ["the resource cannot be read", "the log says why"],
  SecretMissing: [
    "the Secret of a webhook is missing, has no key `token`, or lacks its label",
    "create or label the Secret that the message names",
  ],
  SecretInvalid: [
    "the Secret of a webhook holds no token that can be used: too short, too long, or (bearer) with white space inside; the last good one stays in force",
    "write one word into its key `token`",
  ],
  NamespaceNotTrusted: [
    "such objects act in the controller's namespace alone",
    "move it there, or set `TRUSTED_CONFIG_NAMESPACES` (of ObservationFilters: `TENANT_FILTERS=true`)",
  ],
  ReservedSource: [
    "the name belongs to a built-in source, or to an engine of `REPORT_ENGINES`",
    "take another `source`",
  ],
  ForbiddenTarget: ["no mapping may read Secrets, tokens or our own kinds", "read another resource"],
  PathReserved: ["the path belongs to a route of the program", "take another path"],
  PathTaken: ["an older Ingester has the path", "take another path, or delete one of the two"],
  SourceTaken: ["an older object has the source", "take another `source`, or delete one of the two"],
  FiltersLoaded: ["the filters' ConfigMap is in force again", NOTHING],
  FiltersWarning: [
    "a filter names a source that is not known, or what its source never reports; it is in force",
    "mend the name that the message gives",
  ],
  FiltersMissing: [
    "the filters' ConfigMap or its key is gone; the last good one stays in force",
    'create it again; `{"sources":{}}` ends filtering',
  ],
  FiltersRejected: [
    "the filters' ConfigMap has a mistake; the last good one stays in force",
    "mend it at the path in the message",
  ],
  StorageBudgetReached: [
    "the storage budget is used up; the least important are deleted",
    "raise it, or filter (docs/scaling.md)",
  ],
  StorageBudgetRecovered: ["what is stored is within the budget again", NOTHING],
  ClocksDisagree: [
    "the own clock and the API server's differ by more than an hour; nothing is deleted",
    "mend the node's time",
  ],
  ClocksAgree: ["the clocks agree again", NOTHING],
  FindingsResolved: ["findings ended; the message counts them by reason and source", NOTHING],
  FindingsReopened: [
    "findings that were Resolved were reported again",
    "look whether a fix was undone, or a workload came back with an old image",
  ],
  NotReported: ["a finding's report is there without it", NOTHING],
  ReportGone: [
    "the report of a finding is gone, which does not say that it was fixed",
    "look whether its workload is gone too, or its tool no longer scans it",
  ],
  SaidResolved: ["the tool said that a finding is over", NOTHING],
};

/** Texts that begin with "Cannot". */
export const ERROR_NOTES: Readonly<Record<string, Note>> = {
  // Exports
  'Cannot write "…": …. The image\'s program writes to a volume at … alone': [
    "`export --folder` cannot write there: no such folder, no right, no space, or in a Pod another folder than the image's",
    "do what the error says; in a Pod, mount a volume at the folder that the message names",
  ],
  // Requests to the API server
  'Cannot make a path of "…": nothing has this name': [
    "a name or namespace is `.` or `..`, which would address something else",
    "correct the name; no object can have it",
  ],
  // Exceptions
  'Cannot accept "…": …': [
    "the Observation is not there, is an occurrence, or has neither rule nor resource",
    "name a finding of `zen-watcher get`; leave acts out with a filter",
  ],
  'Cannot write exception "…/…": no Active finding of "…" matches it. Look with ': [
    "nothing that is Active matches the selectors",
    "check the namespace and the spelling; apply a manifest to accept what is not found yet",
  ],
  'Cannot write exception "…/…": …': [
    "the API server refused the ObservationException: a right, a name that is taken, or a policy",
    "do what the error says",
  ],
  // Forms that many errors have
  "Cannot …: …": [
    "a request to the API server failed in the network",
    "the text names the request, the address and the cause",
  ],
  "Cannot …: ………": ["a filter document has a mistake; the text names path and line", "mend it there"],
  "Cannot …: … (HTTP ……)": [
    "the API server refused a request; its own words follow",
    "403: grant the right; 404: install the CRD or create the namespace; 5xx: look at the API server",
  ],
  "Cannot …: nothing came for … ms": [
    "the connection to the API server went silent",
    "nothing: it is made anew",
  ],
  // Answers to senders
  "Cannot take this request: use POST": ["405: webhooks take POST alone", "set the sender's method"],
  "Cannot answer this request: use GET": ["405: this route is read with GET", "use GET"],
  "Cannot find this path: this port serves /metrics alone": [
    "404: the metrics port was asked for another path",
    "ask the port of the webhooks",
  ],
  "Cannot read the request: its target is no path, or a header is no text": [
    "400: the request line or a header is malformed",
    "mend the client",
  ],
  "Cannot read the request: it has more than … headers": [
    "431: reading that many headers takes long",
    "send fewer headers, or let a proxy in front remove some",
  ],
  "Cannot find this path": [
    "404: no route has this path, or the token in it is wrong",
    "compare it with the Ingester's `spec.webhook.path`",
  ],
  "Cannot find this path yet: the Ingesters are not read, come again": [
    "503: the process just started",
    "resend",
  ],
  "Cannot answer this request: an internal error, see the log": [
    "500: a defect",
    "report the log line with the same `requestId`",
  ],
  "Cannot take this request: it shows no valid token (bearer, or last path segment)": [
    "401: the token is missing or wrong",
    "copy the token from the Secret into the sender's configuration",
  ],
  "Cannot take this request: it shows no client certificate (TLS port, TLS_CLIENT_CA_FILE), and no token is set":
    [
      "401: this listener asks for a client certificate",
      "give the sender a certificate of that CA, or set a token",
    ],
  "Cannot take this request: its X-Hub-Signature-256 is not valid for this body": [
    "401: the signature was made with another secret or over another body",
    "compare the sender's secret with the Ingester's",
  ],
  "Cannot take this request: the client's address is not allowed (WEBHOOK_ALLOWED_IPS)": [
    "403: the address is in no listed range",
    "add it; behind a proxy set `TRUSTED_PROXY_CIDRS`",
  ],
  "Cannot take this request: the client sends too many (WEBHOOK_RATE_LIMIT)": [
    "503: one client passed the limit",
    "resend later, or raise the limit",
  ],
  "Cannot take this request: too many are waiting, come again": [
    "503: the waiting room of this endpoint is full",
    "resend; look at `webhook_queue_usage` and the API server's latency",
  ],
  "Cannot check this request: the endpoint's Secret is missing or has no key token": [
    "503: the Ingester's Secret cannot be read",
    "create or label the Secret",
  ],
  "Cannot read the body: it is larger than … bytes (…)": [
    "413: the body is larger than the bound in brackets",
    "send smaller ones, or raise `WEBHOOK_MAX_BYTES` or the container's memory limit, whichever is in brackets",
  ],
  "Cannot review admission here: the TLS port does (WATCHER_TLS_PORT)": [
    "404: an admission review came in over plain HTTP",
    "let the webhook configuration call the TLS port",
  ],
  "Cannot read the body: too many large requests at once, come again": [
    "503: only one or two large bodies are let in at a time, and only a few with thousands of parts",
    "resend",
  ],
  "Cannot read the body: the program is shutting down, come again": [
    "503: the process ends",
    "resend: another replica takes it",
  ],
  "Cannot read the body: the connection was cut off before its end": [
    "400: the sender closed the connection",
    "look at the sender's time-out and at proxies",
  ],
  "Cannot read the body: it did not arrive within … ms": [
    "408: the sender is too slow",
    "look at the network",
  ],
  "Cannot read the body: compressed bodies are not taken (Content-Encoding: …)": [
    "415: compression is not taken",
    "turn it off in the sender",
  ],
  "Cannot read the body: ……": [
    "400 or 413: the body is not JSON, or has more values, depth or events than are taken; the text names line and column",
    "mend the sender",
  ],
  "Cannot store every event now: come again, what is stored will not be doubled": [
    "503: some events could not be stored",
    "resend; the log says why",
  ],
  "Cannot take more events in one request: the first are decided, send the rest in smaller ones": [
    "413: more than 10,000 events, or events that repeat long texts of the request too often",
    "send smaller batches",
  ],
  "Cannot store these events: the API server will never take them": [
    "422: the API server's schema refuses all of them",
    "report the input; the log names each",
  ],
  "Cannot read the review: …": [
    "400: the body is no AdmissionReview",
    "only the API server should call this route",
  ],
  // Start and configuration
  'Cannot read setting "…": …, received …': [
    "an environment variable has a bad value",
    "docs/reference/settings.md says what it takes",
  ],
  'Cannot read setting "…": it is of no use without "…", received …': [
    "a setting lacks its partner",
    "set both or neither",
  ],
  'Cannot read setting "…": no source lists it in its settings': [
    "a source reads a setting that it does not declare: a defect in the code",
    "add it to the source's `settings`",
  ],
  "Cannot listen on port … (…): …. …": [
    "the port is taken, or may not be used",
    "change the setting that the text names",
  ],
  "Cannot use the webhook token in …: …. Write one word there": [
    "the token is empty, has white space inside or is too long, so that no sender could show it; the last good token of a file stays",
    "write one word into the setting or the file that the text names",
  ],
  'Cannot read webhook token file "…" (WEBHOOK_AUTH_TOKEN_FILE): …': [
    "the token file cannot be read",
    "mount it, or mend its mode",
  ],
  'Cannot use certificate "…": the key in "…" is not its own': [
    "key and certificate do not belong together",
    "write both files again",
  ],
  'Cannot use client CA "…": it holds no PEM certificate': [
    "the client CA's file is empty or no PEM",
    "write it again",
  ],
  'Cannot use "…" for TLS: …': ["a file cannot be read, or is no PEM", "write it again"],
  'Cannot read address "…": expected an IP address or CIDR such as 10.0.0.0/8': [
    "a list of addresses has a bad entry",
    "mend the entry",
  ],
  'Cannot run "zen-watcher …" with the image\'s program: it reads no files of a user. Use that of a release':
    [
      "the image's program has the permissions of a Pod alone",
      "run the program of a release on your own machine",
    ],
  'Cannot read "…/token": it is empty': [
    "the service account's token is empty",
    "look at the Pod's projected volume",
  ],
  "Cannot find a cluster: no --kubeconfig, no KUBECONFIG, no ~/.kube/config and no service account of a Pod. Name one with --kubeconfig":
    ["no cluster is named", "give `--kubeconfig`"],
  'Cannot read kubeconfig "…": …': ["the file is missing, or no kubeconfig", "look at the path"],
  'Cannot read kubeconfig "…": none of these files exists': [
    "`KUBECONFIG` names files that are not there",
    "mend the variable",
  ],
  'Cannot use context "…" of …: …': [
    "the context is not in the kubeconfig, or names a missing cluster or user",
    "name one that the file has",
  ],
  "Cannot use kubeconfig …: it has no current context; name one with --context": [
    "no context is chosen",
    "give `--context`",
  ],
  'Cannot load filters "…/…": it has no key "…"': [
    "the filters' ConfigMap lacks its key",
    "name the key by `FILTER_CONFIGMAP_KEY`, or add it",
  ],
  // Command line
  'Cannot run "…": …. See … --help': ["the command line is wrong", "the help shows examples"],
  'Cannot read "…": …': ["a file cannot be read, is too large, or is no regular file", "look at the path"],
  'Cannot check "…": there is no .yaml or .json file in it': [
    "the folder holds nothing to check",
    "name another folder",
  ],
  'Cannot test "…": there is no case in a .yaml file': [
    "the folder holds no test case",
    "docs/mapping.md shows one",
  ],
  "Cannot load …: …": ["the object has a mistake", "mend it; `check` shows every mistake"],
  "Cannot load …: it has no mapping, and its source is not built in": [
    "an Ingester without mapping must name a built-in source",
    "add a mapping",
  ],
  'Cannot load "…": …': ["the file has mistakes, one on each line", "mend them"],
  'Cannot load "…": it holds no filters, exception, Ingester or ObservationMapping': [
    "the file is of another kind",
    "name another file",
  ],
  'Cannot find source "…": …': ["no built-in source or object has this name", "the text suggests a name"],
  'Cannot run source "…": it has no feed': ["the source reads nothing", "report it"],
  "Cannot tell which right source … needs: …": [
    "the resource is not known yet",
    "run it again when the CRD is installed",
  ],
  "Cannot read Observations…: …": [
    "the right is missing, the CRD is not installed, or the cluster does not answer",
    "the text says which",
  ],
  // Inside: fields `error` of log lines
  'Cannot create "…": …': ["the API server did not take an Observation", "the cause follows"],
  'Cannot believe the answer about "…/…": it is about "…/…"…': [
    "an answer of the API server names another object: a proxy mixed up answers",
    "look at proxies between",
  ],
  "Cannot read the answer: …": [
    "an answer of the API server was cut off, too large or no JSON",
    "nothing: it is asked again",
  ],
  'Cannot discover "…/…": …': ["an API group cannot be read", "look at the aggregated API"],
  "Cannot go on from resourceVersion …: the API server is at …": [
    "etcd was restored from an older copy",
    "nothing: everything is listed anew",
  ],
  "Cannot go on from resourceVersion …: the watch sent …": [
    "etcd was restored from an older copy",
    "nothing: everything is listed anew",
  ],
  'Cannot write as leader: "…" does not lead': [
    "the lease was lost in the meantime",
    "nothing: the new leader writes it",
  ],
  "Cannot go on as leader: …": ["the lease was lost, or the process stops", NOTHING],
  "Cannot draw further events: …": ["a source's code threw: a defect", "report the input"],
  "Cannot normalize an event: …": ["an event has a value that no Observation can have", "report the input"],
  'Cannot settle event "…": it has its outcome already': [
    "a defect in the books",
    "report it with its stack",
  ],
  "Cannot record outcome …": ["a defect in the books", "report it with its stack"],
  "Cannot read JSON: the pass found neither a document nor an error": [
    "a defect of the reader",
    "report the input",
  ],
  'Cannot make a structural schema of "…": …': [
    "a defect in a schema, found when CRDs are generated",
    "mend the schema",
  ],
  'Cannot place the rule for ConfigMaps in "…": no setting names the namespace (…)': [
    "a source names a namespace that no setting holds, found when RBAC is generated",
    "declare the setting",
  ],
  // The page
  "Cannot serve the page: this is a Pod, whose rights are not a user's. Run zen-watcher ui on your own machine":
    [
      "`ui` was run in a Pod, as its ServiceAccount",
      "run it on your machine, or name a kubeconfig with `--kubeconfig`",
    ],
  "Cannot open the browser: …. Open the address by hand": [
    "no browser is installed, or its opener (`xdg-open`, `open`) failed",
    "copy the printed address into a browser",
  ],
  "Cannot open the page: its address was used or is too old. Open the new one that zen-watcher printed, or press Enter there":
    ["401: an address is good once and for five minutes", "open the new address that was printed"],
  "Cannot answer this request: it shows no valid secret. Open the page by the address that zen-watcher printed":
    [
      "401: the request does not come from a page that was opened by a printed address, or `ui` was started again",
      "press Enter where `ui` runs and open the new address",
    ],
  "Cannot answer this request: its Host is not this address. Open http://127.0.0.1:…/": [
    "421: the page was opened by another name, or a foreign name points at this machine (DNS rebinding)",
    "open the printed address",
  ],
  "Cannot answer this request: it comes from another origin. Open the page by its own address": [
    "403: a script of another page sent it",
    "open the page in a tab of its own",
  ],
  "Cannot answer this request: it comes from another site. Open the page by its own address": [
    "403: another site sent it",
    "open the page in a tab of its own",
  ],
  "Cannot answer this request: …": ["500: an unexpected error: a defect", "report it with the text"],
  "Cannot take this request: its body is too large": ["413: a body is at most 64 KiB", "shorten it"],
  "Cannot read this request: expected JSON": ["400: the body is no JSON", "send what docs/ui.md says"],
  "Cannot open another stream: … pages are open. Close one of them": [
    "503: each page holds a stream, and their number is bounded",
    "close a page",
  ],
  "Cannot accept these findings: …": ["400: a field of the form is missing", "fill it in"],
  'Cannot filter by "…": expected …, received "…"': [
    "400: the page's address was edited",
    "mend the value it names",
  ],
  'Cannot group: expected by to be of …, received "…"': [
    "400: the page's address was edited",
    "mend the value it names",
  ],
  "Cannot sort: expected …, received …": [
    "400: the page's address was edited",
    "mend the value it names",
  ],
  'Cannot read "window": expected a length of time like 24h or 7d, received "…"': [
    "400: the page's address was edited",
    "mend the value it names",
  ],
  'Cannot read "…": expected a number, received "…"': [
    "400: the page's address was edited",
    "mend the value it names",
  ],
  "Cannot bundle the page: …": [
    "`ui` runs from the sources, and the page's script cannot be bundled",
    "mend the mistake that the text names in `src/ui/page/`",
  ],
};
