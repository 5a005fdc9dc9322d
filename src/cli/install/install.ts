import { Rollback } from "../../base/rollback.ts";
import { setImmediate as turn } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { portmapChains } from "../demo/network.ts";
import { formatTable } from "../output/table.ts";
import type { Terminal } from "../output/terminal.ts";
import { applyItems, writeRecord } from "./apply.ts";
import { paths } from "./layout.ts";
import { type NetworkChoice, readFacts } from "./node-facts.ts";
import { type Item, planInstall, type PlanFacts } from "./plan.ts";
import type { InstallRecord } from "./record.ts";
import { mustRun, type ServiceState, serviceState, systemctl, systemdRuns } from "./service.ts";

/** The options of `davit install`. */
export interface InstallOptions {
  /** The prefix of all paths: the tree of another machine; "" for this one. */
  readonly root: string;
  readonly network: NetworkChoice;
  readonly dryRun: boolean;
  /** Start the service, too. */
  readonly now: boolean;
  readonly version: string;
  readonly terminal: Terminal;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** The longest that a failed installation is undone: a stop of the service waits for running calls. */
const undoMs = 150_000;

/** A call of systemctl, or a command for the operator. */
interface Step {
  readonly args: readonly string[];
  readonly undo?: readonly string[];
}

/**
 * Sets the node up: writes what is missing, and enables the service. Whatever this run has made is undone if it
 * fails or the signal is aborted, which is a {@link CommandFailure}. Returns whether the operator has nothing left to do.
 */
export async function install(options: InstallOptions): Promise<boolean> {
  const { root, dryRun, terminal, version, signal } = options;
  const facts = readFacts(root, options.network);
  const items = planInstall(facts);
  const changes = items.filter(({ action }) => action === "create" || action === "update");
  const managed = root === "" && systemdRuns();
  const state = managed ? await serviceState() : undefined;
  const steps = state === undefined ? [] : serviceSteps(state, changes, options);
  if (!dryRun && (changes.length > 0 || steps.length > 0)) {
    let remains = false;
    const onStuck = (what: string, error: unknown): void => {
      remains = true;
      terminal.err(`davit: ${what}: ${messageOf(error)}\n`);
    };
    try {
      await carryOut({ facts, items, steps, options, managed, onStuck });
    } catch (cause) {
      if (!signal.aborted) throw cause;
      throw interrupted(remains, cause);
    }
  }
  terminal.out(formatPlan(items, steps, options));
  for (const line of hints(options, { changes, steps, state, managed })) terminal.out(`${line}\n`);
  if (changes.length === 0 && steps.length === 0) {
    terminal.out(`Nothing to do: davit ${version} is installed.\n`);
  }
  return !items.some(({ problem }) => problem === true);
}

function serviceSteps(
  { enabled, active }: ServiceState,
  changes: readonly Item[],
  { now }: InstallOptions,
): readonly Step[] {
  const steps: Step[] = [];
  if (changes.some(({ path }) => path.endsWith(".service")))
    steps.push({ args: ["daemon-reload"] });
  if (!enabled) steps.push({ args: ["enable", "davit"], undo: ["disable", "davit"] });
  // The last step, so that only a start that has failed or was interrupted is undone: systemd may continue it.
  if (now && !active) steps.push({ args: ["start", "davit"], undo: ["stop", "davit"] });
  return steps;
}

async function carryOut(work: {
  readonly facts: PlanFacts;
  readonly items: readonly Item[];
  readonly steps: readonly Step[];
  readonly options: InstallOptions;
  readonly managed: boolean;
  readonly onStuck: (what: string, error: unknown) => void;
}): Promise<void> {
  const { facts, items, steps, options, onStuck } = work;
  const { root, signal, version } = options;
  await using undo = new Rollback({ onStuck, totalMs: undoMs });
  // Undone last: what was enabled is disabled before its unit goes.
  if (work.managed) undo.defer("run systemctl daemon-reload", () => systemctl(["daemon-reload"]));
  const before: InstallRecord = facts.record ?? {
    ...{ format: 1, version, home: facts.home, files: {}, links: {} },
    ...{ directories: [], enabled: false, chainsBefore: root === "" ? await presentChains() : [] },
  };
  const record = applyItems(items, before, { root, undo });
  const enabled = record.enabled || steps.some(({ args }) => args[0] === "enable");
  writeRecord({ ...record, version, home: facts.home, enabled }, root, undo);
  for (const { args, undo: back } of steps) {
    // A signal that came while files were written is handled in a turn of the event loop.
    await turn(undefined);
    signal.throwIfAborted();
    if (back !== undefined) undo.defer(`run systemctl ${back.join(" ")}`, () => systemctl(back));
    await systemctl(args, signal);
  }
  undo.commit();
}

function interrupted(remains: boolean, cause: unknown): CommandFailure {
  const result = remains
    ? "what could not be undone is named above; davit uninstall removes what the record names"
    : "what it had made is undone";
  return new CommandFailure(exitCode.interrupted, `install davit: interrupted; ${result}`, {
    cause,
  });
}

/** The chains for host ports that other programs have made. */
async function presentChains(): Promise<readonly string[]> {
  try {
    return portmapChains(await mustRun("iptables", ["-w", "-t", "nat", "-S"]));
  } catch {
    // Without iptables there are no such chains.
    return [];
  }
}

const verbs: Readonly<Record<Item["action"], readonly [done: string, planned: string]>> = {
  create: ["made", "make"],
  update: ["updated", "update"],
  keep: ["kept", "keep"],
  "leave out": ["left out", "leave out"],
};

function formatPlan(
  items: readonly Item[],
  steps: readonly Step[],
  { dryRun, terminal, root }: InstallOptions,
): string {
  const rows = [
    ...items.map(({ action, path, why, problem }) => ({
      action: verbs[action][dryRun ? 1 : 0],
      what: `${root}${path}`,
      why,
      problem: problem === true,
    })),
    ...steps.map(({ args }) => ({
      action: dryRun ? "run" : "ran",
      what: `systemctl ${args.join(" ")}`,
      why: "",
      problem: false,
    })),
  ];
  const { style } = terminal;
  const table = formatTable(
    rows,
    [
      {
        title: "ACTION",
        of: (row) => row.action,
        paint: (row) => (row.problem ? style.red : style.bold),
      },
      { title: "WHAT", of: (row) => row.what },
      { title: "WHY", of: (row) => row.why },
    ],
    { style, width: terminal.width() },
  );
  return `${dryRun ? "This is what davit install would do; nothing was changed.\n" : ""}${table}`;
}

/** What the operator does next. */
function hints(
  { root, now, dryRun }: InstallOptions,
  found: {
    readonly changes: readonly Item[];
    readonly steps: readonly Step[];
    readonly state: ServiceState | undefined;
    readonly managed: boolean;
  },
): readonly string[] {
  const { changes, state, managed } = found;
  if (root !== "")
    return [`Enable the service in the tree with: systemctl --root=${root} enable davit`];
  if (!managed) {
    return [
      `systemd does not run this machine. Start davit as root, or make a service of it: davit serve 2>>${paths.log} &`,
    ];
  }
  if (dryRun) return [];
  if (state?.active === true) {
    return changes.length === 0
      ? []
      : ["To run it now: systemctl restart davit (pods keep running)"];
  }
  return now
    ? ["davit doctor checks the running davit."]
    : ["Start it with: systemctl start davit; then check it with: davit doctor"];
}
