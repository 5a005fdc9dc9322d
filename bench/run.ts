/**
 * Measures davit and containerd and reports ratios. scripts/bench.sh starts it in namespaces of its own, and removes
 * everything that it leaves. Rows are in rows/.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { debianContainerd, importPauseImage, prepareContainerd } from "./containerd.ts";
import { Davits, prepareDavit } from "./davit.ts";
import { observe, observedConfig, startCollector } from "./observers.ts";
import { Pods } from "./pods.ts";
import { openRival, removePods } from "./rivals.ts";
import { passes, results, type Setting, table } from "./report.ts";
import type { Bench, Row, RowGroup, Side } from "./row.ts";
import { answers } from "./rows/answers.ts";
import { atOnce } from "./rows/at-once.ts";
import { checkpoint } from "./rows/checkpoint.ts";
import { churn } from "./rows/churn.ts";
import { containers } from "./rows/containers.ts";
import { images } from "./rows/images.ts";
import { hostPort, lifecycle, plugins } from "./rows/lifecycle.ts";
import { many } from "./rows/many.ts";
import { memory, observed } from "./rows/memory.ts";
import { metrics } from "./rows/metrics.ts";
import { nri } from "./rows/nri.ts";
import { pull } from "./rows/pull.ts";
import { restart } from "./rows/restart.ts";
import { sdk } from "./rows/sdk.ts";
import { shims } from "./rows/shims.ts";
import { startUp } from "./rows/start-up.ts";
import { streaming } from "./rows/streaming.ts";
import type { Server } from "./server.ts";

const groups: readonly RowGroup[] = [
  lifecycle,
  hostPort,
  plugins,
  containers,
  streaming,
  sdk,
  checkpoint,
  shims,
  nri,
  atOnce,
  answers,
  memory,
  observed,
  metrics,
  startUp,
  restart,
  images,
  pull,
  churn,
  // The last one, since it needs the most of the machine.
  many,
];

const metricsAddress = "127.0.0.1:9471";
const repo = path.resolve(import.meta.dirname, "..");
const names = groups.map(({ name }) => name).join(" ");
const usage = `npm run bench -- [--rounds N] [--only GROUP,GROUP...] [--image TITLE] [--home DIR]
                        [--against DIR] [--containerd PROGRAM] [--peer NAME=SOCKET]...
                        [--erofs] [--observed]

  --rounds N      alternating rounds of the lifecycle; the others follow from it (50):
                  the churn, say, has 20 pods a round
  --only GROUPS   only these groups of rows, of: ${names}
  --image TITLE   of the group images, only the rows whose titles contain this, such as "1 GiB"
  --home DIR      measure the build of another checkout of davit
  --against DIR   compare with the build of this checkout of davit instead of containerd
  --containerd PROGRAM
                  compare with this containerd, whose shim is in the same directory,
                  instead of Debian's
  --peer NAME=SOCKET
                  one more server to hold beside, which you have started: repeatable
  --erofs         measure a davit that keeps layers in EROFS images
  --observed      measure davit while metrics are scraped, traces are sampled and events are
                  read, against the same build with all of that off

A whole run of at least 20 rounds also writes bench/RESULTS.md. Every run writes its numbers to bench/out/.`;

interface Arguments {
  readonly rounds: number;
  readonly chosen: readonly RowGroup[];
  readonly image: string;
  readonly home: string;
  readonly against: string | undefined;
  readonly containerd: string;
  readonly rivals: readonly string[];
  readonly isObserved: boolean;
  readonly isErofs: boolean;
}

async function main(): Promise<void> {
  const args = readArguments();
  const directory = fromEnvironment("DAVIT_BENCH_DIRECTORY");
  const cgroup = fromEnvironment("DAVIT_BENCH_CGROUP");
  const begun = new Date();
  const side = (server: Server): Side => ({
    server,
    pods: new Pods(server, { cgroup, directory }),
  });
  const rivals = args.rivals.map(openRival).map(side);
  for (const rival of rivals) await removePods(rival);
  await using collector = args.isObserved ? await startCollector() : undefined;
  const more = args.isErofs ? ["[images]", 'layer_format = "erofs"'] : [];
  const traced = collector === undefined ? [] : observedConfig(collector, metricsAddress);
  progress("starting the servers");
  const davits = new Davits({ home: args.home, directory });
  const davit = await davits.start({ name: "davit", more: [...more, ...traced] });
  const peer = await startPeer(args, directory);
  const observers = collector === undefined ? undefined : observe(davit, metricsAddress);
  const bench: Bench = {
    rounds: args.rounds,
    directory,
    image: args.image,
    peer: side(peer),
    davit: side(davit),
    rivals,
    startDavit: async (options) => {
      const server = await davits.start({ ...options, more: [...more, ...(options.more ?? [])] });
      return { ...side(server), [Symbol.asyncDispose]: () => server.stop() };
    },
    say: progress,
  };
  const setting: Setting = {
    date: begun.toISOString().slice(0, 10),
    peer: peer.name,
    rivals: rivals.map(({ server }) => server.name),
    versions: [...versions(args.containerd), ...(await Promise.all(rivals.map(versionOf)))],
    rounds: args.rounds,
  };
  const run: Run = { begun, setting, rows: [], seconds: {} };
  try {
    for (const group of args.chosen) await measureGroup(bench, group, args, run);
  } finally {
    for (const rival of rivals) await removePods(rival);
  }
  progress("");
  if (observers !== undefined) {
    const traces = { requestsOfTraces: collector?.requests() };
    console.log(JSON.stringify({ ...(await observers.stop()), ...traces }));
  }
  await peer.stop();
  await davit.stop();
  report(args, run);
  // The bench ends when no connection is open.
  for (const { server } of rivals) server.client.close();
}

/** What a run has measured so far. */
interface Run {
  readonly begun: Date;
  readonly setting: Setting;
  readonly rows: Row[];
  /** How long each group took. */
  readonly seconds: Record<string, number>;
}

