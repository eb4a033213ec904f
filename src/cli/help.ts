/** What `-h` says. */

/** The commands. */
export const HELP = `zen-watcher collects what security tools report as Observations.

Usage: zen-watcher [COMMAND] [OPTIONS]

Commands:
  run       the controller (default)
  check     says what is wrong with filters, Ingesters and ObservationMappings
  explain   says what becomes of a payload, step by step, and why
  test      runs the cases of a folder through the server's own pipeline
  version   prints the version

zen-watcher COMMAND -h says more. Settings of run are environment variables: docs/reference/settings.md.
Exit codes: 0 all is well, 1 something was found wrong, 2 the command was called wrongly.
`;

const COMMANDS: Readonly<Record<string, string>> = {
  run:
    `Runs the controller until SIGTERM. It finds its cluster as kubectl does: --kubeconfig or --context, in a Pod its
service account, KUBECONFIG, ~/.kube/config.

Usage: zen-watcher [run] [--kubeconfig FILE] [--context NAME]
`,
  check:
    `Reads filters (the filter document, its ConfigMap, ObservationFilters), Ingesters and ObservationMappings and says each
mistake with file, line and column. Other kinds in the same files are skipped.

Usage: zen-watcher check -f FILE… [-o json|yaml]
       zen-watcher check --rbac [-f INGESTER…] [--kubeconfig FILE] [--context NAME] [-n NAMESPACE]

  -f, --filename   a file, a folder of .yaml and .json files, or - for standard input; may be given again
  -o, --output     json or yaml
  --rbac           asks the API server what this user may not do of what zen-watcher needs, and prints the missing rules;
                   in a Pod that is its service account
  -n, --namespace  the controller's namespace, and that of objects that name none (default: POD_NAMESPACE, else zen-system)
`,
  explain:
    `Takes a payload through the server's own steps and says the verdict of each, and the object in the end. A file is JSON,
YAML, NDJSON, one object, a List or - for standard input.

Usage: zen-watcher explain --source NAME -f PAYLOAD [--filters FILE] [--ingester FILE] [-o json|yaml]

  --source         the source it comes from: built in, or of an Ingester or ObservationMapping
  -f, --filename   the payload; may be given again: later ones may repeat earlier ones
  --filters        the filter document, its ConfigMap or ObservationFilters
  --ingester       an Ingester or ObservationMapping that defines the source
  -o, --output     json or yaml
  --kubeconfig, --context   take filters and Ingesters from this cluster where no file gives them
  -n, --namespace  the controller's namespace (default: POD_NAMESPACE, else zen-system)
`,
  test:
    `Runs every case in the .yaml files of a folder: what is expected is to be found in what becomes of each event.

Usage: zen-watcher test DIR|FILE… [-o json|yaml]

  -f, --filename   a folder, a file, or - for standard input; the same as an argument
  -o, --output     json or yaml
  -n, --namespace  the controller's namespace (default: POD_NAMESPACE, else zen-system)

A case:
  name: what it shows
  source: trivy
  input: {…}              # or inputFile: payload.json, or inputs: [{input, receivedAt}, …]
  receivedAt: 2026-01-01T00:00:00Z
  filters: {sources: {trivy: {minSeverity: HIGH}}}     # or filtersFile: filters.yaml
  ingesterFile: ingester.yaml                          # where the source is not built in
  expected:               # one entry an event, in order; only what is written here is compared
    - outcome: filtered
      reason: min_severity
    - outcome: created
      observation: {spec: {severity: CRITICAL}}
  errors: []              # the same for parts that cannot be read
`,
  version: `Prints the version of this build.

Usage: zen-watcher version [-o json|yaml]
`,
};

/** What `zen-watcher COMMAND -h` says. */
export function helpOf(command: string): string | undefined {
  return Object.hasOwn(COMMANDS, command) ? COMMANDS[command] : undefined;
}
