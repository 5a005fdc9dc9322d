// The man pages: davit(1) and a page for each command, from the table of commands, and davit.toml(5)
// from the schema of the configuration.
import { settingGroups } from "../../config/reference.ts";
import {
  type Command,
  type OptionSpec,
  optionsOf,
  sections as groups,
  serverOptions,
  shownOptions,
} from "./command.ts";
import { exitCodeDocs } from "./exit-code.ts";
import { environment } from "./help.ts";
import {
  bold,
  example,
  italic,
  item,
  page,
  type PageHead,
  paragraphs,
  roff,
  section,
  seeAlso,
  subsection,
} from "./roff.ts";

/** What the heads of all pages have: the version of davit, and the date of the pages (2026-12-01). */
export interface Release {
  readonly version: string;
  readonly date: string;
}

/** All man pages, by their path below a man directory: "man1/davit-run.1". */
export function manPages(commands: readonly Command[], release: Release): Map<string, string> {
  const shown = commands.filter(({ hidden }) => hidden !== true);
  return new Map([
    ["man1/davit.1", overview(shown, release)],
    ...shown.map(
      (command) => [`man1/${pageName(command)}.1`, commandPage(command, release)] as const,
    ),
    ["man5/davit.toml.5", settingsPage(release)],
  ]);
}

const pageName = ({ name }: Command): string => `davit-${name.replaceAll(" ", "-")}`;

function head(title: string, summary: string, { version, date }: Release): PageHead {
  return { title, section: 1, version: `davit ${version}`, date, summary };
}

function overview(commands: readonly Command[], release: Release): string {
  const lists = groups.flatMap((group) =>
    subsection(
      group,
      commands
        .filter((command) => command.section === group)
        .flatMap((command) => [
          ".TP",
          `.BR ${roff(pageName(command))} (1)`,
          ...paragraphs(`${command.summary}.`),
        ]),
    ),
  );
  return page(head("davit", "run the pods and containers of a Kubernetes node", release), [
    section("SYNOPSIS", [`${bold("davit")} ${italic("COMMAND")} [${italic("OPTIONS")}]`]),
    section("DESCRIPTION", [...paragraphs(description), ...lists]),
    section("OPTIONS", [
      ...paragraphs("These options belong to all commands that connect to a server."),
      ...optionItems(serverOptions),
    ]),
    section(
      "ENVIRONMENT",
      environment.flatMap(([name, doc]) => item(bold(name), `${doc}.`)),
    ),
    section(
      "FILES",
      files.flatMap(([file, doc]) => item(italic(file), doc)),
    ),
    section(
      "EXIT STATUS",
      exitCodeDocs.flatMap(([code, doc]) => item(bold(String(code)), doc)),
    ),
    seeAlso([
      ["davit-run", 1],
      ["davit-serve", 1],
      ["davit-doctor", 1],
      ["davit.toml", 5],
    ]),
  ]);
}

const description = `davit is a container runtime for Kubernetes nodes. davit serve is the daemon: it serves the CRI
(runtime.v1) on a unix socket. The other commands are its clients, and those of any other CRI server.

davit help COMMAND prints what the page of a command says.`;

const files = [
  ["/etc/davit/davit.toml", "The configuration of the daemon: see davit.toml(5)."],
  ["/etc/davit/davit.toml.d/*.toml", "Its drop-ins, which are read after it in lexical order."],
  ["/etc/davit/certs.d", "Mirrors and certificates of registries: HOST/hosts.toml."],
  ["/run/davit/davit.sock", "The socket. Whoever may use it is root on the node."],
  ["/var/lib/davit", "Images, layers and records."],
  ["/var/lib/davit-run", "Logs and emptyDir volumes of the pods of davit run."],
] as const;

