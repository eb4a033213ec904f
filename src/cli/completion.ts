/** Completion in cobra's protocol, which kubectl speaks to its plugins, and the scripts that shells load. */
import { Argument, type Command, type Option } from "commander";
import { addCommand, type CommandContext } from "./command.ts";

/** The directives of cobra's protocol: whether files complete where no candidate does. */
const FILES = ":0";
const NO_FILES = ":4";

/** Candidates by the name of an argument or of a flag's value, read when they are needed. */
const VALUES: Readonly<Record<string, () => Promise<readonly string[]>>> = {
  source: async () => (await import("../sources/registry.ts")).SOURCES.map(({ name }) => name),
};

/** Names of arguments and flag values that files complete. */
const FILE_VALUES: ReadonlySet<string> = new Set(["file", "dir"]);

/** `completion`. */
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

/** Completes the last of `words`: lines of `value<TAB>description`, then a line with the directive. */
export async function completeLine(program: Command, words: readonly string[]): Promise<string> {
  const typed = words.at(-1) ?? "";
  const { found, directive } = await candidates(placeOf(program, words.slice(0, -1)), typed);
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
}

function placeOf(program: Command, words: readonly string[]): Place {
  let place: Place = { command: program, positionals: 0, flag: undefined, ended: false };
  for (const word of words) place = next(place, word);
  return place;
}

function next(place: Place, word: string): Place {
  const { command, positionals, ended } = place;
  if (place.flag) return { ...place, flag: undefined };
  if (!ended && word === "--") return { ...place, ended: true };
  if (!ended && word.startsWith("-") && word !== "-") return { ...place, flag: flagThatWaits(command, word) };
  const inner = positionals === 0 ? command.commands.find((each) => each.name() === word) : undefined;
  return inner ? { ...place, command: inner } : { ...place, positionals: positionals + 1 };
}

/** The flag of a word such as `--output`, `-o` or `-Ao`, where its value is the next word. */
function flagThatWaits({ options }: Command, word: string): Option | undefined {
  if (word.startsWith("--")) return options.find(({ long, required }) => required && long === word);
  for (const [index, letter] of [...word].entries()) {
    const flag = options.find(({ short, required }) => required && short === `-${letter}`);
    // What follows the letter of a flag is its value already.
    if (flag) return index === word.length - 1 ? flag : undefined;
  }
  return undefined;
}

interface Candidates {
  readonly found: readonly string[];
  readonly directive: string;
}

async function candidates({ command, positionals, flag, ended }: Place, typed: string): Promise<Candidates> {
  if (flag) return await valuesOf(flagValue(flag), flag.argChoices);
  const [, name, value] = ended ? [] : /^(--[a-z-]+)=(.*)$/.exec(typed) ?? [];
  if (value !== undefined) {
    const given = command.options.find(({ long }) => long === name);
    const { found, directive } = given ? await valuesOf(flagValue(given), given.argChoices) : NOTHING;
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
  return argument ? await valuesOf(argument.name(), argument.argChoices) : NOTHING;
}

const NOTHING: Candidates = { found: [], directive: NO_FILES };

/** The name of a flag's value: `format` of `-o, --output <format>`. */
function flagValue({ flags }: Option): string {
  return /<([^>]+)>/.exec(flags)?.[1] ?? "";
}

async function valuesOf(name: string, choices: readonly string[] | undefined): Promise<Candidates> {
  if (FILE_VALUES.has(name)) return { found: [], directive: FILES };
  return { found: choices ?? await VALUES[name]?.() ?? [], directive: NO_FILES };
}

/** bash 4.2 and later, with or without bash-completion. Nothing that was typed is evaluated. */
const BASH = `# completion of zen-watcher and kubectl-zen in bash
__zen_watcher() {
  local typed=\${COMP_LINE:0:COMP_POINT} current=\${COMP_WORDS[COMP_CWORD]} words last line value directive=0
  COMPREPLY=()
  read -r -a words <<<"$typed"
  [[ $typed == *[[:space:]] ]] && words+=("")
  [[ $current == [=:] ]] && current=""
  last=\${words[\${#words[@]}-1]}
  while IFS= read -r line; do
    if [[ $line =~ ^:[0-9]+$ ]]; then directive=\${line#:}; continue; fi
    value=\${line%%$'\\t'*}
    # bash breaks words at "=" and ":", and replaces only what follows the last of them
    [[ $value == "$last"* ]] && COMPREPLY+=("$(printf %q "\${value:\${#last}-\${#current}}")")
  done < <("\${words[0]}" __complete "\${words[@]:1}" 2>/dev/null)
  if ((!(directive & 4) && \${#COMPREPLY[@]} == 0)); then compopt -o default 2>/dev/null; fi
}
complete -F __zen_watcher zen-watcher kubectl-zen
`;

const ZSH = `#compdef zen-watcher kubectl-zen
_zen_watcher() {
  local -a found
  local line directive=0
  for line in "\${(@f)$("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
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
  set -l words (commandline -opc) (commandline -ct)
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
