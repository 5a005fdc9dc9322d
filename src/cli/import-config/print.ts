import { sections } from "../../config/schema.ts";
import { toml } from "../../config/format.ts";
import { printable } from "../output/printable.ts";
import type { Draft, ExtraFile, SpecPart } from "./draft.ts";
import { keyOf, type Origin } from "./settings.ts";

const width = 100;

/** What is printed around the settings. */
export interface Heading {
  /** The runtime, as it writes itself. */
  readonly runtime: string;
  /** The file that was read first. */
  readonly main: string;
  /** Where the files of registries are written; undefined if they are only shown. */
  readonly certsDirectory: string | undefined;
}

/** The draft as a davit.toml. Each setting says which file and key it is from. */
export function formatDraft(draft: Draft, heading: Heading): string {
  const lines = [
    ...comment(
      `Made from the configuration of ${heading.runtime}, ${heading.main}, by: davit config import.`,
    ),
    ...comment("What is not here has davit's default: davit config default prints it."),
  ];
  for (const hint of draft.hints) lines.push("#", ...comment(hint));
  lines.push(...settings(draft));
  lines.push(...registries(draft.hosts, heading.certsDirectory));
  lines.push(...baseSpec(draft.baseSpec));
  lines.push(...notes(draft, heading.runtime));
  return `${lines.join("\n")}\n`;
}

function settings(draft: Draft): readonly string[] {
  const tables = new Map<string, Draft["chosen"][number][]>();
  for (const chosen of draft.chosen) {
    const table = keyOf(chosen.path.slice(0, -1));
    tables.set(table, [...(tables.get(table) ?? []), chosen]);
  }
  const order = ["", ...Object.keys(sections).flatMap((name) => [name, ...below(name)])];
  const rank = (table: string): number => {
    const at = order.indexOf(table);
    return at === -1 ? order.length : at;
  };
  return [...tables]
    .toSorted(([a], [b]) => rank(a) - rank(b))
    .flatMap(([table, chosen]) => [
      "",
      ...(table === "" ? [] : [`[${table}]`]),
      ...chosen.flatMap(assignment),
    ]);
}

function below(section: string): readonly string[] {
  if (section === "images") return ["images.verification"];
  return section === "nri" ? ["nri.default_validator"] : [];
}

function assignment({
  path,
  value,
  origins,
  comments,
}: Draft["chosen"][number]): readonly string[] {
  const reasons = comments.flatMap((text) => comment(text));
  const from = origins.flatMap((origin) => comment(`from ${originText(origin)}`));
  return [...from, ...reasons, `${keyOf(path.slice(-1))} = ${toml(value)}`];
}

function originText({ file, line, key }: Origin): string {
  return `${file}${line === undefined ? "" : `:${line}`}: ${key}`;
}

function registries(hosts: readonly ExtraFile[], directory: string | undefined): readonly string[] {
  const shown = hosts.filter(({ isSecret }) => isSecret !== true);
  if (shown.length === 0 || directory !== undefined) return [];
  const text =
    "Registries. Write these files below /etc/davit/certs.d, or run the command again with --certs-dir DIR, which writes them and sets images.registry_config_path:";
  return [
    "",
    ...comment(text),
    ...shown.flatMap(({ name, text: content }) => [
      "#",
      `# ${printable(name)}:`,
      ...content
        .trimEnd()
        .split("\n")
        .map((line) => `#   ${printable(line)}`.trimEnd()),
    ]),
  ];
}

function baseSpec(parts: readonly SpecPart[]): readonly string[] {
  if (parts.length === 0) return [];
  const merge = (key: "process" | "linux"): object =>
    Object.assign({}, ...parts.map((part) => part[key] ?? {})) as object;
  const spec = { process: merge("process"), linux: merge("linux") };
  const used = Object.entries(spec).filter(([, value]) => Object.keys(value).length > 0);
  const text =
    "Defaults of all containers. Write this to a file, such as /etc/davit/base-spec.json, and name it as base_runtime_spec in each [runtime.handlers.NAME] (docs/handlers.md):";
  const json = JSON.stringify(Object.fromEntries(used), undefined, 2).split("\n");
  return ["", ...comment(text), "#", ...json.map((line) => `#   ${printable(line)}`)];
}

function notes(draft: Draft, runtime: string): readonly string[] {
  if (draft.notes.length === 0) return [];
  const title = `Keys of ${runtime} that have no counterpart, and why they need none, or what to do:`;
  return [
    "",
    ...comment(title),
    ...draft.notes.flatMap(({ origin, value, reason }) => [
      "#",
      `# ${printable(originText(origin))}${value === undefined ? "" : ` = ${short(value)}`}`,
      ...comment(reason, "#   "),
    ]),
  ];
}

function short(value: string): string {
  const text = printable(value);
  return text.length > 200 ? `${text.slice(0, 200)}...` : text;
}

function comment(text: string, start = "# "): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of printable(text).split(" ")) {
    if (line !== "" && start.length + line.length + 1 + word.length > width) {
      lines.push(start + line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  return [...lines, start + line];
}
