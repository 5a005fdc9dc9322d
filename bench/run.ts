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
import { prepareDavit } from "./davit.ts";
import { type Collector, observe, observedConfig, startCollector } from "./observers.ts";
import { Pods } from "./pods.ts";
import { passes, results, type Setting, table } from "./report.ts";
import type { Bench, Row, RowGroup, Side } from "./row.ts";
import { answers } from "./rows/answers.ts";
import { atOnce } from "./rows/at-once.ts";
import { checkpoint } from "./rows/checkpoint.ts";
import { churn } from "./rows/churn.ts";
import { containers } from "./rows/containers.ts";
import { images } from "./rows/images.ts";
import { hostPort, lifecycle } from "./rows/lifecycle.ts";
import { memory } from "./rows/memory.ts";
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
  containers,
  streaming,
  sdk,
  checkpoint,
  shims,
  nri,
  atOnce,
  answers,
  memory,
  metrics,
  startUp,
  restart,
  images,
  pull,
  churn,
];

const repo = path.resolve(import.meta.dirname, "..");
const names = groups.map(({ name }) => name).join(" ");
const usage = `npm run bench -- [--rounds N] [--only GROUP,GROUP...] [--image TITLE] [--home DIR]
                        [--against DIR] [--containerd PROGRAM] [--erofs] [--observed]

  --rounds N      alternating rounds of the lifecycle; the others follow from it (50):
                  the churn, say, has 20 pods a round
  --only GROUPS   only these groups of rows, of: ${names}
  --image TITLE   of the group images, only the rows whose titles contain this, such as "1 GiB"
  --home DIR      measure the build of another checkout of davit
  --against DIR   compare with the build of this checkout of davit instead of containerd
  --containerd PROGRAM
                  compare with this containerd, whose shim is in the same directory,
                  instead of Debian's
  --erofs         measure a davit that keeps layers in EROFS images
  --observed      measure davit while metrics are scraped, traces are sampled and events are
                  read, against the same build with all of that off

A whole run of 50 rounds also writes bench/RESULTS.md. Every run writes its numbers to bench/out/.`;

interface Arguments {
  readonly rounds: number;
  readonly chosen: readonly RowGroup[];
  readonly image: string;
  readonly home: string;
  readonly against: string | undefined;
  readonly containerd: string;
  readonly isObserved: boolean;
  readonly isErofs: boolean;
}

async function main(): Promise<void> {
  const args = readArguments();
  const directory = fromEnvironment("DAVIT_BENCH_DIRECTORY");
  const cgroup = fromEnvironment("DAVIT_BENCH_CGROUP");
  const begun = new Date();
  await using collector = args.isObserved ? await startCollector() : undefined;
  const { peer, davit } = await startBoth(args, directory, collector);
  const observers = collector === undefined ? undefined : observe(davit);
  const side = (server: Server): Side => ({
    server,
    pods: new Pods(server, { cgroup, directory }),
  });
  const bench: Bench = {
    rounds: args.rounds,
    image: args.image,
    peer: side(peer),
    davit: side(davit),
    say: progress,
  };
  const rows: Row[] = [];
  for (const { name, measure } of args.chosen) {
    progressPrefix = name;
    const measured = await measure(bench);
    rows.push(...(args.against === undefined ? measured : measured.map(withoutRatioBudget)));
  }
  progress("");
  if (observers !== undefined) {
    const traces = { requestsOfTraces: collector?.requests() };
    console.log(JSON.stringify({ ...(await observers.stop()), ...traces }));
  }
  await peer.stop();
  await davit.stop();
  report(args, rows, { begun, peer, davit });
}

/** The ratios that davit must keep are those to containerd, not to another davit. */
function withoutRatioBudget(row: Row): Row {
  if (row.budget?.of !== "ratio") return row;
  const { budget: _budget, ...rest } = row;
  return rest;
}

async function startBoth(
  { home, against, containerd, isErofs }: Arguments,
  directory: string,
  collector: Collector | undefined,
): Promise<{ readonly peer: Server; readonly davit: Server }> {
  progress("starting the servers");
  const own = { name: "davit", home, directory, network: "10.201" };
  const more = [
    ...(collector === undefined ? [] : observedConfig(collector)),
    ...(isErofs ? ["[images]", 'layer_format = "erofs"'] : []),
  ];
  const davit = await prepareDavit({ ...own, more });
  await davit.start();
  if (against !== undefined) {
    const place = { directory, network: "10.202" };
    const peer = await prepareDavit({ name: "other", home: against, ...place });
    await peer.start();
    return { peer, davit };
  }
  const peer = await prepareContainerd({ program: containerd, directory, network: "10.202" });
  await peer.start();
  await importPauseImage(peer, { directory, pause: path.join(directory, "pause") });
  return { peer, davit };
}

function report(
  args: Arguments,
  rows: readonly Row[],
  run: { readonly begun: Date; readonly peer: Server; readonly davit: Server },
): void {
  const peerName = run.peer.name;
  console.log(`${table(rows, peerName)}\n`);
  const missed = rows.filter((row) => !passes(row));
  console.log(missed.length === 0 ? "all budgets kept" : `${missed.length} budgets missed`);
  const setting: Setting = {
    date: run.begun.toISOString().slice(0, 10),
    peer: args.against === undefined ? "containerd" : peerName,
    versions: versions(args.containerd),
    rounds: args.rounds,
  };
  const out = path.join(repo, "bench/out");
  mkdirSync(out, { recursive: true });
  const stamp = run.begun.toISOString().replaceAll(/[:.]/g, "-");
  writeFileSync(path.join(out, `${stamp}.json`), JSON.stringify({ setting, rows }, null, 1));
  // Part of a run, or a comparison with something else, must not take the place of the whole.
  const isWhole = args.chosen.length === groups.length && args.rounds >= 50;
  const isUsual = args.against === undefined && args.containerd === debianContainerd;
  if (isWhole && isUsual && !args.isErofs && args.image === "") {
    writeFileSync(path.join(repo, "bench/RESULTS.md"), results(rows, setting));
    console.log("written to bench/RESULTS.md");
  }
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
  const { observed: isObserved, erofs: isErofs } = values;
  return { rounds, chosen, image: values.image, home, against, containerd, isObserved, isErofs };
}

function fromEnvironment(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: start it with npm run bench`);
  return value;
}

await main();