function commandPage(command: Command, release: Release): string {
  const title = pageName(command);
  const usage = command.operands.map(({ name, optional, many, rest }) => {
    const word = `${italic(name)}${many === true || rest === true ? "..." : ""}`;
    return optional === true ? `[${word}]` : word;
  });
  const hasOptions = Object.keys(optionsOf(command)).length > 0;
  const words = [
    bold(`davit ${command.name}`),
    hasOptions ? `[${italic("OPTIONS")}]` : "",
    ...usage,
  ];
  // NAME is one phrase, which whatis(1) lists.
  const summary = command.summary.charAt(0).toLowerCase() + command.summary.slice(1);
  return page(head(title, summary, release), [
    section("SYNOPSIS", [words.filter((word) => word !== "").join(" ")]),
    section("DESCRIPTION", paragraphs(command.details ?? `${command.summary}.`)),
    section("OPTIONS", [
      ...optionItems(optionsOf(command)),
      ...item(bold("-h, --help"), "Show the help of the command."),
    ]),
    section("EXIT STATUS", paragraphs("The exit codes of all commands are in davit(1).")),
    section(
      "EXAMPLES",
      command.examples.flatMap(({ does, line }) => example(does, line)),
    ),
    seeAlso([
      ["davit", 1],
      ["davit.toml", 5],
    ]),
  ]);
}

function optionItems(options: Readonly<Record<string, OptionSpec>>): readonly string[] {
  return shownOptions(options).flatMap(([name, spec]) => {
    const long = `${bold(`--${name}`)}${spec.value === undefined ? "" : ` ${italic(spec.value)}`}`;
    const term = spec.short === undefined ? long : `${bold(`-${spec.short}`)}, ${long}`;
    const words = typeof spec.complete === "object" ? `: ${spec.complete.join(", ")}` : "";
    const many = spec.many === true && !spec.doc.includes("(repeatable)") ? " (repeatable)" : "";
    return item(term, `${spec.doc}${words}${many}.`);
  });
}

function settingsPage({ version, date }: Release): string {
  const summary = "configuration of the container runtime davit";
  const tables = settingGroups().flatMap(({ title, doc, settings }) =>
    section(title, [
      ...(doc === "" ? [] : paragraphs(doc)),
      ...settings.flatMap((setting) => [
        ...item(bold(setting.key), setting.doc),
        ".br",
        ...paragraphs(`Default: ${setting.default}`),
        ...(setting.allowed === undefined
          ? []
          : [".br", ...paragraphs(`Must be ${setting.allowed}.`)]),
        ".br",
        ...paragraphs(`Takes effect: ${setting.takesEffect}`),
      ]),
    ]),
  );
  return page({ title: "davit.toml", section: 5, version: `davit ${version}`, date, summary }, [
    section("SYNOPSIS", [
      italic("/etc/davit/davit.toml"),
      ".br",
      italic("/etc/davit/davit.toml.d/*.toml"),
    ]),
    section("DESCRIPTION", paragraphs(settingsDescription)),
    tables,
    section(
      "EXAMPLES",
      example(
        "A node with systemd, metrics on loopback, and images that go after two weeks without use",
        exampleFile,
      ),
    ),
    seeAlso([
      ["davit", 1],
      ["davit-serve", 1],
      ["davit-config-check", 1],
      ["davit-config-default", 1],
    ]),
  ]);
}

const settingsDescription = `davit serve reads a TOML file, /etc/davit/davit.toml or that of its option --config, and then
its drop-ins: the files *.toml in the directory of that name with .d, in lexical order. Tables are merged key by key, and
every other value, including a list, replaces that of an earlier file. All keys have defaults, so the files may be empty or
absent. Unknown keys are errors.

davit config check reports all errors of a file and its drop-ins, davit config default prints a file with all keys, and
davit config show the resulting configuration.`;

const exampleFile = `[runtime]
cgroup_driver = "systemd"

[metrics]
listen = "127.0.0.1:9090"

[images]
gc_unused_images_seconds = 1209600`;
