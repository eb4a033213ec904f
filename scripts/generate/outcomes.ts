/** docs/reference/outcomes.md: how events end, and every reason. */
import {
  FAIL_REASON_MEANINGS,
  FILTER_REASON_MEANINGS,
  PAYLOAD_ERROR_MEANINGS,
} from "../../src/model/outcome.ts";
import { DELETE_REASON_MEANINGS } from "../../src/store/deletes.ts";
import { UNCOUNTED_REASON_MEANINGS } from "../../src/store/repeats.ts";
import { type GeneratedFile, markdown, markdownTable } from "./file.ts";

export function generateOutcomes(): GeneratedFile[] {
  const body =
    `An event (one finding or occurrence drawn from a payload) ends as exactly one of these. For each source
\`events_total = created + deduped + filtered + failed + in flight\`.

${
      markdownTable(["outcome", "meaning", "counted in"], [
        ["`created`", "stored as a new Observation", "`zen_watcher_observations_created_total`"],
        ["`deduped`", "a repeat of a stored Observation", "`zen_watcher_observations_deduped_total`"],
        ["`filtered{reason}`", "left out by a decision", "`zen_watcher_observations_filtered_total`"],
        ["`failed{reason}`", "could not be stored", "`zen_watcher_events_failures_total`"],
      ])
    }
## Reasons of \`filtered\`

${reasons(FILTER_REASON_MEANINGS)}
## Reasons of \`failed\`

${reasons(FAIL_REASON_MEANINGS)}
## Payload errors

What cannot be read yields no event; it is an error of its source, counted in \`zen_watcher_payload_errors_total\`.

${reasons(PAYLOAD_ERROR_MEANINGS)}
## Repeats that are not counted

A repeat ends as \`deduped\` at once, and its count is written within some seconds. A count that cannot be written is in
\`zen_watcher_repeats_uncounted_total\`; the Observation that it repeats shows too few \`occurrences\`.

${reasons(UNCOUNTED_REASON_MEANINGS)}
## Deleted Observations

\`zen_watcher_observations_deleted_total\` counts what zen-watcher deletes, and not what others delete.

${reasons(DELETE_REASON_MEANINGS)}`;
  return [markdown("docs/reference/outcomes.md", "Outcomes and reasons", body)];
}

function reasons(meanings: Readonly<Record<string, string>>): string {
  return markdownTable(
    ["reason", "meaning"],
    Object.entries(meanings).map(([name, said]) => [`\`${name}\``, said]),
  );
}
