/** Reads the last stage of the Dockerfile, so that an image built without Docker says the same. */

/** The configuration of an image, as the OCI image specification names its fields. */
export interface ImageConfig {
  readonly User?: string;
  readonly WorkingDir?: string;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly ExposedPorts?: Readonly<Record<string, Record<never, never>>>;
  readonly Labels?: Readonly<Record<string, string>>;
}

/** A file that the stage copies from the build stage. */
export interface Copy {
  readonly from: string;
  readonly to: string;
  /** `uid:gid`, in numbers. */
  readonly owner: string;
  /** Octal. */
  readonly mode: number;
}

/** The last stage: what it starts from, what it copies and what it says. */
export interface Stage {
  readonly base: string;
  readonly config: ImageConfig;
  readonly copies: readonly Copy[];
}

/** Reads the last stage. `args` replaces defaults of its ARG lines. Throws at an instruction that it does not know. */
export function readLastStage(dockerfile: string, args: Readonly<Record<string, string>> = {}): Stage {
  const lines = dockerfile.replace(/^#.*\n/gm, "").replace(/\\\n\s*/g, "").split("\n").filter(Boolean);
  const start = lines.findLastIndex((line) => line.startsWith("FROM "));
  const values: Record<string, string> = {};
  const fill = (text: string) =>
    text.replace(/\$\{?([A-Z_]+)\}?/g, (_, name) => args[name] ?? values[name] ?? "");
  for (const line of lines.slice(0, lines.findIndex((line) => line.startsWith("FROM ")))) {
    declare(line.replace(/^ARG /, ""), values);
  }
  const base = fill(lines[start]?.replace(/^FROM /, "") ?? "");
  const env: string[] = [];
  const labels: Record<string, string> = {};
  const ports: Record<string, Record<never, never>> = {};
  const copies: Copy[] = [];
  let user = "";
  let entrypoint: string[] = [];
  for (const line of lines.slice(start + 1)) {
    const [, instruction = "", rest = ""] = /^(\S+) (.*)$/.exec(line) ?? [];
    switch (instruction) {
      case "ARG":
        declare(rest, values);
        break;
      case "ENV":
        env.push(...pairs(rest).map(([name, value]) => `${name}=${fill(value)}`));
        break;
      case "LABEL":
        for (const [name, value] of pairs(rest)) labels[name] = fill(value);
        break;
      case "USER":
        user = fill(rest);
        break;
      case "EXPOSE":
        for (const port of rest.split(" ")) ports[`${port}/tcp`] = {};
        break;
      case "ENTRYPOINT":
        entrypoint = JSON.parse(rest);
        break;
      case "COPY":
        copies.push(readCopy(rest));
        break;
      default:
        throw new Error(
          `Cannot build the image as the Dockerfile says: "${line}" is not known here. ` +
            "Teach it to scripts/image/dockerfile.ts",
        );
    }
  }
  const config = { User: user, Env: env, Entrypoint: entrypoint, ExposedPorts: ports, Labels: labels };
  return { base, config, copies };
}

function declare(rest: string, values: Record<string, string>): void {
  const [, name = "", value] = /^([A-Z_]+)(?:=(.*))?$/.exec(rest) ?? [];
  if (value !== undefined) values[name] = value;
}

/** `name=value name="value with blanks"`. */
function pairs(rest: string): (readonly [string, string])[] {
  return [...rest.matchAll(/(\S+?)=(?:"([^"]*)"|(\S*))/g)]
    .map(([, name = "", quoted, bare = ""]) => [name, quoted ?? bare] as const);
}

function readCopy(rest: string): Copy {
  const found = /^--from=\S+ --chown=(\d+:\d+) --chmod=(0[0-7]+) (\S+) (\S+)$/.exec(rest);
  if (!found) {
    throw new Error(
      `Cannot build the image as the Dockerfile says: "COPY ${rest}" names no stage, owner and mode. ` +
        "Write it as COPY --from=… --chown=… --chmod=… FROM TO",
    );
  }
  const [, owner = "", mode = "", from = "", to = ""] = found;
  return { from, to, owner, mode: parseInt(mode, 8) };
}
