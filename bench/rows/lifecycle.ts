/** One pod after another: the life of its sandbox, without and with a host port. */
import { setTimeout as sleep } from "node:timers/promises";
import { alternate, type Bench, type Row, type RowGroup, Samples, type Side } from "../row.ts";
import type { PodOptions } from "../pods.ts";
import { timed } from "../statistics.ts";

// Until what a server still does after its answer is over, so that it does not count for the other.
const restMs = 50;
const firstHostPort = 20_000;

type Verb = "version" | "run" | "stop" | "remove";

export const lifecycle: RowGroup = {
  name: "lifecycle",
  measure: async (bench) => {
    await lives(bench, 3, () => ({}));
    const samples = await lives(bench, bench.rounds, () => ({}));
    return [
      row(bench, samples, "run", "RunPodSandbox", 0.32),
      row(bench, samples, "stop", "StopPodSandbox", 0.5),
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
  measure: async (bench) => {
    const withPort = (round: number): PodOptions => ({ hostPort: firstHostPort + round });
    await lives(bench, 1, withPort);
    const samples = await lives(bench, Math.max(5, Math.ceil(bench.rounds / 2)), withPort);
    return [
      row(bench, samples, "run", "RunPodSandbox with one host port", 0.8),
      row(bench, samples, "stop", "StopPodSandbox with one host port", 0.8),
    ];
  },
};

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
