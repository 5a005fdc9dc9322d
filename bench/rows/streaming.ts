/** Exec, attach and port-forward: latency and throughput. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { startContainer } from "../containers.ts";
import type { PortForward } from "../../src/client/streaming/index.ts";
import { withBusybox } from "../images.ts";
import type { RunningPod } from "../pods.ts";
import { cpuMs } from "../procfs.ts";
import { alternate, type Bench, type Row, type RowGroup, Samples, type Side } from "../row.ts";
import { timed } from "../statistics.ts";
import { attach, echo, exchange, exec, forward, type Target, type Transport } from "../streams.ts";

const restMs = 50;
const mib = 1 << 20;
const bulkMib = 256;
const bulkBytes = bulkMib * mib;
const pieces = ["bs=64k", `count=${String(bulkBytes / 65_536)}`];
const busybox = "/bin/busybox";
const zeroes = [busybox, "dd", "if=/dev/zero", ...pieces, "status=none"];
const counter = [busybox, "wc", "-c"];
/** Prints a text when all bytes have arrived, since the end of a forwarded half may never arrive. */
const taker = `${busybox} dd of=/dev/null iflag=fullblock ${pieces.join(" ")} status=none; echo ok`;
const taken = "ok\n";
const ports = { echo: 7, taker: 9, zeroes: 19 };
const patienceMs = 10_000;
const retryMs = 20;

type Way = "out" | "out-websocket" | "in" | "forward-out" | "forward-in";
type What = "exec" | "exec-websocket" | "attach" | "forward" | "more" | Way | `cpu ${Way}`;

export const streaming: RowGroup = {
  name: "streaming",
  measure: (bench) => withBusybox(bench, (image) => measure(bench, image)),
};

async function measure(bench: Bench, image: string): Promise<readonly Row[]> {
  const samples = new Samples<What>();
  const warm = new Samples<What>();
  const targets = new Map<Side, Target>();
  const pods: (readonly [side: Side, pod: RunningPod])[] = [];
  for (const side of [bench.peer, bench.davit]) {
    const pod = await side.pods.run(await side.pods.prepare({ unlimitedCpu: true }));
    pods.push([side, pod]);
    targets.set(side, await startServices(side, pod, image));
  }
  const at = (side: Side): Target => {
    const target = targets.get(side);
    assert.ok(target !== undefined);
    return target;
  };
  await alternate(bench, 3, (side) => latencies(side, at(side), warm));
  await alternate(bench, bench.rounds, (side) => latencies(side, at(side), samples));
  await alternate(bench, 1, (side) => throughput(side, at(side), warm));
  const bulkRounds = Math.max(3, Math.ceil(bench.rounds / 5));
  await alternate(bench, bulkRounds, (side) => throughput(side, at(side), samples));
  for (const [side, pod] of pods) await side.pods.clear([pod]);
  return rows(bench, samples);
}

/** A container that answers on its stdin and on ports of its pod. */
async function startServices(side: Side, pod: RunningPod, image: string): Promise<Target> {
  const listen = (port: number, command: readonly string[]): string =>
    `${busybox} nc -ll -p ${String(port)} -e ${command.join(" ")} </dev/null >/dev/null 2>&1 &`;
  const script = [
    listen(ports.echo, [busybox, "cat"]),
    listen(ports.taker, [busybox, "sh", "-c", `'${taker}'`]),
    listen(ports.zeroes, zeroes),
    `exec ${busybox} cat`,
  ];
  const command = [busybox, "sh", "-c", script.join("\n")];
  const options = { command, stdin: true, unlimitedCpu: true };
  const { containerId } = await startContainer(side, pod, image, options);
  const target = { sandboxId: pod.id, containerId };
  await untilListening(side, target, (session) => echo(session, ports.echo));
  await untilListening(side, target, (session) => exchange(session, ports.taker, bulkBytes));
  await untilListening(side, target, (session) => exchange(session, ports.zeroes, 0));
  return target;
}

