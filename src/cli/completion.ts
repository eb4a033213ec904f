/** Completion in cobra's protocol, which kubectl speaks to its plugins, and the scripts that shells load. */
import { Argument, type Command, type Option } from "commander";
import { SEVERITIES } from "../model/observation.ts";
import type { Settings } from "../settings.ts";
import type { GivenFlags } from "./cluster_values.ts";
import { addCommand, type CommandContext } from "./command.ts";

/** The directives of cobra's protocol: whether files complete where no candidate does. */
const FILES = ":0";
const NO_FILES = ":4";

/** Candidates by the name of an argument or of a flag's value, read when they are needed. */
const VALUES: Readonly<Record<string, () => Promise<readonly string[]>>> = {
  source: async () => (await import("../sources/registry.ts")).SOURCES.map(({ name }) => name),
  severity: () =>
    Promise.resolve([...SEVERITIES, ...SEVERITIES.slice(1, -1).map((severity) => `${severity}+`)]),
};

/** Names of arguments and flag values that files complete. */
const FILE_VALUES: ReadonlySet<string> = new Set(["file", "dir", "folder"]);

/** Adds the command `completion`. */
export function completion(program: Command, { io, finish }: CommandContext): void {
  addCommand(program, {
    name: "completion",
    summary: "print the completion script of a shell",
    description:
      "Prints the completion script of a shell, or the one that kubectl calls for the plugin `kubectl zen`.",
    examples: [
      [
        "completion bash >~/.local/share/bash-completion/completions/zen-watcher",
        "bash, from the next shell on",
      ],
      ["completion zsh >~/.zfunc/_zen-watcher", "zsh, with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc"],
      ["completion fish >~/.config/fish/completions/zen-watcher.fish", "fish, at once"],
      [
        "completion kubectl >~/.local/bin/kubectl_complete-zen && chmod +x ~/.local/bin/kubectl_complete-zen",
        "kubectl zen, in every shell that completes kubectl",
      ],
    ],
  })
    .addArgument(new Argument("<shell>", "the shell").choices(Object.keys(SCRIPTS)))
    .action((shell: keyof typeof SCRIPTS) => {
      io.stdout(SCRIPTS[shell]);
      return finish(0);
    });
}

/** What completion needs to find the user's cluster. */
export interface CompletionOptions {
  readonly settings: () => Settings;
}

/** Completes the last of `words`: lines of `value<TAB>description`, then a line with the directive. */
export async function completeLine(
  program: Command,
  words: readonly string[],
  { settings }: CompletionOptions,
): Promise<string> {
  const typed = words.at(-1) ?? "";
  const place = placeOf(program, words.slice(0, -1));
  const { found, directive } = await candidates(place, { typed, settings });
  const lines = found.filter((candidate) => candidate.startsWith(typed));
  return `${[...lines, directive].join("\n")}\n`;
}

/** Where in the command line the typed word is. */
interface Place {
  readonly command: Command;
  /** Arguments before it. */
  readonly positionals: number;
  /** The flag whose value it is. */
  readonly flag: Option | undefined;
  /** After `--` there are no flags. */
  readonly ended: boolean;
  /** Flags before it, with their values. */
  readonly given: GivenFlags;
}

function placeOf(program: Command, words: readonly string[]): Place {
  let place: Place = { command: program, positionals: 0, flag: undefined, ended: false, given: {} };
  for (const word of words) place = next(place, word);
  return place;
}

function next(place: Place, word: string): Place {
  const { command, positionals, ended, flag, given } = place;
  if (flag) return { ...place, flag: undefined, given: withValues(given, { [flag.attributeName()]: word }) };
  if (!ended && word === "--") return { ...place, ended: true };
  if (!ended && word.startsWith("-") && word !== "-") {
    const { values, waiting } = flagsOf(command, word);
    return { ...place, flag: waiting, given: withValues(given, values) };
  }
  const inner = positionals === 0 ? command.commands.find((each) => each.name() === word) : undefined;
  return inner ? { ...place, command: inner } : { ...place, positionals: positionals + 1 };
}

function withValues(given: GivenFlags, values: Readonly<Record<string, string>>): GivenFlags {
  const added = Object.entries(values).map(([flag, value]) => [flag, [...given[flag] ?? [], value]] as const);
  return { ...given, ...Object.fromEntries(added) };
}

/** The flags of a word such as `--output`, `--output=json`, `-o`, `-Ao` or `-ojson`; `waiting`: its value is the next word. */
function flagsOf({ options }: Command, word: string) {
  const values: Record<string, string> = {};
  let rest = word;
  if (word.startsWith("--")) {
    const [, name, value] = /^(--[^=]*)(?:=(.*))?$/s.exec(word) ?? [];
    const flag = options.find(({ long }) => long === name);
    if (flag?.required && value === undefined) return { values, waiting: flag };
    if (flag) values[flag.attributeName()] = value ?? "true";
    return { values, waiting: undefined };
  }
  while ((rest = rest.slice(1)) !== "") {
    const flag = options.find(({ short }) => short === `-${rest[0]}`);
    if (!flag?.required) {
      if (flag) values[flag.attributeName()] = "true";
      continue;
    }
    if (rest.length === 1) return { values, waiting: flag };
    values[flag.attributeName()] = rest.slice(1).replace(/^=/, "");
    break;
  }
  return { values, waiting: undefined };
}

interface Candidates {
  readonly found: readonly string[];
  readonly directive: string;
}

interface Completing extends CompletionOptions {
  readonly typed: string;
}

