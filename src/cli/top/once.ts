// One frame without a terminal: a plain table, or a value for scripts.
import process from "node:process";
import type { JsonValue } from "@bufbuild/protobuf";
import { formatBytes, shortId } from "../output/figures.ts";
import { type Column, formatTable } from "../output/table.ts";
import type { Terminal } from "../output/terminal.ts";
import type { Server } from "../server/session.ts";
import { type HeaderFacts, headerLines, recentFailures, thisMachine } from "./header.ts";
import { type PodRow, podRows, type Row, selectRows, stateText } from "./rows.ts";
import { type Sample, Sampler } from "./sample.ts";
import { symbolsFor } from "./symbols.ts";
import { UsageHistory } from "./usage.ts";

/** A frame. */
export interface Taken {
  readonly sample: Sample;
  readonly facts: HeaderFacts;
  /** The selected pods by name. */
  readonly pods: readonly PodRow[];
}

/** Takes two samples with a pause between them, which the CPU usage requires. `pods` selects pods by path. */
export async function takeFrame(
  server: Server,
  pause: () => Promise<void>,
  pods: ReadonlySet<string> | undefined,
): Promise<Taken> {
  const sampler = new Sampler(server, Infinity);
  const usage = new UsageHistory();
  const first = await sampler.take({ network: false });
  usage.add(first.stats, first.atMs);
  const version = await server.client.runtime.version({}, server.limit());
  await pause();
  const sample = await sampler.take({ network: false });
  usage.add(sample.stats, sample.atMs);
  const all = podRows(sample, usage);
  const name = `${version.runtimeName} ${version.runtimeVersion}`;
  return {
    sample,
    facts: { server: name, machine: thisMachine(), pods: all },
    pods: selectRows(all, { sort: "name", filter: "", pods }),
  };
}

/** The frame as text: the header, and a table of pods and their containers. */
export function onceText(
  { sample, facts, pods }: Taken,
  { terminal, wide }: { readonly terminal: Terminal; readonly wide: boolean },
): string {
  const symbols = symbolsFor(process.env);
  const drawing = { style: terminal.style, symbols, nowMs: sample.atMs, open: new Set<string>() };
  const header = headerLines(sample, facts, drawing).map((line) => `${line}\n`);
  const rows = pods.flatMap((pod): readonly Row[] => [pod, ...pod.containers]);
  const table = formatTable(rows, columns(sample.atMs), {
    style: terminal.style,
    width: terminal.width(),
    wide,
  });
  return `${header.join("")}\n${table}`;
}

function columns(nowMs: number): readonly Column<Row>[] {
  return [
    { title: "NAME", of: ({ path }) => path },
    {
      title: "CONTAINERS",
      of: (row) => (row.kind === "pod" ? `${row.running}/${row.all}` : ""),
    },
    {
      title: "CPU",
      of: ({ cpu }) => (cpu === undefined ? "-" : `${(cpu * 100).toFixed(1)}%`),
      right: true,
    },
    { title: "MEMORY", of: ({ memoryBytes }) => bytes(memoryBytes), right: true },
    { title: "LIMIT", of: ({ limitBytes }) => bytes(limitBytes), right: true },
    { title: "RESTARTS", of: ({ restarts }) => String(restarts), right: true },
    {
      title: "STATE",
      of: (row) => stateText(row, nowMs),
      paint: ({ tone }, style) => style[tone],
    },
    { title: "ID", of: ({ id }) => shortId(id), wide: true },
  ];
}

function bytes(value: number | undefined): string {
  return value === undefined ? "-" : formatBytes(value);
}

/** The frame as a value. Numbers that the server does not report are null. */
export function onceValue({ sample, facts, pods }: Taken): JsonValue {
  const { node, imageBytes, atMs } = sample;
  return {
    time: new Date(atMs).toISOString(),
    node: {
      name: facts.machine.name,
      server: facts.server,
      ready: node.ready,
      networkReady: node.networkReady,
      reason: node.reason,
      cpus: facts.machine.cpus,
      memoryBytes: facts.machine.memoryBytes,
      imageBytes: imageBytes ?? null,
      inflight: node.activity?.inflight.length ?? null,
      pulls: node.activity?.pulls.size ?? null,
      failuresIn10Min:
        node.activity === undefined ? null : recentFailures(node.activity.failures, atMs),
    },
    pods: pods.map((pod) => ({
      ...valueOf(pod),
      containers: pod.containers.map(valueOf),
    })),
  };
}

function valueOf(row: Row): { [key: string]: JsonValue } {
  return {
    id: row.id,
    name: row.path,
    state: row.state,
    since: row.sinceMs === 0 ? null : new Date(row.sinceMs).toISOString(),
    restarts: row.restarts,
    cpu: row.cpu ?? null,
    memoryBytes: row.memoryBytes ?? null,
    memoryLimitBytes: row.limitBytes ?? null,
  };
}