async function measureGroup(
  bench: Bench,
  { name, measure, withRivals }: RowGroup,
  { against }: Arguments,
  run: Run,
): Promise<void> {
  progressPrefix = name;
  const begin = performance.now();
  const measured = await measure(withRivals === true ? bench : { ...bench, rivals: [] });
  run.rows.push(...(against === undefined ? measured : measured.map(withoutRatioBudget)));
  run.seconds[name] = Math.round((performance.now() - begin) / 1000);
  progress("");
  console.log(`${name}: ${run.seconds[name]} s`);
  save(run);
}

/** Writes the samples of all groups so far, which a later group that fails does not take along. */
function save({ begun, ...measured }: Run): void {
  const out = path.join(repo, "bench/out");
  mkdirSync(out, { recursive: true });
  const file = `${begun.toISOString().replaceAll(/[:.]/g, "-")}.json`;
  writeFileSync(path.join(out, file), JSON.stringify(measured, null, 1));
}

/** The ratios that davit must keep are those to containerd, not to another davit. */
function withoutRatioBudget(row: Row): Row {
  if (row.budget?.of !== "ratio") return row;
  const { budget: _budget, ...rest } = row;
  return rest;
}

async function startPeer({ against, containerd }: Arguments, directory: string): Promise<Server> {
  const place = { directory, network: "10.202" };
  if (against !== undefined) {
    const peer = await prepareDavit({ name: "other", home: against, ...place });
    await peer.start();
    return peer;
  }
  const peer = await prepareContainerd({ program: containerd, ...place });
  await peer.start();
  await importPauseImage(peer, { directory, pause: path.join(directory, "pause") });
  return peer;
}

function report(args: Arguments, { rows, setting }: Run): void {
  console.log(`${table(rows, setting)}\n`);
  const missed = rows.filter((row) => !passes(row));
  console.log(missed.length === 0 ? "all budgets kept" : `${missed.length} budgets missed`);
  // Part of a run, or a comparison with something else, must not take the place of the whole.
  const isWhole = args.chosen.length === groups.length && args.rounds >= 20;
  const isUsual = args.against === undefined && args.containerd === debianContainerd;
  if (isWhole && isUsual && !args.isErofs && args.image === "") {
    writeFileSync(path.join(repo, "bench/RESULTS.md"), results(rows, setting));
    console.log(
      "written to bench/RESULTS.md: npm run generate writes the figures of the documents",
    );
  }
}

async function versionOf({ server }: Side): Promise<string> {
  const { runtimeName, runtimeVersion } = await server.client.runtime.version({});
  return `${server.name}: ${runtimeName} ${runtimeVersion}`;
}

function versions(containerd: string): readonly string[] {
  const debian = (name: string): string =>
    `${name} ${execFileSync("dpkg-query", ["-W", "-f", `\${Version}`, name], { encoding: "utf8" })}`;
  const measured =
    containerd === debianContainerd
      ? debian("containerd")
      : execFileSync(containerd, ["--version"], { encoding: "utf8" }).trim();
  const packages = ["crun", "containernetworking-plugins"].map(debian);
  return [`Linux ${release()}`, `Node ${process.version}`, measured, ...packages];
}

let progressPrefix = "";

/** One line that rewrites itself; no output without a terminal. */
function progress(what: string): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(`\r\x1b[2K${what === "" ? "" : `${progressPrefix} ${what}`}`);
}

function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "50" },
      only: { type: "string" },
      image: { type: "string", default: "" },
      home: { type: "string", default: repo },
      against: { type: "string" },
      containerd: { type: "string", default: debianContainerd },
      peer: { type: "string", multiple: true, default: [] },
      observed: { type: "boolean", default: false },
      erofs: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds: want 1 or more`);
  const wanted = values.only?.split(",");
  const unknown = wanted?.find((name) => groups.every((group) => group.name !== name));
  if (unknown !== undefined) throw new Error(`--only: there is no "${unknown}", but ${names}`);
  const chosen = groups.filter(({ name }) => wanted?.includes(name) ?? true);
  const home = path.resolve(values.home);
  const against = values.observed ? home : values.against;
  const containerd = path.resolve(values.containerd);
  const rivalNames = new Set(values.peer.map((peer) => peer.split("=", 1)[0]));
  if (rivalNames.size < values.peer.length) throw new Error("--peer: each needs a name of its own");
  const { observed: isObserved, erofs: isErofs, image, peer: rivals } = values;
  return { rounds, chosen, image, home, against, containerd, rivals, isObserved, isErofs };
}

function fromEnvironment(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: start it with npm run bench`);
  return value;
}

await main();