async function untilListening(
  side: Side,
  target: Target,
  use: (session: PortForward) => Promise<unknown>,
): Promise<void> {
  const begin = performance.now();
  for (;;) {
    const session = await forward(side, target);
    try {
      await use(session);
      return;
    } catch (error) {
      if (performance.now() - begin > patienceMs) throw error;
    } finally {
      session.close();
    }
    await sleep(retryMs);
  }
}

async function latencies(side: Side, target: Target, samples: Samples<What>): Promise<void> {
  const add = async (what: What, work: () => Promise<unknown>): Promise<void> => {
    samples.add(side, what, await timed(work));
    await sleep(restMs);
  };
  const cmd = [busybox, "true"];
  await add("exec", () => exec(side, target, { transport: "spdy", cmd }));
  await add("exec-websocket", () => exec(side, target, { transport: "websocket", cmd }));
  await add("attach", () => attach(side, target));
  let session: PortForward | undefined;
  await add("forward", async () => {
    session = await forward(side, target);
    await echo(session, ports.echo);
  });
  const open = session;
  assert.ok(open !== undefined);
  await add("more", () => echo(open, ports.echo));
  open.close();
}

async function throughput(side: Side, target: Target, samples: Samples<What>): Promise<void> {
  const add = async (way: Way, expected: number, work: () => Promise<number>): Promise<void> => {
    const processes = side.server.processes();
    const cpuBefore = cpuMs(processes);
    const begin = performance.now();
    const bytes = await work();
    const seconds = (performance.now() - begin) / 1000;
    assert.equal(bytes, expected, `${side.server.name}: bytes that came by ${way}`);
    samples.add(side, way, bulkMib / seconds);
    samples.add(side, `cpu ${way}`, (cpuMs(processes) - cpuBefore) / bulkMib);
    await sleep(restMs);
  };
  const answer = `${String(bulkBytes)}\n`.length;
  const out = (transport: Transport): Promise<number> =>
    exec(side, target, { transport, cmd: zeroes });
  await add("out", bulkBytes, () => out("spdy"));
  await add("out-websocket", bulkBytes, () => out("websocket"));
  const input = { transport: "spdy", cmd: counter, inputBytes: bulkBytes } as const;
  await add("in", answer, () => exec(side, target, input));
  const session = await forward(side, target);
  await add("forward-out", bulkBytes, () => exchange(session, ports.zeroes, 0));
  await add("forward-in", taken.length, () => exchange(session, ports.taker, bulkBytes));
  session.close();
}

function rows(bench: Bench, samples: Samples<What>): readonly Row[] {
  const latency = (what: What, title: string, note?: string): Row => ({
    title,
    unit: "ms",
    ...samples.of(bench, what),
    ...(note !== undefined && { note }),
  });
  const bulk = (way: Way, title: string): readonly Row[] => [
    { title, unit: "MB/s", ...samples.of(bench, way) },
    { title: `${title}: the server's CPU`, unit: "ms/MB", ...samples.of(bench, `cpu ${way}`) },
  ];
  return [
    latency("exec", "Exec(true) over SPDY", "from the RPC to the exit status, without a terminal"),
    latency("exec-websocket", "Exec(true) over WebSocket", "as over SPDY"),
    latency("attach", "Attach", "over SPDY, from the RPC to the first byte that cat gives back"),
    latency(
      "forward",
      "PortForward",
      "over SPDY, from the RPC to the first byte that cat gives back",
    ),
    latency(
      "more",
      "one more connection of a PortForward",
      "to the first byte that cat gives back",
    ),
    ...bulk("out", "Exec: output over SPDY"),
    ...bulk("out-websocket", "Exec: output over WebSocket"),
    ...bulk("in", "Exec: input over SPDY"),
    ...bulk("forward-out", "PortForward: from the pod"),
    ...bulk("forward-in", "PortForward: to the pod"),
  ];
}