async function candidates(place: Place, { typed, settings }: Completing): Promise<Candidates> {
  const { command, positionals, flag, ended, given } = place;
  const context = { given, settings };
  if (flag) return await valuesOf({ name: flagValue(flag), choices: flag.argChoices }, context);
  const [, name, value] = ended ? [] : /^(--[a-z-]+)=(.*)$/.exec(typed) ?? [];
  if (value !== undefined) {
    const option = command.options.find(({ long }) => long === name);
    const { found, directive } = option
      ? await valuesOf({ name: flagValue(option), choices: option.argChoices }, context)
      : NOTHING;
    return { found: found.map((candidate) => `${name}=${candidate}`), directive };
  }
  if (!ended && typed.startsWith("-")) {
    const flags = command.createHelp().visibleOptions(command);
    return { found: flags.map(({ long, description }) => `${long}\t${description}`), directive: NO_FILES };
  }
  if (command.commands.length > 0 && positionals === 0) {
    const commands = command.createHelp().visibleCommands(command);
    return {
      found: commands.map((each) => `${each.name()}\t${each.summary() || each.description()}`),
      directive: NO_FILES,
    };
  }
  const expected = command.registeredArguments;
  const argument = expected[positionals] ?? (expected.at(-1)?.variadic ? expected.at(-1) : undefined);
  return argument
    ? await valuesOf({ name: argument.name(), choices: argument.argChoices }, context)
    : NOTHING;
}

const NOTHING: Candidates = { found: [], directive: NO_FILES };

/** The name of a flag's value: `format` of `-o, --output <format>`. */
function flagValue({ flags }: Option): string {
  return /<([^>]+)>/.exec(flags)?.[1] ?? "";
}

interface Value {
  readonly name: string;
  readonly choices: readonly string[] | undefined;
}

async function valuesOf(
  { name, choices }: Value,
  context: { readonly given: GivenFlags; readonly settings: () => Settings },
): Promise<Candidates> {
  if (FILE_VALUES.has(name)) return { found: [], directive: FILES };
  if (choices) return { found: choices, directive: NO_FILES };
  const known = await VALUES[name]?.() ?? [];
  const { clusterValues, isClusterValue } = await import("./cluster_values.ts");
  const live = isClusterValue(name) ? await clusterValues(name, context).catch(() => []) : [];
  const described = new Set(live.map((candidate) => candidate.split("\t")[0]));
  return { found: [...live, ...known.filter((value) => !described.has(value))], directive: NO_FILES };
}

/** bash 4.2 and later, with or without bash-completion. Nothing that was typed is evaluated. */
const BASH = `# completion of zen-watcher and kubectl-zen in bash
__zen_watcher() {
  local typed=\${COMP_LINE:0:COMP_POINT} current=\${COMP_WORDS[COMP_CWORD]} words last line value directive=0 offset
  COMPREPLY=()
  # without -r: a space behind a backslash is part of a word
  read -a words <<<"$typed"
  [[ $typed == *[[:space:]] && $typed != *\\\\[[:space:]] ]] && words+=("")
  [[ $current == [=:] ]] && current=""
  current=\${current//\\\\/}
  last=\${words[\${#words[@]}-1]}
  while IFS= read -r line; do
    if [[ $line =~ ^:[0-9]+$ ]]; then directive=\${line#:}; continue; fi
    value=\${line%%$'\\t'*}
    # bash breaks words at "=" and ":", and replaces only what follows the last of them
    offset=$((\${#last} > \${#current} ? \${#last} - \${#current} : 0))
    [[ $value == "$last"* ]] && COMPREPLY+=("$(printf %q "\${value:offset}")")
  done < <("\${words[0]}" __complete "\${words[@]:1}" 2>/dev/null)
  if ((!(directive & 4) && \${#COMPREPLY[@]} == 0)); then compopt -o default 2>/dev/null; fi
}
complete -F __zen_watcher zen-watcher kubectl-zen
`;

const ZSH = `#compdef zen-watcher kubectl-zen
_zen_watcher() {
  local -a found
  local line directive=0
  # PREFIX is the word up to the cursor, less a quote that is still open
  for line in "\${(@f)$("\${words[1]}" __complete "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" 2>/dev/null)}"; do
    if [[ $line == :<-> ]]; then
      directive=\${line#:}
    else
      found+=("\${\${line%%$'\\t'*}//:/\\\\:}\${\${(M)line%$'\\t'*}:+:\${line#*$'\\t'}}")
    fi
  done
  if (( \${#found} )); then _describe -V command found; return; fi
  (( directive & 4 )) || _files
}
if [[ $funcstack[1] == _zen-watcher ]]; then _zen_watcher "$@"; else compdef _zen_watcher zen-watcher kubectl-zen; fi
`;

const FISH = `# completion of zen-watcher and kubectl-zen in fish
function __zen_watcher
  set -l words (commandline -opc) (commandline -ct | string unescape)
  set -l lines ($words[1] __complete $words[2..-1] 2>/dev/null)
  set -l found (string match -v -r '^:\\d+$' -- $lines)
  if test (count $found) -gt 0
    printf '%s\\n' $found
  else if contains -- :0 $lines
    __fish_complete_path (commandline -ct)
  end
end
for program in zen-watcher kubectl-zen
  complete -c $program -f -a '(__zen_watcher)'
end
`;

const KUBECTL = `#!/bin/sh
# kubectl calls this file, kubectl_complete-zen on PATH, to complete \`kubectl zen\`
exec kubectl-zen __complete "$@"
`;

const SCRIPTS = { bash: BASH, zsh: ZSH, fish: FISH, kubectl: KUBECTL } as const;
