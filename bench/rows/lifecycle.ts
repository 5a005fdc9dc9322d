/** One pod after another: the life of its sandbox, without and with a host port, and by CNI plugins. */
import { setTimeout as sleep } from "node:timers/promises";
import { alternate, type Bench, type Row, type RowGroup, Samples, type Side } from "../row.ts";
import type { PodOptions } from "../pods.ts";
import { timed } from "../statistics.ts";

// Until what a server still does after its answer is over, so that it does not count for the other.
const restMs = 50;
const firstHostPort = 20_000;

type Verb = "version" | "run" | "stop" | "remove";

/** What the medians of davit may be of containerd's. */
interface Budgets {
  readonly run: number;
  readonly stop: number;
}

export const lifecycle: RowGroup = {
  name: "lifecycle",
  withRivals: true,
  measure: async (bench) => {
    const { rows, samples } = await sandboxRows(bench, "", { run: 0.12, stop: 0.15 });
    return [
      ...rows,
      row(bench, samples, "remove", "RemovePodSandbox", 0.3),
      {
        title: "Version after a rest",
        unit: "ms",
        ...samples.of(bench, "version"),
        note: "the cost of connection, client and wake-up in every call above",
      },
    ];
  },
};

export const hostPort: RowGroup = {
  name: "host-port",
  withRivals: true,
  measure: (bench) => hostPortRows(bench, "", { run: 0.8, stop: 0.08 }),
};

/** The budgets of the plugins' network are those that davit had when it had no other. */
export const plugins: RowGroup = {
  name: "plugins",
  measure: async (bench) => {
    await using davit = await bench.startDavit({ name: "plugins", cni: ["builtin = false"] });
    const slower = { ...bench, davit };
    const { rows } = await sandboxRows(slower, "CNI plugins: ", { run: 0.32, stop: 0.5 });
    return [...rows, ...(await hostPortRows(slower, "CNI plugins: ", { run: 0.8, stop: 0.8 }))];
  },
};

async function sandboxRows(
  bench: Bench,
  prefix: string,
  budgets: Budgets,
): Promise<{ readonly rows: readonly Row[]; readonly samples: Samples<Verb> }> {
  await lives(bench, 3, () => ({}));
  const samples = await lives(bench, bench.rounds, () => ({}));
  const rows = [
    row(bench, samples, "run", `${prefix}RunPodSandbox`, budgets.run),
    row(bench, samples, "stop", `${prefix}StopPodSandbox`, budgets.stop),
  ];
  return { rows, samples };
}

async function hostPortRows(
  bench: Bench,
  prefix: string,
  budgets: Budgets,
): Promise<readonly Row[]> {
  const withPort = (round: number): PodOptions => ({ hostPort: firstHostPort + round });
  await lives(bench, 1, withPort);
  const samples = await lives(bench, Math.max(5, Math.ceil(bench.rounds / 2)), withPort);
  return [
    row(bench, samples, "run", `${prefix}RunPodSandbox with one host port`, budgets.run),
    row(bench, samples, "stop", `${prefix}StopPodSandbox with one host port`, budgets.stop),
  ];
}

async function lives(
  bench: Bench,
  rounds: number,
  options: (round: number) => PodOptions,
): Promise<Samples<Verb>> {
  const samples = new Samples<Verb>();
  await alternate(bench, rounds, (side, round) => life(side, samples, options(round)));
  return samples;
}

async function life(side: Side, samples: Samples<Verb>, options: PodOptions): Promise<void> {
  const { pods } = side;
  const prepared = await pods.prepare(options);
  await sleep(restMs);
  samples.add(side, "version", await timed(() => side.server.client.runtime.version({})));
  await sleep(restMs);
  const pod = await pods.run(prepared);
  samples.add(side, "run", pod.runMs);
  await pods.check(pod);
  await sleep(restMs);
  samples.add(side, "stop", await pods.stop(pod));
  await sleep(restMs);
  samples.add(side, "remove", await pods.remove(pod));
  await pods.release(pod);
  await sleep(restMs);
}

function row(bench: Bench, samples: Samples<Verb>, verb: Verb, title: string, atMost: number): Row {
  return { title, unit: "ms", ...samples.of(bench, verb), budget: { of: "ratio", atMost } };
}
